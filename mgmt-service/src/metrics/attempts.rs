//! Attempts, as the store sees them: every change passes there before anybody is told of it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use iot_hub::reboot::{FailureCode, RequestId, State};
use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::attempt::View;

/// From a gateway next door to one that sleeps most of the time.
const ACKNOWLEDGEMENT_BUCKETS: [f64; 11] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// From a microcontroller to a server that checks its memory first.
const VERDICT_BUCKETS: [f64; 11] = [
    1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0,
];

/// What is counted of attempts.
#[derive(Debug)]
pub(crate) struct Attempts {
    begun: Family<ModeLabel, Counter>,
    open: Family<StateLabel, Gauge>,
    ended: Family<Verdict, Counter>,
    withdrawn: Counter,
    recovered: Counter,
    acknowledged: Histogram,
    decided: Family<StateLabel, Histogram>,
    /// What is known of each open attempt.
    known: Mutex<HashMap<RequestId, Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    state: State,
    acknowledged: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabel {
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    state: &'static str,
    error: String,
    grade: &'static str,
}

impl Attempts {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let attempts = Self {
            begun: Family::default(),
            open: Family::default(),
            ended: Family::default(),
            withdrawn: Counter::default(),
            recovered: Counter::default(),
            acknowledged: Histogram::new(ACKNOWLEDGEMENT_BUCKETS),
            decided: Family::new_with_constructor(|| Histogram::new(VERDICT_BUCKETS)),
            known: Mutex::default(),
        };
        for state in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
            attempts.open(state).set(0);
        }
        registry.register("attempts_begun", "Attempts stored", attempts.begun.clone());
        registry.register("attempts", "Open attempts by state", attempts.open.clone());
        registry.register(
            "attempts_ended",
            "Attempts that ended, by state, failure and grade of evidence",
            attempts.ended.clone(),
        );
        registry.register(
            "attempts_withdrawn",
            "Requests that could not be begun, and were forgotten",
            attempts.withdrawn.clone(),
        );
        registry.register(
            "attempts_recovered",
            "Lost attempts whose device came back after all",
            attempts.recovered.clone(),
        );
        registry.register_with_unit(
            "acknowledgement",
            "Time from when an attempt may start until its gateway is known to have it",
            Unit::Seconds,
            attempts.acknowledged.clone(),
        );
        registry.register_with_unit(
            "time_to_verdict",
            "Time from when an attempt may start until it ends",
            Unit::Seconds,
            attempts.decided.clone(),
        );
        attempts
    }

    /// A new attempt is stored.
    pub(crate) fn begun(&self, view: &View) {
        let mode = view.mode.name();
        self.begun.get_or_create(&ModeLabel { mode }).inc();
        self.follow(view);
    }

    /// An attempt of an earlier run is taken up.
    pub(crate) fn resumed(&self, view: &View) {
        if !view.state.is_terminal() {
            self.follow(view);
        }
    }

    /// A change of an attempt is stored.
    pub(crate) fn changed(&self, view: &View, now: Timestamp) {
        if !view.state.is_terminal() {
            return self.follow(view);
        }
        match self.known().remove(&view.id) {
            Some(known) => {
                self.open(known.state).dec();
                if !known.acknowledged {
                    self.note_acknowledgement(view);
                }
                self.ended(view, now);
            }
            // Its end was counted before; what else changes is that its device is seen again.
            None => {
                self.recovered
                    .inc_by(u64::from(view.recovered_time.is_some()));
            }
        }
    }

    /// An attempt is forgotten, because it could not be begun.
    pub(crate) fn withdrawn(&self, id: RequestId) {
        self.withdrawn.inc();
        if let Some(known) = self.known().remove(&id) {
            self.open(known.state).dec();
        }
    }

    fn follow(&self, view: &View) {
        let mut known = self.known();
        let before = known.get(&view.id).copied();
        let acknowledged = match before {
            Some(Known {
                acknowledged: true, ..
            }) => true,
            // One of an earlier run was counted there, if it was acknowledged by then.
            None => acknowledged_at(view).is_some(),
            Some(_) => self.note_acknowledgement(view),
        };
        let state = view.state;
        known.insert(
            view.id,
            Known {
                state,
                acknowledged,
            },
        );
        drop(known);
        if let Some(before) = before {
            self.open(before.state).dec();
        }
        self.open(state).inc();
    }

    fn note_acknowledgement(&self, view: &View) -> bool {
        let Some(at) = acknowledged_at(view) else {
            return false;
        };
        self.acknowledged.observe(since_start(view, at));
        true
    }

    fn ended(&self, view: &View, now: Timestamp) {
        let state = view.state.name();
        // A code that this version does not know is a text from a device, and has no bound.
        let error = view.error.as_ref().map(|error| {
            if FailureCode::KNOWN.contains(&error.code) {
                error.code.to_string()
            } else {
                "OTHER".to_owned()
            }
        });
        let evidence = view.evidence.as_ref();
        let verdict = Verdict {
            state,
            error: error.unwrap_or_default(),
            grade: evidence.map_or("", |evidence| evidence.grade.name()),
        };
        self.ended.get_or_create(&verdict).inc();
        let taken = since_start(view, view.end_time.unwrap_or(now));
        self.decided
            .get_or_create(&StateLabel { state })
            .observe(taken);
    }

    fn open(&self, state: State) -> Gauge {
        let state = state.name();
        self.open.get_or_create_owned(&StateLabel { state })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<RequestId, Known>> {
        // Each holder changes one entry in one step.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the gateway is known to have had the attempt.
fn acknowledged_at(view: &View) -> Option<Timestamp> {
    let mut timeline = view.timeline.iter();
    timeline
        .find(|(state, _)| {
            !matches!(state, State::Pending | State::Dispatching) && !state.is_terminal()
        })
        .map(|(_, at)| *at)
}

fn since_start(view: &View, at: Timestamp) -> f64 {
    let start = view.not_before.unwrap_or(view.create_time);
    // The clocks of a device and of the service differ.
    Duration::try_from(at.duration_since(start))
        .unwrap_or_default()
        .as_secs_f64()
}
