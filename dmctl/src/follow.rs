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

use std::time::{Duration, Instant};

use iothubdm_proto::v1::{RebootEvent, WatchRebootRequest, reboot_event::Event};
use tonic::{Code, Status, Streaming};

use crate::{backoff::Backoff, client::Client, problem::is_retryable, words};

/// Follows one attempt.
#[derive(Debug)]
pub(crate) struct Follow {
    client: Client,
    name: String,
    token: String,
    patience: Duration,
    backoff: Backoff,
    stream: Option<Streaming<RebootEvent>>,
    /// Wait this long before the next stream.
    pause: Option<Duration>,
    /// Since when nothing has come.
    away_since: Option<Instant>,
    /// The attempt has ended, as far as the messages say; nothing is missed if the stream breaks.
    ended: bool,
    /// The last message has come.
    complete: bool,
    /// The newest revision that was passed on.
    revision: i64,
}

/// What following yields.
#[derive(Debug)]
pub(crate) enum Step {
    /// The service said something new.
    Event(Box<RebootEvent>),
    /// The stream broke; the next one is begun after a pause.
    Interrupted {
        /// Why.
        status: Status,
        /// The pause.
        pause: Duration,
    },
}

impl Follow {
    /// Follows `name` from the message that carried `token`, or from the beginning when it is
    /// empty. Gives up when the service has been away for as long as `patience`.
    pub(crate) fn new(client: Client, name: String, token: String, patience: Duration) -> Self {
        Self {
            client,
            name,
            token,
            patience,
            backoff: Backoff::default(),
            stream: None,
            pause: None,
            away_since: None,
            ended: false,
            complete: false,
            revision: 0,
        }
    }

    /// Waits for what comes next; `None` after the end of the attempt.
    pub(crate) async fn next(&mut self) -> Result<Option<Step>, Status> {
        while !self.complete {
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            let received = match self.receive().await {
                Ok(Some(event)) => Ok(event),
                Ok(None) | Err(_) if self.ended => return Ok(None),
                Ok(None) => Err(Status::unavailable(
                    "the stream ended before the attempt did",
                )),
                Err(status) => Err(status),
            };
            match received {
                Ok(event) => {
                    if let Some(event) = self.accept(event) {
                        return Ok(Some(Step::Event(Box::new(event))));
                    }
                }
                Err(status) => {
                    let pause = self.break_off(&status, Instant::now())?;
                    return Ok(Some(Step::Interrupted { status, pause }));
                }
            }
        }
        Ok(None)
    }

    async fn receive(&mut self) -> Result<Option<RebootEvent>, Status> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = WatchRebootRequest {
                    name: self.name.clone(),
                    resume_token: self.token.clone(),
                };
                let response = self.client.watch_reboot(request).await?;
                self.stream.insert(response.into_inner())
            }
        };
        stream.message().await
    }

    /// Takes note of a message; returns it unless it was passed on before.
    fn accept(&mut self, event: RebootEvent) -> Option<RebootEvent> {
        self.away_since = None;
        if !event.resume_token.is_empty() {
            self.token.clone_from(&event.resume_token);
        }
        let is_new = match &event.event {
            Some(Event::Snapshot(attempt)) => {
                self.ended |= words::is_terminal(attempt.state());
                self.revision == 0 || event.revision > self.revision
            }
            Some(Event::Progress(progress)) => {
                self.backoff.reset();
                self.complete = progress.terminal;
                event.revision > self.revision
            }
            Some(Event::Bookmark(_)) => {
                self.backoff.reset();
                true
            }
            // A kind of message that this version does not know.
            None => false,
        };
        if is_new {
            // A snapshot precedes the events that it includes: it must not hide them.
            if matches!(event.event, Some(Event::Progress(_))) {
                self.revision = event.revision;
            }
            return Some(event);
        }
        None
    }

    /// Decides what follows a broken stream: the pause, or the error that ends it all.
    fn break_off(&mut self, status: &Status, now: Instant) -> Result<Duration, Status> {
        self.stream = None;
        if status.code() == Code::OutOfRange && !self.token.is_empty() {
            self.token.clear();
        } else if !is_retryable(status.code()) {
            return Err(status.clone());
        }
        let away_since = *self.away_since.get_or_insert(now);
        if now.duration_since(away_since) > self.patience {
            return Err(status.clone());
        }
        let pause = self.backoff.next_pause();
        self.pause = Some(pause);
        Ok(pause)
    }
}
