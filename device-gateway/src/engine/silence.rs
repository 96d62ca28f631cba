//! Looks at a device that nobody answered. The device may be away, or a message was lost on its way: what
//! tells them apart is how long it lasts.
//!
//! ```text
//!   look ✕ ──────── look ✕          nothing answered the second, begun an interval later: absent
//!   look ✕ ── look ✓ ── look ✕      one lost look, and another one: nothing
//! ```
//!
//! A look that shows nothing for some other reason ends the silence too: somebody may have answered it.
//!
//! It is not journalled. A process that begins in the middle of a silence takes no absence for the
//! device's own before it has seen the device present.

use std::time::Duration;

/// The newest looks, as far as nobody answered them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Silence {
    /// When the first look in a row began that nobody answered, on the monotonic clock.
    since: Option<Duration>,
    /// One was answered after one that was not.
    was_broken: bool,
}

impl Silence {
    /// Nobody answered the look that began then. Says whether that has lasted for an absence: looks are
    /// dated by their beginning, so the time from one beginning to the other counts.
    pub(super) fn lasts(&mut self, began: Duration, interval: Duration) -> bool {
        let since = *self.since.get_or_insert(began);
        began >= since + interval
    }

    /// A look was answered, or failed on our side.
    pub(super) fn end(&mut self) {
        self.was_broken |= self.since.take().is_some();
    }

    /// A look begun from then on shows whether it lasts.
    pub(super) fn tells_from(self, interval: Duration) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since + interval)
    }

    /// A single look was not answered, which may have been the device or the network.
    pub(super) fn was_broken(self) -> bool {
        self.was_broken
    }
}
