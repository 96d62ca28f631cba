//! The body of a watch's answer.
//!
//! ```text
//!  snapshot ─► events, bookmarks ─► the terminal event ─► trailers: OK
//!                   │                                        ▲
//!                   └─► gone, aged, stopping, not allowed ───┘ or what went wrong
//! ```
//!
//! Most watches are idle, and there are many: a watch has no task, channel or buffer of its own, shares the timer
//! of all who watch the attempt, and what is said to many is made once.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http_body::{Body, Frame};
use jiff::Timestamp;
use tokio::time::{Sleep, sleep_until};
use tonic::{
    Status,
    codegen::{Bytes, http::HeaderMap},
};

use super::message;
use crate::{
    api::sight::Sight,
    error::Error,
    metrics::Watching,
    service::{Now, Reader, Told},
};

/// The body of a watch's answer.
pub(in crate::api) struct WatchBody {
    reader: Reader,
    sight: Sight,
    stage: Stage,
    /// When the caller has to make a new one.
    ends_at: Instant,
    /// When the last bookmark was told, or the watch began.
    told: Instant,
    /// For what it has to do before the others are woken.
    timer: Option<Pin<Box<Sleep>>>,
    /// It is counted for as long as it is there.
    _watching: Watching,
}

/// How far a watch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was said yet.
    New,
    Following,
    /// The last bookmark is out.
    Aged,
    /// The terminal event is out.
    Told,
    /// The trailers are out.
    Over,
}

/// What comes next.
enum Next {
    Message(Bytes),
    End(Result<(), Error>),
}

impl WatchBody {
    pub(super) fn new(reader: Reader, sight: Sight) -> Self {
        let means = sight.means();
        Self {
            ends_at: means.pace.ends_at(),
            told: Instant::now(),
            _watching: means.instruments.watching(),
            reader,
            sight,
            stage: Stage::New,
            timer: None,
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if self.stage == Stage::Told {
            return Poll::Ready(Next::End(Ok(())));
        }
        let log = self.reader.log();
        if let Poll::Ready(error) = self.sight.poll_lost(log, context) {
            return Poll::Ready(Next::End(Err(error)));
        }
        if self.stage == Stage::New {
            self.stage = Stage::Following;
            let (now, position) = (log.now(), self.reader.position());
            let snapshot = message::snapshot(&now.attempt.view, position);
            return Poll::Ready(Next::Message(snapshot));
        }
        if let Some(event) = self.event() {
            return Poll::Ready(Next::Message(event));
        }
        // Whatever comes from here on wakes; what came in between is found now.
        self.reader.wait(context.waker());
        // First how it stands, then the log: what the former tells of is in the latter.
        let now = self.reader.log().now();
        if let Some(event) = self.event() {
            return Poll::Ready(Next::Message(event));
        }
        if let Some(end) = self.end(&now) {
            return Poll::Ready(Next::End(end));
        }
        self.poll_bookmark(&now, context).map(Next::Message)
    }

    fn event(&mut self) -> Option<Bytes> {
        let event = self.reader.read()?;
        if event.is_terminal() {
            self.stage = Stage::Told;
        }
        let told = Told::Event(event.revision);
        let log = self.reader.log();
        Some(log.told(told, || message::progress(&event)))
    }

    /// How the watch ends, where nothing is left to say.
    fn end(&self, now: &Now) -> Option<Result<(), Error>> {
        let view = &now.attempt.view;
        if now.withdrawn.is_some() {
            Some(Err(Error::NoAttempt(view.device.clone(), view.id)))
        } else if view.state.is_terminal() {
            Some(Ok(()))
        } else if self.stage == Stage::Aged {
            Some(Err(Error::WatchAged))
        } else if self.sight.means().service.shutdown().is_cancelled() {
            Some(Err(Error::Stopping))
        } else {
            None
        }
    }

    /// Waits until it is time to say that nothing happens, or to look around again.
    fn poll_bookmark(&mut self, now: &Now, context: &mut Context<'_>) -> Poll<Bytes> {
        let due = self.sight.means().pace.bookmark_at(now.since, self.told);
        let present = Instant::now();
        if self.ends_at <= present {
            self.stage = Stage::Aged;
        } else if present < due {
            self.reader.wake_at(due);
            let look = self.sight.ask_within().map(|within| present + within);
            let own = self.ends_at.min(look.unwrap_or(due));
            if own < due {
                self.wake_alone_at(own, context);
            }
            return Poll::Pending;
        }
        self.told = present;
        let (log, position) = (self.reader.log(), self.reader.position());
        let twin_age = log.last_read().map(|at| {
            let age = Timestamp::now().duration_since(at);
            Duration::try_from(age).unwrap_or_default()
        });
        let id = now.attempt.view.id;
        Poll::Ready(log.told(Told::Nothing(position, due), || {
            message::bookmark(id, position, twin_age)
        }))
    }

    /// Wakes this watch, and no other, to look at everything again.
    fn wake_alone_at(&mut self, at: Instant, context: &mut Context<'_>) {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(at.into())));
        // A timer that fires early costs less than one that is moved at each change.
        if timer.is_elapsed() || timer.deadline() > at.into() {
            timer.as_mut().reset(at.into());
        }
        if timer.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
    }
}

impl Body for WatchBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.stage == Stage::Over {
            return Poll::Ready(None);
        }
        self.poll_next(context).map(|next| match next {
            Next::Message(bytes) => Some(Ok(Frame::data(bytes))),
            Next::End(end) => {
                self.stage = Stage::Over;
                Some(trailers(end).map(Frame::trailers))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stage == Stage::Over
    }
}

/// How a call ended.
fn trailers(end: Result<(), Error>) -> Result<HeaderMap, Status> {
    let status = end.map_or_else(Status::from, |()| Status::ok(""));
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(trailers)
}
