//! An uptime that a device renews only now and then, and tells in between as it was.
//!
//! Such a value is as old as the device's interval, and a device that runs on would show one that is
//! shorter than it is. It counts only when it was just renewed: when the look before saw another one,
//! so that it is no older than that look.

use std::time::{Duration, Instant};

/// The newest value, and how old it can be.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    value: Option<Duration>,
    /// When the value was renewed at the earliest; nothing when nobody saw that.
    renewed: Option<Instant>,
    /// When the device was last looked at.
    looked: Option<Instant>,
}

impl Freshness {
    /// Takes in what the device tells now. Returns how long it has been up at most, when that is known.
    pub(super) fn judge(&mut self, value: Option<Duration>, now: Instant) -> Option<Duration> {
        if value != self.value {
            // Before the first look nobody knows since when it was told.
            self.renewed = self.value.and(self.looked);
            self.value = value;
        }
        self.looked = Some(now);
        let renewed = self.renewed?;
        Some(value? + now.saturating_duration_since(renewed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_counts_once_it_was_seen_to_be_renewed() {
        let begun = Instant::now();
        let seconds = Duration::from_secs;
        let mut fresh = Freshness::default();
        let mut at =
            |second, value: Option<u64>| fresh.judge(value.map(seconds), begun + seconds(second));
        // It may be a minute old.
        assert_eq!(at(0, Some(60)), None);
        assert_eq!(at(1, Some(60)), None);
        assert_eq!(at(50, Some(60)), None);
        // Renewed since the look before, and it grows from there.
        assert_eq!(at(51, Some(120)), Some(seconds(121)));
        assert_eq!(at(61, Some(120)), Some(seconds(131)));
        // A device that tells none after its boot renews nothing by its first.
        assert_eq!(at(70, None), None);
        assert_eq!(at(71, Some(0)), None);
        assert_eq!(at(72, Some(1)), Some(seconds(2)));
    }
}
