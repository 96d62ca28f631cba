//! Traffic shaping: a surplus is admitted at once while there is credit, then waits its turn, and
//! is refused when the wait is too long.
//!
//! ```text
//!   backlog:   0 ........ credit ............ credit + queue
//!              │ admitted    │ waits until the    │ refused
//!              │ at once     │ backlog is credit  │
//! ```
//!
//! The backlog is what was admitted and not worked off yet at the limit's rate, as a time. So any
//! stretch of time holds at most the credit and what the rate allows in it, and one more.

use std::time::{Duration, Instant};

/// What one limit has admitted, as the time by which its rate will have worked it off.
#[derive(Debug, Default)]
pub(super) struct Shaper {
    worked_off: Option<Instant>,
}

/// How far a limit may be passed, as times at its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// What passes at once.
    pub(super) credit: Duration,
    /// How long the rest may wait.
    pub(super) queue: Duration,
}

impl Shaper {
    /// How long something has to wait that the rate works off in `work`; `None` when it is refused.
    pub(super) fn pass(
        &mut self,
        work: Duration,
        allowance: Allowance,
        now: Instant,
    ) -> Option<Duration> {
        let worked_off = self.worked_off.map_or(now, |at| at.max(now));
        let backlog = worked_off.duration_since(now);
        let wait = backlog.saturating_sub(allowance.credit);
        if wait > allowance.queue {
            return None;
        }
        self.worked_off = Some(worked_off + work);
        Some(wait)
    }
}
