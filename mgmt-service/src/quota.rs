//! How much of the hub's quotas is used, and by whom.
//!
//! Each kind of call has a `Bucket`: twin reads in the poller, methods and queries behind a gate.
//! Callers that want more than there is wait in a `Line`, where they take turns, and are told when
//! to come again once it is full.

mod bucket;
mod gate;
mod line;
mod paced;
mod queue;
mod tier;

use std::time::Duration;

pub(crate) use self::{bucket::Bucket, line::Line, paced::PacedHub};
pub use self::{
    line::Full,
    queue::Claim,
    tier::{Edition, Tier},
};

/// How much the hub is asked apart from twin reads.
#[derive(Debug, Clone, PartialEq)]
pub struct HubQuota {
    /// How many methods may be called in a second.
    pub methods_per_second: f64,
    /// How many twins may be changed in a second.
    pub updates_per_second: f64,
    /// How many pages of queries may be read in a minute.
    pub queries_per_minute: f64,
    /// How long those who wait for either may have to: who would wait longer is refused.
    pub longest_wait: Duration,
    /// How many calls of `rebootWatch` may hang at once; none, to poll only.
    pub hanging_calls: usize,
}

/// More is asked for than the hub's quota allows, and the line of those who wait is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait for the hub's quota")]
pub struct Exhausted {
    /// When there should be room again.
    pub retry_after: Duration,
}

/// Rounds down what is small and not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates, and any number is good enough here"
)]
pub(crate) fn whole(number: f64) -> usize {
    number as usize
}
