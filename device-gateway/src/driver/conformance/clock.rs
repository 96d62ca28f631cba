//! A clock that runs fast, so that minutes of a device's life fit into a test.

use std::time::Duration;

use tokio::time::Instant;

/// How many times as fast as real time.
const FACTOR: u32 = 20;

/// A clock that began with the test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FastClock(Instant);

impl FastClock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since it began.
    pub(super) fn now(&self) -> Duration {
        self.0.elapsed() * FACTOR
    }

    /// When it will show that time; nothing when that is too far away to wait for.
    pub(super) fn shows(&self, time: Duration) -> Option<Instant> {
        self.0.checked_add(time / FACTOR)
    }
}
