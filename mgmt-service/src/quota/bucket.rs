//! How often the hub may be asked.

use std::time::{Duration, Instant};

/// How late a timer may fire: so much is made up for, so that a high rate is reached at all.
const LATENESS: Duration = Duration::from_millis(2);

/// How long a refusal of the hub halves the rate.
const PENALTY: Duration = Duration::from_secs(10);

/// How much of the full rate comes back each second after that.
const RECOVERY_PER_SECOND: f64 = 0.01;

/// Refusals within such a time are one: the calls were under way together.
const ONE_REFUSAL: Duration = Duration::from_secs(1);

/// The longest wait that a refusal may ask for: the hub measures over minutes.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A token bucket that holds a single token: any window of one second sees at most `rate` calls.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    next: Instant,
    refused: Option<Refused>,
}

/// The hub has refused a call for want of quota.
#[derive(Debug, Clone, Copy)]
struct Refused {
    at: Instant,
    /// What is left of the rate.
    share: f64,
}

impl Bucket {
    pub(crate) fn new(rate: f64, now: Instant) -> Self {
        Self {
            rate,
            next: now,
            refused: None,
        }
    }

    /// When the next call may be made.
    pub(crate) fn ready_at(&self) -> Instant {
        self.next
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let late = now.duration_since(self.next).min(LATENESS);
        self.next = now - late + self.spacing(now);
        true
    }

    /// How long so many calls take at the present rate.
    pub(crate) fn time_for(&self, calls: usize, now: Instant) -> Duration {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        self.spacing(now).saturating_mul(calls)
    }

    /// How long so many calls take at the full rate.
    pub(crate) fn round(&self, calls: usize) -> Duration {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        Duration::from_secs(1)
            .div_f64(self.rate)
            .saturating_mul(calls)
    }

    /// The hub refused a call: wait as long as it says, and go on at half the rate.
    pub(crate) fn refused(&mut self, retry_after: Option<Duration>, now: Instant) {
        let known = self
            .refused
            .is_some_and(|refused| now.saturating_duration_since(refused.at) < ONE_REFUSAL);
        if !known {
            let share = (self.share(now) / 2.0).max(0.01);
            self.refused = Some(Refused { at: now, share });
        }
        let wait = retry_after.unwrap_or(Duration::from_secs(1));
        self.next = self.next.max(now + wait.min(LONGEST_WAIT));
    }

    /// The pause between two calls.
    fn spacing(&self, now: Instant) -> Duration {
        (Duration::from_secs(1) + LATENESS).div_f64(self.rate * self.share(now))
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
    fn refusals_of_calls_that_were_under_way_together_halve_it_once() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100.0, start);
        for _ in 0..20 {
            bucket.refused(Some(Duration::MAX), start);
        }
        assert_eq!(bucket.ready_at(), start + LONGEST_WAIT);
        let per_second =
            Duration::from_secs(1).as_secs_f64() / bucket.time_for(1, start).as_secs_f64();
        assert!((49.0..51.0).contains(&per_second), "{per_second}");
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
