//! Follows one attempt to its end, over streams that break.
//!
//! ```text
//!            watch(token)                 message: keep its token
//!  waiting ───────────────► streaming ───────────────────────────┐
//!     ▲                         │  ▲                              │
//!     └──── broken, pause ──────┘  └──────────────────────────────┘
//!                               │ terminal event
//!                               ▼
//!                             ended
//! ```
//!
//! A stream is continued from the token of its last message, so nothing is missed and nothing is
//! told twice. A token that the service no longer keeps is dropped: the watch begins anew.
//! [`position`] decides all that; this file has the streams and the clock.

mod position;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt as _, stream};
use iothubdm_proto::v1::{RebootAttempt, RebootEvent, WatchRebootRequest, reboot_event::Event};
use tonic::{Status, Streaming};

use self::position::{Next, Position};
use crate::{client::Client, error::Error};

/// Where a watch begins, and how patient it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// Continue after the event that carried this token; empty for the beginning.
    pub resume_token: String,
    /// Give up when nothing has come for so long, over any number of streams.
    pub patience: Duration,
    /// Take a stream for broken when nothing has come over it for so long. The service sends a
    /// bookmark every 15 seconds unless it is told otherwise.
    pub silence: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            resume_token: String::new(),
            patience: Duration::from_secs(300),
            silence: Duration::from_secs(60),
        }
    }
}

/// What following an attempt yields.
#[derive(Debug, Clone)]
pub enum Update {
    /// The service said something new. The first is a snapshot, and the last is a progress with
    /// `terminal` set; where the token given was already after that, a snapshot in a terminal state
    /// is all there is.
    Event(Box<RebootEvent>),
    /// The stream broke; the next one is begun after a pause. Nothing is lost.
    Interrupted {
        /// Why.
        error: Error,
        /// The pause.
        pause: Duration,
    },
}

/// One attempt followed to its end: a [`Stream`] that ends after the terminal event, or after an
/// error that asking again does not help against.
pub struct Watch {
    updates: Pin<Box<dyn Stream<Item = Result<Update, Error>> + Send>>,
}

impl Watch {
    pub(crate) fn new(client: Client, name: String, options: WatchOptions) -> Self {
        let follow = Follow {
            client,
            name,
            silence: options.silence,
            position: Position::new(options.resume_token, options.patience),
            stream: None,
            pause: None,
        };
        let updates = stream::try_unfold(follow, async |mut follow| {
            let update = follow.next().await?;
            Ok(update.map(|update| (update, follow)))
        });
        Self {
            updates: Box::pin(updates),
        }
    }

    /// Waits for what comes next; `None` after the end.
    pub async fn next(&mut self) -> Option<Result<Update, Error>> {
        self.updates.next().await
    }

    /// Follows the attempt to its end, and returns it as it stands then.
    pub async fn verdict(mut self) -> Result<RebootAttempt, Error> {
        let mut latest = None;
        while let Some(update) = self.next().await {
            let Update::Event(event) = update? else {
                continue;
            };
            latest = match event.event {
                Some(Event::Snapshot(attempt)) => Some(attempt),
                Some(Event::Progress(progress)) => progress.attempt.or(latest),
                Some(Event::Bookmark(_)) | None => latest,
            };
        }
        latest.ok_or_else(|| Status::internal("the watch ended without the attempt").into())
    }
}

impl Stream for Watch {
    type Item = Result<Update, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.updates.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// A watch under way.
struct Follow {
    client: Client,
    name: String,
    silence: Duration,
    position: Position,
    stream: Option<Streaming<RebootEvent>>,
    /// Wait this long before the next stream.
    pause: Option<Duration>,
}

impl Follow {
    async fn next(&mut self) -> Result<Option<Update>, Error> {
        loop {
            if self.position.is_complete() {
                return Ok(None);
            }
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            let received = tokio::time::timeout(self.silence, self.receive())
                .await
                .unwrap_or_else(
                    |_| Err(Status::unavailable("nothing came over the stream").into()),
                );
            let error = match received {
                Ok(Some(event)) => match self.position.accept(event) {
                    Some(event) => return Ok(Some(Update::Event(Box::new(event)))),
                    None => continue,
                },
                Ok(None) => match self.position.ended() {
                    Ok(()) => return Ok(None),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.stream = None;
            match self.position.broken(error, Instant::now()) {
                Next::AtOnce => {}
                Next::Again { error, pause } => {
                    self.pause = Some(pause);
                    return Ok(Some(Update::Interrupted { error, pause }));
                }
                Next::GiveUp(error) => return Err(error),
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<RebootEvent>, Error> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = WatchRebootRequest {
                    name: self.name.clone(),
                    resume_token: self.position.token().to_owned(),
                };
                self.stream.insert(self.client.stream(request).await?)
            }
        };
        Ok(stream.message().await?)
    }
}
