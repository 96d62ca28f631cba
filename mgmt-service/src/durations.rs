//! How long reboots take: learned from those that succeeded, per device, class and fleet.
//!
//! What is known of a device is drawn towards what is known of its class, that towards the fleet,
//! and that towards a wide guess: the fewer reboots were seen, the more. Times are lognormal, so all
//! of it is about their logarithms.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::poller::Forecast;

/// The guess where nothing was learned: 90 seconds in the median, and 99 of 100 within 15 minutes.
const PRIOR: Estimate = Estimate {
    ln_median: 4.5,
    spread: 1.0,
    learned: 0.0,
};

/// How many reboots the wider group counts for against those of the narrower one.
const PULL: f64 = 1.0;

/// How many reboots are remembered: an older one counts for less, as devices change.
const MEMORY: f64 = 16.0;

/// What takes longer was not a reboot alone.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The normal distribution's 95th and 99th percentile.
const SIGMAS_95: f64 = 1.644_854;
const SIGMAS_99: f64 = 2.326_348;

/// What was seen of one group's reboots: the mean and the variance of the logarithm of seconds, in
/// which older ones count for less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learned {
    /// The mean.
    pub mean: f64,
    /// The variance.
    pub variance: f64,
    /// How many reboots that is worth.
    pub count: f64,
}

/// How long a reboot is going to take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    ln_median: f64,
    spread: f64,
    /// How many reboots it is learned from.
    learned: f64,
}

impl Learned {
    /// Adds a reboot to what was seen before.
    pub fn with(before: Option<Self>, took: Duration) -> Self {
        let seconds = took.min(LONGEST).as_secs_f64().max(1e-3).ln();
        let before = before.unwrap_or(Self {
            mean: seconds,
            variance: 0.0,
            count: 0.0,
        });
        let count = (before.count + 1.0).min(MEMORY);
        let (distance, part) = (seconds - before.mean, 1.0 / count);
        Self {
            mean: before.mean + part * distance,
            variance: (1.0 - part) * (before.variance + part * distance * distance),
            count,
        }
    }
}

impl Estimate {
    /// Draws what was seen of each group, the widest first, towards what is known of the one before.
    pub fn of(groups: impl IntoIterator<Item = Learned>) -> Self {
        groups.into_iter().fold(PRIOR, |wider, seen| {
            let weight = PULL + seen.count;
            let distance = seen.mean - wider.ln_median;
            let apart = PULL * seen.count / weight * distance * distance;
            let inside = PULL * wider.spread * wider.spread + seen.count * seen.variance;
            // The mean itself is known the less exactly, the fewer were seen.
            let variance = (inside + apart) / weight * (1.0 + 1.0 / weight);
            Self {
                ln_median: (PULL * wider.ln_median + seen.count * seen.mean) / weight,
                spread: variance.sqrt(),
                learned: wider.learned + seen.count,
            }
        })
    }

    /// Anything was learned at all.
    pub fn is_learned(&self) -> bool {
        self.learned > 0.0
    }

    /// As many take longer as take less long.
    pub fn p50(&self) -> Duration {
        self.quantile(0.0)
    }

    /// One in twenty takes longer.
    pub fn p95(&self) -> Duration {
        self.quantile(SIGMAS_95)
    }

    /// One in a hundred takes longer.
    pub fn p99(&self) -> Duration {
        self.quantile(SIGMAS_99)
    }

    /// When the end is likely, for the poller.
    pub fn forecast(&self) -> Forecast {
        let unknown = 1.0 / (1.0 + self.learned);
        Forecast::around(self.p50(), self.spread, 1.0 - unknown * unknown)
    }

    fn quantile(&self, sigmas: f64) -> Duration {
        let seconds = (self.ln_median + sigmas * self.spread).exp();
        Duration::try_from_secs_f64(seconds).map_or(LONGEST, |time| time.min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn learned(times: impl IntoIterator<Item = f64>) -> Learned {
        let seen = times.into_iter().fold(None, |before, time| {
            Some(Learned::with(before, seconds(time)))
        });
        seen.unwrap()
    }

    #[test]
    fn the_guess_is_wide() {
        let guess = Estimate::of([]);
        assert!(!guess.is_learned());
        assert_eq!(guess.p50().as_secs(), 90);
        assert_eq!(guess.p99().as_secs() / 60, 15);
    }

    #[test]
    fn a_device_is_known_after_a_few_reboots() {
        let device = learned([60.0, 63.0, 58.0, 61.0, 60.0, 59.0, 62.0, 60.0]);
        let alone = Estimate::of([device]);
        assert!(
            (55.0..70.0).contains(&alone.p50().as_secs_f64()),
            "{alone:?}"
        );
        // Where its like are known, it is known better.
        let fleet = learned((0..16).map(|number| 50.0 + f64::from(number) * 3.0));
        let among_its_like = Estimate::of([fleet, device]);
        assert!(
            among_its_like.spread < 0.6 * alone.spread,
            "{among_its_like:?}"
        );
        assert!(among_its_like.p95() < seconds(100.0), "{among_its_like:?}");
    }

    #[test]
    fn a_device_that_was_never_seen_is_taken_for_one_of_its_class() {
        let fleet = learned([100.0; 16]);
        let class = learned([30.0, 31.0, 29.0, 30.0, 30.0, 30.0]);
        let estimate = Estimate::of([fleet, class]);
        assert!(
            (28.0..45.0).contains(&estimate.p50().as_secs_f64()),
            "{estimate:?}"
        );
    }

    #[test]
    fn a_device_that_changes_is_learned_anew() {
        let before = [60.0; 100].into_iter();
        let device = learned(before.chain([120.0; 40]));
        let estimate = Estimate::of([device]);
        assert!(
            (100.0..125.0).contains(&estimate.p50().as_secs_f64()),
            "{estimate:?}"
        );
    }

    proptest! {
        #[test]
        fn percentiles_are_in_order_whatever_was_seen(
            groups in prop::collection::vec(prop::collection::vec(0.0_f64..1e7, 1..40), 0..4),
        ) {
            let estimate = Estimate::of(groups.into_iter().map(learned));
            let (p50, p95, p99) = (estimate.p50(), estimate.p95(), estimate.p99());
            prop_assert!(p50 <= p95 && p95 <= p99 && p99 <= LONGEST, "{estimate:?}");
            prop_assert!(p50 > Duration::ZERO, "{estimate:?}");
        }
    }
}
