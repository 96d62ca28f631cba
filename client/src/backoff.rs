//! How long to wait before the next try.

use std::time::Duration;

/// The longest pause after the first failure.
const FIRST: Duration = Duration::from_millis(250);

/// The longest pause of all.
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that grow with each failure, and are random below their limit so that clients of a
/// service that comes back do not all come back at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and returns the pause after it.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let limit = self.next_limit();
        limit / 2 + limit.mul_f64(rand::random_range(0.0..0.5))
    }

    fn next_limit(&mut self) -> Duration {
        let limit = FIRST.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        limit.min(LONGEST)
    }

    /// Forgets the failures.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again() {
        let mut backoff = Backoff::default();
        let limits: Vec<_> = (0..7).map(|_| backoff.next_limit().as_millis()).collect();
        assert_eq!(limits, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next_limit(), FIRST);
    }

    #[test]
    fn a_pause_is_between_half_its_limit_and_its_limit() {
        for _ in 0..100 {
            let pause = Backoff { failures: 2 }.next_pause();
            assert!((500..1000).contains(&pause.as_millis()), "{pause:?}");
        }
    }
}
