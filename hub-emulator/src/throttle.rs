//! The hub's throttles: how much of each kind a tier admits, and how long the rest waits.
//!
//! | kind | a surplus |
//! | --- | --- |
//! | twins, methods, telemetry, connects | is [shaped](shaper): credit, then a queue, then refused |
//! | queries, registry, jobs, configurations, messages to devices | is [refused](window) at once |
//! | the devices of a job | waits, as long as it takes |
//!
//! A [`Throttle`] takes the time as an argument, so ten minutes of a hub can be played in
//! milliseconds:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use hub_emulator::{Edition, Kind, Shaping, Throttle, Tier};
//!
//! let tier = Tier { edition: Edition::S1, units: 1 };
//! let mut throttle = Throttle::new(Some(tier), Shaping::default());
//! let begin = Instant::now();
//! // Twice as many reads as S1 admits, for ten minutes.
//! let reads = (0..120_000).map(|number| begin + Duration::from_millis(5) * number);
//! let admitted = reads.filter_map(|at| throttle.pass(Kind::TwinReads, 1, at)).count();
//! // A minute's credit, ten minutes at the rate, and ten seconds in the queue.
//! assert_eq!(admitted, 6_000 + 60_000 + 1_000);
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

pub(crate) use self::quota::{Quota, messages};
use self::shaper::{Allowance, Shaper};
pub use self::tier::{Edition, Tier};
use self::window::Window;
use crate::faults::Operation;

mod quota;
mod shaper;
#[cfg(test)]
mod tests;
mod tier;
mod window;

const MINUTE: Duration = Duration::from_secs(60);

/// What shares a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Twins read, by services and devices.
    TwinReads,
    /// Twins changed, by services and devices.
    TwinUpdates,
    /// Twin queries.
    Queries,
    /// Direct methods, each counted once for every 4 KB of its payload.
    Methods,
    /// Operations on the identity registry.
    Registry,
    /// Jobs made, read, listed and cancelled.
    Jobs,
    /// Devices that jobs get to.
    JobDevices,
    /// Operations on configurations.
    Configurations,
    /// New connections of devices.
    Connects,
    /// Messages from devices.
    Telemetry,
    /// Messages to devices.
    CloudToDevice,
    /// Requests to the provisioning service, whose limit is its own whatever the hub's tier.
    Registrations,
}

impl From<Operation> for Kind {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::ServiceTwinRead | Operation::DeviceTwinRead => Self::TwinReads,
            Operation::ServiceTwinUpdate | Operation::DeviceTwinUpdate => Self::TwinUpdates,
            Operation::MethodCall => Self::Methods,
            Operation::Query => Self::Queries,
            Operation::Job => Self::Jobs,
            Operation::Configuration => Self::Configurations,
            Operation::Registry => Self::Registry,
            Operation::Registration => Self::Registrations,
        }
    }
}

/// How a hub treats what is more than its limits, where it does not refuse it at once. Both are
/// times at the limit's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shaping {
    /// How much a quiet hub takes at once. At zero everything is spaced by the limit's rate, which
    /// shows at once what a client would meet after minutes.
    pub credit: Duration,
    /// How much may wait after that; the rest is refused.
    pub queue: Duration,
}

impl Default for Shaping {
    /// What the documentation tells of the real hub: twice the limit passes for a minute or two. How
    /// long its queue is, it does not tell.
    fn default() -> Self {
        Self {
            credit: MINUTE,
            queue: Duration::from_secs(10),
        }
    }
}

/// What a tier has admitted lately. Without a tier it admits everything.
#[derive(Debug, Default)]
pub struct Throttle {
    tier: Option<Tier>,
    shaping: Shaping,
    shapers: HashMap<Kind, Shaper>,
    windows: HashMap<Kind, Window>,
}

impl Throttle {
    /// A throttle that has admitted nothing yet.
    #[must_use]
    pub fn new(tier: Option<Tier>, shaping: Shaping) -> Self {
        Self {
            tier,
            shaping,
            shapers: HashMap::new(),
            windows: HashMap::new(),
        }
    }

    /// How long something of this cost has to wait, after which it is admitted; `None` when it is
    /// refused, and then it does not count.
    pub fn pass(&mut self, kind: Kind, cost: u64, now: Instant) -> Option<Duration> {
        let Some(tier) = self.tier else {
            return Some(Duration::ZERO);
        };
        let limit = tier.per_minute(kind);
        let Some(allowance) = self.shaping.of(kind) else {
            let window = self.windows.entry(kind).or_default();
            return window.admit(cost, limit, now).then_some(Duration::ZERO);
        };
        // A few bytes of payload never cost so much that this is cut off.
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let work = MINUTE.mul_f64(f64::from(cost) / limit as f64);
        let shaper = self.shapers.entry(kind).or_default();
        shaper.pass(work, allowance, now)
    }
}

impl Shaping {
    /// How a kind is shaped; `None` for one that is not.
    fn of(self, kind: Kind) -> Option<Allowance> {
        let Self { credit, queue } = self;
        match kind {
            Kind::TwinReads
            | Kind::TwinUpdates
            | Kind::Methods
            | Kind::Connects
            | Kind::Telemetry => Some(Allowance { credit, queue }),
            Kind::JobDevices => Some(Allowance {
                credit: Duration::ZERO,
                queue: Duration::MAX,
            }),
            Kind::Queries
            | Kind::Registry
            | Kind::Jobs
            | Kind::Configurations
            | Kind::CloudToDevice
            | Kind::Registrations => None,
        }
    }
}
