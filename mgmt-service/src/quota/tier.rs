//! What a hub of some size allows.

use std::str::FromStr;

/// The part of a limit that is used: its measure is not ours, and others use the hub too.
const USED: f64 = 0.95;

/// The part used of the limit on queries, which is low, and which other back ends need too.
const QUERIES_USED: f64 = 0.9;

/// The part used of the limit on twin updates, which is the devices' own for their reports.
const UPDATES_USED: f64 = 0.25;

/// The size of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// The edition of its units.
    pub edition: Edition,
    /// How many it has.
    pub units: u32,
}

/// The editions that have twins and methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// S1.
    S1,
    /// S2.
    S2,
    /// S3.
    S3,
}

impl Tier {
    /// The smallest hub that has twins.
    pub const SMALLEST: Self = Self {
        edition: Edition::S1,
        units: 1,
    };

    /// How many twins the service may read in a second. On the smaller editions more units help
    /// little or not at all.
    pub fn reads_per_second(self) -> f64 {
        let units = f64::from(self.units);
        USED * match self.edition {
            Edition::S1 => 100.0,
            Edition::S2 => (10.0 * units).max(100.0),
            Edition::S3 => 500.0 * units,
        }
    }

    /// How many methods it may call in a second: what the hub measures in bytes, by the 4 KB.
    pub fn methods_per_second(self) -> f64 {
        let units = f64::from(self.units);
        USED * units
            * match self.edition {
                Edition::S1 => 40.0,
                Edition::S2 => 120.0,
                Edition::S3 => 6_000.0,
            }
    }

    /// How many twins it may change in a second.
    pub fn updates_per_second(self) -> f64 {
        let units = f64::from(self.units);
        UPDATES_USED
            * match self.edition {
                Edition::S1 => 50.0,
                Edition::S2 => (5.0 * units).max(50.0),
                Edition::S3 => 250.0 * units,
            }
    }

    /// How many queries it may make in a minute.
    pub fn queries_per_minute(self) -> f64 {
        let units = f64::from(self.units);
        QUERIES_USED
            * units
            * match self.edition {
                Edition::S1 | Edition::S2 => 20.0,
                Edition::S3 => 1_000.0,
            }
    }
}

impl FromStr for Edition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "S1" => Ok(Self::S1),
            "S2" => Ok(Self::S2),
            "S3" => Ok(Self::S3),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_the_documented_ones_less_a_margin() {
        for (edition, units, reads, methods, queries) in [
            (Edition::S1, 1, 95.0, 38.0, 18.0),
            (Edition::S1, 10, 95.0, 380.0, 180.0),
            (Edition::S2, 1, 95.0, 114.0, 18.0),
            (Edition::S2, 20, 190.0, 2_280.0, 360.0),
            (Edition::S3, 1, 475.0, 5_700.0, 900.0),
            (Edition::S3, 10, 4_750.0, 57_000.0, 9_000.0),
        ] {
            let tier = Tier { edition, units };
            let limits = [
                tier.reads_per_second(),
                tier.methods_per_second(),
                tier.queries_per_minute(),
            ];
            for (limit, expected) in limits.into_iter().zip([reads, methods, queries]) {
                assert!((limit - expected).abs() < 1e-6, "{tier:?}: {limits:?}");
            }
        }
    }
}
