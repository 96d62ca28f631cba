//! Calls of the hub.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::FloatGauge;
use crate::{
    attempt::{Trouble, Written},
    hub::CallOutcome,
};

const BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0,
];

/// What the hub was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asked {
    /// A twin.
    Twin,
    /// To change a twin.
    TwinPatch,
    /// To call a method of a device.
    Method,
    /// To call a method that is left hanging.
    Hanging,
    /// A page of a query.
    Query,
}

/// What is counted of calls of the hub.
#[derive(Debug)]
pub(crate) struct HubMetrics {
    calls: Family<Call, Counter>,
    took: Family<Kind, Histogram>,
    reached: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

impl Asked {
    const ALL: [Self; 5] = [
        Self::Twin,
        Self::TwinPatch,
        Self::Method,
        Self::Hanging,
        Self::Query,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Twin => "twin",
            Self::TwinPatch => "twin_patch",
            Self::Method => "method",
            Self::Hanging => "hanging",
            Self::Query => "query",
        }
    }
}

impl HubMetrics {
    pub(super) fn register(registry: &mut Registry, calls_per_second: &[(Asked, f64)]) -> Self {
        let metrics = Self {
            calls: Family::default(),
            took: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            reached: Gauge::default(),
        };
        for asked in Asked::ALL {
            let kind = asked.name();
            // So that a rate is known from the first call on.
            drop(metrics.calls.get_or_create(&Call { kind, result: "ok" }));
        }
        registry.register(
            "hub_calls",
            "Calls of the hub by kind and result",
            metrics.calls.clone(),
        );
        registry.register_with_unit(
            "hub_call",
            "How long calls of the hub took",
            Unit::Seconds,
            metrics.took.clone(),
        );
        registry.register(
            "hub_reached",
            "1 when the hub answered the last call",
            metrics.reached.clone(),
        );
        let limits: Family<Kind, FloatGauge> = Family::default();
        for (asked, limit) in calls_per_second {
            let kind = asked.name();
            limits.get_or_create(&Kind { kind }).set(*limit);
        }
        registry.register(
            "hub_calls_per_second_limit",
            "How often the service may ask the hub in a second, by kind",
            limits,
        );
        metrics
    }

    /// A call is over.
    pub(crate) fn called(&self, asked: Asked, result: &'static str, took: Duration) {
        let kind = asked.name();
        self.calls.get_or_create(&Call { kind, result }).inc();
        self.took
            .get_or_create(&Kind { kind })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn reached(&self, reached: bool) {
        self.reached.set(i64::from(reached));
    }
}

/// What came of a call of the hub.
pub trait HubResult {
    /// In a word, from a small set.
    fn word(&self) -> &'static str;

    /// What it says of the hub itself.
    fn contact(&self) -> Contact<'_>;
}

/// What a call's result says of the hub itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact<'a> {
    /// It answered.
    Reached,
    /// It did not, or it does not let us in.
    Failed(&'a Trouble),
    /// Nothing.
    Unknown,
}

impl<T> HubResult for Result<T, Trouble> {
    fn word(&self) -> &'static str {
        match self {
            Ok(_) => "ok",
            Err(trouble) => word(trouble),
        }
    }

    fn contact(&self) -> Contact<'_> {
        match self {
            Ok(_) => Contact::Reached,
            Err(trouble) => contact(trouble),
        }
    }
}

impl HubResult for CallOutcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Answered(_) => "ok",
            Self::Undelivered(trouble) => word(trouble),
            Self::Ambiguous(_) => "ambiguous",
        }
    }

    fn contact(&self) -> Contact<'_> {
        match self {
            Self::Answered(_) => Contact::Reached,
            Self::Undelivered(trouble) => contact(trouble),
            // As a rule the hub answered that the device did not; a read will tell.
            Self::Ambiguous(_) => Contact::Unknown,
        }
    }
}

impl HubResult for Written {
    fn word(&self) -> &'static str {
        match self {
            Self::Done => "ok",
            Self::Conflict => "conflict",
            Self::Not(trouble) => word(trouble),
            Self::Unknown(_) => "ambiguous",
        }
    }

    fn contact(&self) -> Contact<'_> {
        match self {
            Self::Done | Self::Conflict => Contact::Reached,
            Self::Not(trouble) => contact(trouble),
            Self::Unknown(_) => Contact::Unknown,
        }
    }
}

fn contact(trouble: &Trouble) -> Contact<'_> {
    match trouble {
        Trouble::HubUnreachable(_) | Trouble::HubDenied(_) => Contact::Failed(trouble),
        Trouble::NoDevice
        | Trouble::Offline
        | Trouble::Throttled { .. }
        | Trouble::HubRefused(_) => Contact::Reached,
        // These are found without the hub.
        Trouble::CannotProve { .. } | Trouble::NoSuchMode(_) | Trouble::CannotCheck => {
            Contact::Unknown
        }
    }
}

fn word(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::NoDevice => "no_device",
        Trouble::Offline => "offline",
        Trouble::Throttled { .. } => "throttled",
        Trouble::HubUnreachable(_) => "unreachable",
        Trouble::HubDenied(_) => "denied",
        Trouble::HubRefused(_) => "refused",
        // These are found without the hub.
        Trouble::CannotProve { .. } | Trouble::NoSuchMode(_) | Trouble::CannotCheck => "other",
    }
}
