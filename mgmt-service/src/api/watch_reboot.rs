//! `WatchReboot`.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use iot_hub::identity::DeviceId;
use iothubdm_proto::v1::{Bookmark, RebootEvent, reboot_event::Event as Carried};
use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{convert, token::ResumeToken};
use crate::{
    attempt::{Event, View},
    error::{Error, Violation},
    service::{Log, Now},
};

/// How often a watch says something, and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long it is idle before it gets a bookmark.
    pub(super) bookmarks: Duration,
    /// How long it lasts, up to a tenth less.
    pub(super) age: Duration,
}

impl Pace {
    /// Watches that began together, after a restart for example, end at different times.
    fn ends_at(self) -> Instant {
        Instant::now() + self.age.mul_f64(1.0 - 0.1 * rand::random::<f64>())
    }
}

/// Follows an attempt from where a token says.
pub(super) fn watch(
    log: Arc<Log>,
    resume_token: &str,
    pace: Pace,
    shutdown: CancellationToken,
) -> Result<impl Stream<Item = Result<RebootEvent, Status>> + use<>, Error> {
    let watcher = Watcher {
        position: position(resume_token, &log)?,
        changes: log.changes(),
        log,
        ready: VecDeque::new(),
        begun: false,
        ended: false,
        aged: false,
        bookmark_interval: pace.bookmarks,
        ends_at: pace.ends_at(),
        shutdown,
    };
    Ok(stream::unfold(watcher, |mut watcher| async {
        let message = watcher.next().await?;
        watcher.ended |= message.is_err();
        Some((message.map_err(Status::from), watcher))
    }))
}

/// Where the watch continues.
fn position(text: &str, log: &Log) -> Result<i64, Error> {
    if text.is_empty() {
        return Ok(log.floor());
    }
    let view = &log.now().attempt.view;
    let refuse = |rule: &str| Err(Violation::new("resume_token", rule).into());
    let Some(token) = ResumeToken::parse(text) else {
        return refuse("must be the resume_token of an earlier event");
    };
    if token.id != view.id {
        refuse("is of another attempt")
    } else if token.revision < 0 || token.revision > view.revision {
        refuse("is of no event of this attempt")
    } else if token.revision < log.floor() {
        Err(Error::TokenTooOld)
    } else {
        Ok(token.revision)
    }
}

/// One reader of a log, at its own pace.
struct Watcher {
    log: Arc<Log>,
    changes: watch::Receiver<Now>,
    /// The last revision handed out.
    position: i64,
    ready: VecDeque<Arc<Event>>,
    begun: bool,
    ended: bool,
    /// The last bookmark is out.
    aged: bool,
    bookmark_interval: Duration,
    /// When the caller has to make a new one.
    ends_at: Instant,
    shutdown: CancellationToken,
}

impl Watcher {
    /// The next message; `None` after the terminal event.
    async fn next(&mut self) -> Option<Result<RebootEvent, Error>> {
        if self.ended {
            return None;
        }
        if !self.begun {
            self.begun = true;
            let view = &self.log.now().attempt.view;
            return Some(Ok(
                self.message(view.revision, Carried::Snapshot(convert::attempt(view)))
            ));
        }
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.position = event.revision;
                self.ended = event.is_terminal();
                let progress = Carried::Progress(convert::progress(&event));
                return Some(Ok(self.message(event.revision, progress)));
            }
            // First how it stands, then the log: what the former tells of is in the latter.
            let now = self.changes.borrow_and_update().clone();
            self.ready = self.log.after(self.position).into();
            if !self.ready.is_empty() {
                continue;
            }
            let view: &View = &now.attempt.view;
            if now.withdrawn.is_some() {
                let device: DeviceId = view.device.clone();
                return Some(Err(Error::NoAttempt(device, view.id)));
            }
            if view.state.is_terminal() {
                return None;
            }
            if self.aged {
                return Some(Err(Error::WatchAged));
            }
            let bookmark_at = Instant::now() + self.bookmark_interval;
            tokio::select! {
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        return Some(Err(Error::Stopping));
                    }
                }
                () = tokio::time::sleep_until(self.ends_at.min(bookmark_at)) => {
                    self.aged = self.ends_at <= bookmark_at;
                    return Some(Ok(self.bookmark()));
                }
                () = self.shutdown.cancelled() => return Some(Err(Error::Stopping)),
            }
        }
    }

    fn bookmark(&self) -> RebootEvent {
        let age = self.log.last_read().map(|at| {
            let age = Timestamp::now().duration_since(at);
            convert::duration(Duration::try_from(age).unwrap_or_default())
        });
        self.message(self.position, Carried::Bookmark(Bookmark { twin_age: age }))
    }

    /// A message whose token continues after what this watcher has handed out.
    fn message(&self, revision: i64, carried: Carried) -> RebootEvent {
        let token = ResumeToken {
            id: self.log.now().attempt.view.id,
            revision: self.position,
        };
        RebootEvent {
            event: Some(carried),
            revision,
            resume_token: token.print(),
        }
    }
}
