//! How often the hub may be asked.

use std::time::{Duration, Instant};

/// How late a timer may fire: so much is made up for, so that a high rate is reached at all.
const LATENESS: Duration = Duration::from_millis(2);

/// How long a refusal of the hub halves the rate.
const PENALTY: Duration = Duration::from_secs(10);

/// How much of the full rate comes back each second after that.
const RECOVERY_PER_SECOND: f64 = 0.01;

/// A token bucket that holds a single token: any window of one second sees at most `rate` reads.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    next: Instant,
    refused: Option<Refused>,
}

/// The hub has refused a read for want of quota.
#[derive(Debug, Clone, Copy)]
struct Refused {
    at: Instant,
    /// What was left of the rate just before.
    share: f64,
}

impl Bucket {
    pub(super) fn new(rate: f64, now: Instant) -> Self {
        Self {
            rate,
            next: now,
            refused: None,
        }
    }

    /// When the next read may be made.
    pub(super) fn ready_at(&self) -> Instant {
        self.next
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let late = now.duration_since(self.next).min(LATENESS);
        let spacing = (Duration::from_secs(1) + LATENESS).div_f64(self.rate * self.share(now));
        self.next = now - late + spacing;
        true
    }

    /// The hub refused a read: wait as long as it says, and go on at half the rate.
    pub(super) fn refused(&mut self, retry_after: Option<Duration>, now: Instant) {
        let share = self.share(now) / 2.0;
        self.refused = Some(Refused {
            at: now,
            share: share.max(0.01),
        });
        let wait = retry_after.unwrap_or(Duration::from_secs(1));
        self.next = self.next.max(now + wait);
    }

    /// The share of the rate that is used at present.
    fn share(&self, now: Instant) -> f64 {
        let Some(refused) = self.refused else {
            return 1.0;
        };
        let recovering = now.saturating_duration_since(refused.at + PENALTY);
        (refused.share + recovering.as_secs_f64() * RECOVERY_PER_SECOND).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_window_of_a_second_sees_more_than_the_rate(
            rate in 1_u32..2_000,
            delays in prop::collection::vec(0_u64..3_000, 1..3_000),
        ) {
            let mut now = Instant::now();
            let mut bucket = Bucket::new(rate.into(), now);
            let mut window = VecDeque::new();
            for delay in delays {
                // Timers are late by up to three milliseconds.
                now = now.max(bucket.ready_at()) + Duration::from_micros(delay);
                prop_assert!(bucket.take(now));
                window.push_back(now);
                while now.duration_since(window[0]) >= Duration::from_secs(1) {
                    window.pop_front();
                }
                prop_assert!(window.len() <= rate as usize, "{} in a second", window.len());
            }
        }
    }

    #[test]
    fn a_refusal_is_waited_for_and_halves_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100.0, start);
        assert!(bucket.take(start));
        bucket.refused(Some(Duration::from_secs(7)), start);
        assert!(!bucket.take(start + Duration::from_millis(6_999)));
        let now = start + Duration::from_secs(7);
        assert!(bucket.take(now));
        let spacing = bucket.ready_at() - now;
        assert!(spacing > Duration::from_millis(17), "{spacing:?}");
        let later = start + Duration::from_secs(70);
        assert!(bucket.take(later));
        let spacing = bucket.ready_at() - later;
        assert!(spacing < Duration::from_millis(11), "{spacing:?}");
    }
}
