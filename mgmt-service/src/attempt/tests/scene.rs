//! An attempt, a clock, and the values that tests feed it with.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::{
    method::{MethodResult, Payload},
    reboot::{
        Acceptance, AttemptReport, Capabilities, Dialect, Evidence, Grade, Report, RequestId, State,
    },
};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::attempt::{Asked, Attempt, Effect, Input, OfflinePolicy, Reading, Rules, Step};

const DEADLINE: Duration = Duration::from_secs(100);

/// An attempt, a clock, and everything that came out of it.
pub(super) struct Scene {
    pub(super) attempt: Attempt,
    pub(super) now: Timestamp,
    pub(super) rules: Rules,
    pub(super) states: Vec<State>,
    pub(super) effects: Vec<Effect>,
}

impl Scene {
    pub(super) fn begin(asked: Asked) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let device = "pump-1".parse().unwrap();
        let (attempt, step) = Attempt::begin(id(), device, asked, DEADLINE, now);
        assert_eq!(step.effects, [Effect::Read]);
        let mut scene = Self {
            attempt,
            now,
            rules: Rules::default(),
            states: Vec::new(),
            effects: Vec::new(),
        };
        scene.keep(step);
        scene.take_effects();
        scene
    }

    pub(super) fn input(&mut self, input: Input) {
        let step = self.attempt.handle(input, &self.rules, self.now);
        self.keep(step);
    }

    pub(super) fn keep(&mut self, step: Step) {
        let states = step.events.iter().map(|event| event.view.state);
        self.states.extend(states);
        self.effects.extend(step.effects);
    }

    pub(super) fn read(&mut self, mut reading: Reading) {
        reading.begun = self.now;
        self.input(Input::Read(Box::new(reading)));
    }

    pub(super) fn after(&mut self, seconds: i64) {
        self.now = self.at(seconds);
    }

    pub(super) fn at(&self, seconds: i64) -> Timestamp {
        self.now + jiff::SignedDuration::from_secs(seconds)
    }

    pub(super) fn wake(&mut self) {
        self.now = self.attempt.wake_at().unwrap();
        self.input(Input::Tick);
    }

    pub(super) fn pass_deadline(&mut self) {
        self.now = self.attempt.view.deadline;
        self.input(Input::Tick);
    }

    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    #[track_caller]
    pub(super) fn takes_call(&mut self, expected: &str) {
        let effects = self.take_effects();
        let [Effect::Call { method, .. }] = &effects[..] else {
            panic!("{effects:?}");
        };
        assert_eq!(method, expected);
    }

    #[track_caller]
    pub(super) fn takes_cancel(&mut self) {
        let effects = self.take_effects();
        assert!(
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::AskToCancel { .. })),
            "{effects:?}"
        );
    }

    #[track_caller]
    pub(super) fn went_through(&self, expected: &[State]) {
        let mut states = self.states.clone();
        states.dedup();
        assert_eq!(states, expected);
    }

    #[track_caller]
    pub(super) fn ended(&self, state: State, code: Option<&str>) {
        let view = &self.attempt.view;
        let error = view.error.as_ref().map(|error| error.code.name());
        assert_eq!((view.state, error), (state, code));
        assert_eq!(self.attempt.wake_at(), None);
    }
}

pub(super) fn id() -> RequestId {
    RequestId(Uuid::from_u128(7))
}

pub(super) fn queue() -> Asked {
    Asked {
        offline: OfflinePolicy::Queue,
        ..Asked::default()
    }
}

pub(super) fn native(attempt: Option<AttemptReport>) -> Reading {
    Reading {
        dialect: Some(Dialect::Native),
        report: Some(Report {
            seq: 1,
            boot_id: Some("b1".into()),
            attempt,
            capabilities: Some(Capabilities {
                modes: BTreeMap::from([("graceful".into(), true), ("forced".into(), true)]),
                cancel: true,
                watch: false,
                best_grade: Grade::Caused,
                required_grade: Grade::BootChanged,
                typical_duration_sec: None,
            }),
            ..Report::default()
        }),
        ..Reading::default()
    }
}

pub(super) fn tutorial(dialect: Option<Dialect>, claim: Option<Timestamp>) -> Reading {
    Reading {
        dialect,
        claims: [claim, None, None, None],
        ..Reading::default()
    }
}

pub(super) fn reported(state: State, state_time: Timestamp) -> AttemptReport {
    AttemptReport {
        timeline: BTreeMap::new(),
        ..AttemptReport::begun(id(), state, state_time)
    }
}

pub(super) fn evidence(grade: Grade) -> Evidence {
    Evidence {
        grade,
        method: "mqtt-birth".into(),
        before: "b1".into(),
        after: "b2".into(),
    }
}

pub(super) fn acceptance(state: State, state_time: Timestamp) -> MethodResult {
    let acceptance = Acceptance {
        request_id: id(),
        state,
        state_time,
        expected_duration_sec: None,
        boot_id: None,
        duplicate: false,
    };
    MethodResult {
        status: 202,
        payload: Payload::Json(acceptance.to_payload()),
    }
}

pub(super) fn plain(status: i32) -> MethodResult {
    MethodResult {
        status,
        payload: Payload::Json(json!("Reboot started")),
    }
}
