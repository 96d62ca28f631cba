//! One reader of a log, at its own pace.

use std::{sync::Arc, task::Waker, time::Instant};

use super::Log;
use crate::attempt::Event;

/// One reader of a log: a position, and a place among those who wait.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    place: usize,
    position: i64,
}

impl Reader {
    /// Reads what comes after a revision.
    pub fn new(log: Arc<Log>, position: i64) -> Self {
        Self {
            place: log.waiting.enter(),
            log,
            position,
        }
    }

    /// What is read.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The last revision that was read.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The next event, if it has happened.
    pub fn read(&mut self) -> Option<Arc<Event>> {
        let event = self.log.after(self.position)?;
        self.position = event.revision;
        Some(event)
    }

    /// Has this woken when the log changes. What has changed before is to be looked for afterwards.
    pub fn wait(&self, waker: &Waker) {
        self.log.waiting.wait(self.place, waker);
    }

    /// Has all who wait woken at a moment that is the same for all of them, or earlier.
    pub fn wake_at(&self, at: Instant) {
        self.log.alarm.set(at, &self.log.waiting);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.log.waiting.leave(self.place);
    }
}
