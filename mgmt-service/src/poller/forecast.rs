//! When something is likely to happen: a distribution over the time since something else did.
//!
//! What is known is a lognormal around a median. It is never trusted altogether: as far as it is not,
//! any doubling of the time is as likely as the one before; a little of it comes much later than
//! usual; and some devices never come back.

use std::time::Duration;

/// The part of all reboots from which nobody comes back. A little more than fleets lose: a device
/// that is overdue is read less often than those that are due.
const NEVER: f64 = 0.02;

/// The part that comes later than usual, without a scale.
const LATE: f64 = 0.003;

/// The scale-free part begins here, in seconds: it makes no difference what came sooner.
const SOONEST: f64 = 1.0;

/// What takes longer than a day is as good as never.
const LATEST: f64 = 86_400.0;

/// When something is likely to happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// In seconds.
    median: f64,
    ln_median: f64,
    /// The standard deviation of the logarithm.
    spread: f64,
    /// The weight of the lognormal against the scale-free part.
    known: f64,
}

/// What is left of a forecast once some time has passed without the event.
#[derive(Debug)]
pub(super) struct Rest<'a> {
    forecast: &'a Forecast,
    passed: f64,
}

impl Forecast {
    /// Nothing is known: any doubling of the time may bring it.
    pub const UNKNOWN: Self = Self {
        median: 1.0,
        ln_median: 0.0,
        spread: 1.0,
        known: 0.0,
    };

    /// It happens around `median`, give or take a factor of e^`spread`; `known` is how far that is
    /// to be trusted, from 0 to 1.
    pub fn around(median: Duration, spread: f64, known: f64) -> Self {
        let median = median.as_secs_f64().clamp(1e-3, LATEST / 2.0);
        Self {
            median,
            ln_median: median.ln(),
            spread: spread.clamp(0.01, 3.0),
            known: known.clamp(0.0, 1.0),
        }
    }

    /// What is left of it when it has not happened for so many seconds.
    pub(super) fn after(&self, seconds: f64) -> Rest<'_> {
        Rest {
            forecast: self,
            passed: self.passed(seconds),
        }
    }

    /// The probability that it has happened after so many seconds.
    fn passed(&self, seconds: f64) -> f64 {
        if seconds <= 0.0 {
            return 0.0;
        }
        let free = |from: f64, time: f64| (time / from).ln() / ((LATEST + from) / from).ln();
        let mut passed = 0.0;
        if self.known < 1.0 {
            let time = (seconds + SOONEST).min(LATEST + SOONEST);
            passed += (1.0 - self.known) * free(SOONEST, time);
        }
        if self.known > 0.0 {
            let bulk = normal((seconds.ln() - self.ln_median) / self.spread);
            let late = free(self.median, seconds.clamp(self.median, LATEST));
            passed += self.known * ((1.0 - LATE) * bulk + LATE * late);
        }
        (1.0 - NEVER) * passed
    }
}

impl Rest<'_> {
    /// The probability that it happens until so many seconds since it was first possible.
    pub(super) fn chance(&self, until: f64) -> f64 {
        // At least those that never come back are left.
        (self.forecast.passed(until) - self.passed).max(0.0) / (1.0 - self.passed)
    }
}

/// The standard normal distribution function, to seven digits (Abramowitz and Stegun, 26.2.17).
fn normal(x: f64) -> f64 {
    const TERMS: [f64; 5] = [
        1.330_274_429,
        -1.821_255_978,
        1.781_477_937,
        -0.356_563_782,
        0.319_381_530,
    ];
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = TERMS.iter().fold(0.0, |sum, term| (sum + term) * t);
    let beyond = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * series;
    if x < 0.0 { beyond } else { 1.0 - beyond }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_normal_distribution_is_as_the_tables_have_it() {
        for (x, expected) in [
            (0.0, 0.5),
            (1.0, 0.841_344_7),
            (-1.0, 0.158_655_3),
            (1.644_854, 0.95),
            (2.326_348, 0.99),
            (-6.0, 0.0),
            (40.0, 1.0),
        ] {
            assert!((normal(x) - expected).abs() < 1e-6, "{x}: {}", normal(x));
        }
    }

    #[test]
    fn a_median_is_where_half_of_it_has_passed() {
        let forecast = Forecast::around(Duration::from_secs(90), 0.1, 1.0);
        let begin = forecast.after(0.0);
        assert!(begin.chance(89.0) < 0.5 && begin.chance(91.0) > 0.5);
        assert!(begin.chance(60.0) < 0.01);
        // Past its time there is little left to hope for, but never nothing.
        let late = forecast.after(200.0).chance(230.0);
        assert!(late > 0.0 && late < 0.1, "{late}");
    }

    #[test]
    fn without_knowledge_each_doubling_is_as_likely_as_the_one_before() {
        let doubling = |from: f64| {
            let passed = |seconds| Forecast::UNKNOWN.after(0.0).chance(seconds);
            passed(2.0 * from) - passed(from)
        };
        let (minutes, hours) = (doubling(60.0), doubling(3600.0));
        assert!((minutes - hours).abs() < 0.002, "{minutes} {hours}");
        assert!(minutes > 0.05, "{minutes}");
    }

    proptest! {
        #[test]
        fn a_chance_is_a_probability_that_grows_with_time(
            median in 0.001_f64..100_000.0,
            spread in 0.0_f64..4.0,
            known in 0.0_f64..1.0,
            before in 0.0_f64..1e6,
            span in 0.0_f64..1e6,
            more in 0.0_f64..1e6,
        ) {
            let forecast = Forecast::around(Duration::from_secs_f64(median), spread, known);
            let rest = forecast.after(before);
            let chance = rest.chance(before + span);
            prop_assert!((0.0..=1.0).contains(&chance), "{chance}");
            let later = rest.chance(before + span + more);
            prop_assert!(later >= chance - 1e-6, "{chance} then {later}");
        }
    }
}
