//! The hub's throttles: how much of each kind a tier admits within a minute.
//!
//! The real hub measures over minutes and lets a short excess pass, so what counts here is any
//! window of 60 seconds: within it a whole minute's worth may come at once, and no more.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::faults::Operation;

const WINDOW: Duration = Duration::from_secs(60);
/// What came within such a time is remembered together, which bounds the memory it takes.
const SLOT: Duration = Duration::from_millis(10);
/// A method counts once for each 4 KB of its payload, as the bytes per second are metered.
const METHOD_METER: usize = 4096;

/// The size of a hub, which decides its throttles.
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

/// What shares a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    TwinReads,
    TwinUpdates,
    Queries,
    Methods,
    Registry,
    Jobs,
    Configurations,
    Connects,
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

    /// How much of a kind is admitted in a minute.
    fn per_minute(self, kind: Kind) -> u64 {
        use Edition::{S1, S2, S3};
        let units = u64::from(self.units.max(1));
        match (kind, self.edition) {
            (Kind::TwinReads, S1) => 100 * 60,
            (Kind::TwinReads, S2) => 60 * units.saturating_mul(10).max(100),
            (Kind::TwinReads, S3) => 500 * 60 * units,
            (Kind::TwinUpdates, S1) => 50 * 60,
            (Kind::TwinUpdates, S2) => 60 * units.saturating_mul(5).max(50),
            (Kind::TwinUpdates, S3) => 250 * 60 * units,
            (Kind::Queries, S1 | S2) => 20 * units,
            (Kind::Queries, S3) => 1_000 * units,
            (Kind::Methods, S1) => 40 * 60 * units,
            (Kind::Methods, S2) => 120 * 60 * units,
            (Kind::Methods, S3) => 6_000 * 60 * units,
            (Kind::Registry | Kind::Jobs, S1 | S2) => 100 * units,
            (Kind::Registry | Kind::Jobs, S3) => 5_000 * units,
            (Kind::Configurations, S1 | S2 | S3) => 20 * units,
            (Kind::Connects, S1) => 60 * units.saturating_mul(12).max(100),
            (Kind::Connects, S2) => 120 * 60 * units,
            (Kind::Connects, S3) => 6_000 * 60 * units,
        }
    }
}

/// What a method with so many bytes of payload costs.
pub(crate) fn method_cost(bytes: usize) -> u64 {
    bytes.div_ceil(METHOD_METER).max(1) as u64
}

/// What a tier has admitted lately. Without a tier it admits everything.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    tier: Option<Tier>,
    windows: HashMap<Kind, Window>,
}

/// What was admitted within the last 60 seconds.
#[derive(Debug, Default)]
struct Window {
    /// The end of each slot and what came within it, oldest first.
    slots: VecDeque<(Instant, u64)>,
    sum: u64,
}

impl Throttle {
    pub(crate) fn new(tier: Option<Tier>) -> Self {
        Self {
            tier,
            windows: HashMap::new(),
        }
    }

    /// Whether something of this cost is admitted now; then it counts.
    pub(crate) fn admit(&mut self, kind: Kind, cost: u64, now: Instant) -> bool {
        let Some(tier) = self.tier else { return true };
        let window = self.windows.entry(kind).or_default();
        window.forget_before(now);
        if window.sum.saturating_add(cost) > tier.per_minute(kind) {
            return false;
        }
        window.add(cost, now);
        true
    }
}

impl Window {
    fn forget_before(&mut self, now: Instant) {
        while let Some((end, cost)) = self.slots.front()
            && now.saturating_duration_since(*end) >= WINDOW
        {
            self.sum -= cost;
            self.slots.pop_front();
        }
    }

    fn add(&mut self, cost: u64, now: Instant) {
        self.sum += cost;
        match self.slots.back_mut() {
            Some((end, sum)) if now <= *end => *sum += cost,
            Some(_) | None => self.slots.push_back((now + SLOT, cost)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S1: Tier = Tier {
        edition: Edition::S1,
        units: 1,
    };

    #[test]
    fn a_method_costs_one_for_each_4_kb() {
        for (bytes, cost) in [(0, 1), (4096, 1), (4097, 2), (131_072, 32)] {
            assert_eq!(method_cost(bytes), cost, "{bytes}");
        }
    }

    #[test]
    fn without_a_tier_everything_is_admitted() {
        let mut throttle = Throttle::new(None);
        let now = Instant::now();
        assert!((0..1000).all(|_| throttle.admit(Kind::Queries, 1, now)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Any 60 seconds hold no more than the limit; and somebody who never stops asking gets
        /// within 1 % of it.
        #[test]
        fn a_minute_holds_the_limit(gaps in proptest::collection::vec(0_u64..16, 12_000..14_000)) {
            let mut throttle = Throttle::new(Some(S1));
            let limit = S1.per_minute(Kind::TwinUpdates);
            let (mut now, mut admitted) = (Instant::now(), VecDeque::new());
            let begin = now;
            let mut fullest = 0;
            for gap in gaps {
                now += Duration::from_millis(gap);
                if throttle.admit(Kind::TwinUpdates, 1, now) {
                    admitted.push_back(now);
                }
                while admitted.front().is_some_and(|first| now - *first >= WINDOW) {
                    admitted.pop_front();
                }
                fullest = fullest.max(admitted.len() as u64);
            }
            prop_assert!(fullest <= limit);
            prop_assert!(fullest * 100 >= limit * 99, "{fullest} in {:?}", now - begin);
        }
    }
}
