//! The size of a hub, and the limits that come with it.

use super::Kind;

/// The size of a hub, which decides its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The edition of each unit.
    pub edition: Edition,
    /// How many units the hub has; at least one.
    pub units: u32,
}

/// The editions that have twins and methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// S1.
    S1,
    /// S2.
    S2,
    /// S3.
    S3,
}

impl std::str::FromStr for Edition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "S1" => Ok(Self::S1),
            "S2" => Ok(Self::S2),
            "S3" => Ok(Self::S3),
            _ => Err("expected S1, S2 or S3".to_owned()),
        }
    }
}

impl Tier {
    /// How many jobs may be active.
    pub(crate) fn active_jobs(self) -> usize {
        match self.edition {
            Edition::S1 => 1,
            Edition::S2 => 5,
            Edition::S3 => 10,
        }
    }

    /// How many messages the hub takes in a day.
    #[must_use]
    pub fn daily_messages(self) -> u64 {
        let of_a_unit: u64 = match self.edition {
            Edition::S1 => 400_000,
            Edition::S2 => 6_000_000,
            Edition::S3 => 300_000_000,
        };
        of_a_unit.saturating_mul(self.units())
    }

    /// How much of a kind is admitted in a minute.
    #[must_use]
    pub fn per_minute(self, kind: Kind) -> u64 {
        use Edition::{S1, S2, S3};
        let units = self.units();
        let at_least = |floor: u64, of_a_unit: u64| 60 * of_a_unit.saturating_mul(units).max(floor);
        match (kind, self.edition) {
            (Kind::TwinReads, S1) => 100 * 60,
            (Kind::TwinReads, S2) => at_least(100, 10),
            (Kind::TwinReads, S3) => 500 * 60 * units,
            (Kind::TwinUpdates, S1) => 50 * 60,
            (Kind::TwinUpdates, S2) => at_least(50, 5),
            (Kind::TwinUpdates, S3) => 250 * 60 * units,
            (Kind::JobDevices, S1) => 10 * 60,
            (Kind::JobDevices, S2) => at_least(10, 1),
            (Kind::JobDevices, S3) => 50 * 60 * units,
            (Kind::Queries, S1 | S2) => 20 * units,
            (Kind::Queries, S3) => 1_000 * units,
            (Kind::Methods, S1) => 40 * 60 * units,
            (Kind::Methods, S2) => 120 * 60 * units,
            (Kind::Methods, S3) => 6_000 * 60 * units,
            (Kind::Registry | Kind::Jobs | Kind::CloudToDevice, S1 | S2) => 100 * units,
            (Kind::Registry | Kind::Jobs | Kind::CloudToDevice, S3) => 5_000 * units,
            (Kind::Configurations, S1 | S2 | S3) => 20 * units,
            (Kind::Registrations, S1 | S2 | S3) => 1_000,
            (Kind::Connects | Kind::Telemetry, S1) => at_least(100, 12),
            (Kind::Connects | Kind::Telemetry, S2) => 120 * 60 * units,
            (Kind::Connects | Kind::Telemetry, S3) => 6_000 * 60 * units,
        }
    }

    fn units(self) -> u64 {
        self.units.max(1).into()
    }
}
