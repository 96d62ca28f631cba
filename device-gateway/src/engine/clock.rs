//! Time as the engine is told it.

use std::time::Duration;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// How long a process watches at least before a time is up that began in an earlier one: the wall
/// clock may have been set meanwhile, and then the time was not.
const RESUMED_AT_LEAST: Duration = Duration::from_secs(30);

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, to the millisecond. It may jump.
    pub wall: Timestamp,
    /// A clock that only goes forward, from any beginning; a new one with each process.
    pub mono: Duration,
}

impl Now {
    /// Names a moment; the wall clock is cut to what is reported of it.
    pub fn new(wall: Timestamp, mono: Duration) -> Self {
        let millis = TimestampRound::new()
            .smallest(Unit::Millisecond)
            .mode(RoundMode::Trunc);
        let wall = wall.round(millis).unwrap_or(wall);
        Self { wall, mono }
    }

    /// How long after `earlier` this is by the wall clock; nothing when the clock went back.
    pub(crate) fn since(&self, earlier: Timestamp) -> Duration {
        Duration::try_from(self.wall.duration_since(earlier)).unwrap_or_default()
    }

    /// When a moment of the wall clock comes, on the monotonic clock, if neither is set until then. A
    /// moment of an earlier process comes no sooner than this one has had time to look around.
    pub(crate) fn at(&self, later: Timestamp, resumed: bool) -> Duration {
        let least = if resumed {
            RESUMED_AT_LEAST
        } else {
            Duration::ZERO
        };
        self.mono + self.until(later).max(least)
    }

    /// How far ahead a moment of the wall clock is; nothing when it has passed.
    pub(crate) fn until(&self, later: Timestamp) -> Duration {
        Duration::try_from(later.duration_since(self.wall)).unwrap_or_default()
    }
}

/// Measures a time that may have begun in an earlier process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopwatch {
    since: Duration,
    carried: Duration,
}

impl Stopwatch {
    /// Begins now.
    pub(crate) fn begin(now: Now) -> Self {
        Self {
            since: now.mono,
            carried: Duration::ZERO,
        }
    }

    /// Goes on with a time that began in an earlier process, by the only clock they share.
    pub(crate) fn resume(began: Timestamp, now: Now) -> Self {
        Self {
            since: now.mono,
            carried: now.since(began),
        }
    }

    /// So much of the time does not count.
    pub(crate) fn leave_out(&mut self, time: Duration) {
        self.since += time;
    }

    /// A limit has passed.
    pub(crate) fn has_passed(&self, limit: Duration, now: Now) -> bool {
        self.passes(limit) <= now.mono
    }

    /// How long it has been, as far as the wall clock can be believed.
    pub(crate) fn elapsed(&self, now: Now) -> Duration {
        self.carried + now.mono.saturating_sub(self.since)
    }

    /// When a limit will have passed, on the monotonic clock.
    pub(crate) fn passes(&self, limit: Duration) -> Duration {
        let left = limit.saturating_sub(self.carried);
        self.since + left.max(limit.min(RESUMED_AT_LEAST))
    }
}
