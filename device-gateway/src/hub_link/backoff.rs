//! How long to wait before connecting again.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Full jitter: each wait is anything up to a bound that doubles, so that a fleet that lost its hub
/// at one moment does not come back at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    good: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits up to `min` at first and up to `max` later; a link that stayed up for `good` was good.
    pub(crate) fn new(min: Duration, max: Duration, good: Duration) -> Self {
        Self {
            min,
            max,
            good,
            failures: 0,
        }
    }

    /// The link was lost after having been up so long, or was not to be had: nothing.
    pub(crate) fn next_wait(&mut self, was_up: Duration, random: &mut impl Rng) -> Duration {
        if was_up >= self.good && !was_up.is_zero() {
            self.failures = 0;
        }
        let bound = self
            .min
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(self.max.max(self.min));
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(random.random_range(0.0..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn longest(backoff: &Backoff, was_up: Duration) -> Duration {
        (0..200)
            .map(|seed| {
                backoff
                    .clone()
                    .next_wait(was_up, &mut StdRng::seed_from_u64(seed))
            })
            .max()
            .unwrap()
    }

    #[test]
    fn the_bound_doubles_and_a_good_link_resets_it() {
        let mut random = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(seconds(1), seconds(60), seconds(30));
        for bound in [1, 2, 4, 8, 16, 32, 60, 60] {
            let longest = longest(&backoff, Duration::ZERO);
            assert!(longest <= seconds(bound) && longest > seconds(bound).mul_f64(0.9));
            backoff.next_wait(seconds(29), &mut random);
        }
        assert!(longest(&backoff, seconds(30)) <= seconds(1));
    }

    #[test]
    fn no_number_of_failures_overflows() {
        let mut random = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX, Duration::ZERO);
        backoff.failures = u32::MAX;
        let mut small = Backoff {
            min: seconds(1),
            max: seconds(60),
            ..backoff
        };
        assert!(small.next_wait(Duration::ZERO, &mut random) <= seconds(60));
    }
}
