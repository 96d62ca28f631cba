//! When an attempt has to be looked at again, and when it has to end.

use std::time::Duration;

use jiff::Timestamp;

use super::{Attempt, View, dispatch::Phase};

/// The most that a gateway's deadline comes before the attempt's.
const MAX_MARGIN: Duration = Duration::from_secs(10);

/// `at` and `span` after it, or the end of time.
pub(super) fn later(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// `at` less `span`, or the beginning of time.
fn earlier(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_sub(span).unwrap_or(Timestamp::MIN)
}

/// How long the gateway's own verdict has to reach us: a tenth of the whole, at most ten seconds.
fn margin(view: &View) -> Duration {
    let whole = view.deadline.duration_since(view.start()).unsigned_abs();
    MAX_MARGIN.min(whole / 10)
}

/// The deadline that the gateway is given.
pub(super) fn gateway_deadline(view: &View) -> Timestamp {
    earlier(view.deadline, margin(view))
}

/// When the twin is read once more before the deadline.
pub(super) fn last_read_at(view: &View) -> Timestamp {
    earlier(view.deadline, margin(view) / 4)
}

/// When the attempt ends for want of anything better.
pub(super) fn end_by(attempt: &Attempt) -> Timestamp {
    let deadline = attempt.view.deadline;
    attempt
        .progress
        .overtime
        .map_or(deadline, |overtime| overtime.max(deadline))
}

/// When something is due next.
pub(super) fn wake_at(attempt: &Attempt) -> Option<Timestamp> {
    if attempt.view.state.is_terminal() {
        return None;
    }
    let end = end_by(attempt);
    let due = match &attempt.progress.phase {
        Phase::Waiting { until } => *until,
        Phase::Retrying { at } => *at,
        Phase::Queueing | Phase::Queued if !attempt.progress.last_read_asked => {
            gateway_deadline(&attempt.view)
        }
        Phase::Calling { .. } | Phase::Settling { .. } | Phase::Following
            if !attempt.progress.last_read_asked =>
        {
            last_read_at(&attempt.view)
        }
        Phase::Reading { .. }
        | Phase::Calling { .. }
        | Phase::Settling { .. }
        | Phase::Queueing
        | Phase::Queued
        | Phase::Following
        | Phase::Ended => end,
    };
    let late = attempt.progress.expected.wake_at(attempt.view.late);
    Some(late.map_or(due, |late| due.min(late)).min(end))
}
