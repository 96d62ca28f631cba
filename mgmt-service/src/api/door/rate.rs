//! How fast calls may come: a bucket that fills by itself.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    /// How many calls may be made now; at most two seconds' worth, and at least one.
    left: f64,
    filled: Instant,
}

impl Rate {
    pub(super) fn new(per_second: f64, now: Instant) -> Self {
        let mut rate = Self {
            per_second,
            left: 0.0,
            filled: now,
        };
        rate.left = rate.most();
        rate
    }

    /// Takes one call, or says how long to wait for it.
    pub(super) fn take(&mut self, now: Instant) -> Option<Duration> {
        let gone = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + gone * self.per_second).min(self.most());
        self.filled = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return None;
        }
        let wait = (1.0 - self.left) / self.per_second;
        Some(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX))
    }

    fn most(&self) -> f64 {
        (2.0 * self.per_second).max(1.0)
    }
}

#[test]
fn a_burst_is_taken_and_then_the_rate_holds() {
    let mut now = Instant::now();
    let mut rate = Rate::new(10.0, now);
    let taken = (0..100).filter(|_| rate.take(now).is_none()).count();
    assert_eq!(taken, 20);
    now += Duration::from_secs(1);
    let taken = (0..100).filter(|_| rate.take(now).is_none()).count();
    assert_eq!(taken, 10);
    let wait = rate.take(now).unwrap();
    assert!((0.09..0.11).contains(&wait.as_secs_f64()), "{wait:?}");
}
