//! What a read has to be worth to be made: the price at which the reads fit into the budget.
//!
//! The worth of a read grows with time, so a price turns into a deadline for each device. When more
//! deadlines pass than the budget has reads for, the oldest of them lags behind, and the price
//! rises; when reads are left over it falls, down to a floor below which a read is not worth its
//! cost to anybody.

use std::time::{Duration, Instant};

/// How far the oldest deadline may lag behind: enough to know that no read was left over, little
/// against the pauses between two reads of a device.
const LAG: f64 = 0.1;

/// How fast the price follows, as a factor of e in a second. What is worth reading moves with the
/// fourth root of the price: it halves or doubles within a few seconds.
const GAIN: f64 = 0.2;

/// The most the price rises in e-folds per second; it falls at most at [`GAIN`].
const STEEPEST: f64 = 4.0;

/// How much dearer a read is at once for each [`LAG`], which keeps the price from swinging.
const AT_ONCE: f64 = 0.5;

/// Beyond this nothing is read before its longest pause is over, and a higher price changes nothing.
const CEILING: f64 = 1e6;

/// What a read has to be worth.
#[derive(Debug)]
pub(super) struct Level {
    ln_floor: f64,
    ln_base: f64,
    lag: f64,
    at: Instant,
}

impl Level {
    /// Begins at the floor, which is the worth of looking for a certain change after `min`.
    pub(super) fn new(min: Duration, now: Instant) -> Self {
        let ln_floor = worth(1.0, min.as_secs_f64().max(1e-3)).ln();
        Self {
            ln_floor,
            ln_base: ln_floor,
            lag: 0.0,
            at: now,
        }
    }

    /// Takes in how far the oldest deadline lags behind.
    pub(super) fn observe(&mut self, lag: Duration, now: Instant) {
        let passed = now
            .saturating_duration_since(self.at)
            .as_secs_f64()
            .min(1.0);
        self.at = now;
        self.lag = (lag.as_secs_f64() / LAG).min(STEEPEST + 1.0);
        self.ln_base += GAIN * (self.lag - 1.0) * passed;
        // The floor of a long shortest pause is higher than that.
        let ceiling = CEILING.ln().max(self.ln_floor);
        self.ln_base = self.ln_base.clamp(self.ln_floor, ceiling);
    }

    /// The price.
    pub(super) fn value(&self) -> f64 {
        (self.ln_base + AT_ONCE * (self.lag - 1.0).max(0.0)).exp()
    }
}

/// What it is worth to read a device after `age` seconds when something has happened by `chance`.
/// The square of the age is the wait that ends, and its growth; one power more trades a little of
/// the mean wait for a much better worst one.
pub(super) fn worth(chance: f64, age: f64) -> f64 {
    chance * age.powi(3) / 2.0
}
