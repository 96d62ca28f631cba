//! The messages that a hub takes in a day, from midnight to midnight UTC.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Every message counts once for each 4 KB that it has begun.
const METER: usize = 4096;

/// What was used of the day's messages.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    limit: Option<u64>,
    day: Option<Date>,
    used: u64,
}

impl Quota {
    /// Without a limit it only counts.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Counts a message, unless the day's are used up.
    pub(crate) fn spend(&mut self, bytes: usize, now: Timestamp) -> bool {
        let left = self.limit.is_none_or(|limit| self.used(now) < limit);
        if left {
            self.charge(bytes, now);
        }
        left
    }

    /// Counts a message that nobody can refuse any more.
    pub(crate) fn charge(&mut self, bytes: usize, now: Timestamp) {
        self.used = self.used(now).saturating_add(messages(bytes));
        self.day = Some(day(now));
    }

    /// How many were used today.
    pub(crate) fn used(&self, now: Timestamp) -> u64 {
        if self.day == Some(day(now)) {
            self.used
        } else {
            0
        }
    }
}

fn day(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now).date()
}

/// How many messages so many bytes are.
pub(crate) fn messages(bytes: usize) -> u64 {
    bytes.div_ceil(METER).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_metered_by_its_4_kb() {
        for (bytes, cost) in [(0, 1), (4096, 1), (4097, 2), (131_072, 32)] {
            assert_eq!(messages(bytes), cost, "{bytes}");
        }
    }

    #[test]
    fn a_day_has_its_messages_and_the_next_has_its_own() {
        let evening: Timestamp = "2026-05-01T23:59:59Z".parse().unwrap();
        let midnight: Timestamp = "2026-05-02T00:00:00Z".parse().unwrap();
        let mut quota = Quota::new(Some(4));
        // The last one may be larger than what is left.
        assert!(quota.spend(0, evening) && quota.spend(20_000, evening));
        assert!(!quota.spend(0, evening));
        assert_eq!(quota.used(evening), 6);
        quota.charge(0, evening);
        assert_eq!(quota.used(evening), 7);
        assert_eq!(quota.used(midnight), 0);
        assert!(quota.spend(0, midnight));
        assert_eq!(quota.used(midnight), 1);

        let mut endless = Quota::new(None);
        assert!((0..1000).all(|_| endless.spend(0, evening)));
        assert_eq!(endless.used(evening), 1000);
    }
}
