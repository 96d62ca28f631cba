//! What holds for every sequence of inputs.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::{
    method::{MethodResult, Payload},
    reboot::{
        Acceptance, AttemptReport, Dialect, Evidence, Grade, Mode, Origin, Refusal, RefusalCode,
        Report, RequestId, State,
    },
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::attempt::{
    Asked, Attempt, CancelAnswer, Effect, Input, OfflinePolicy, Reading, Rules, Start, Trouble,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(
        asked in asked(),
        dialect in dialects(),
        steps in prop::collection::vec((0_u64..40, inputs()), 0..60),
    ) {
        let rules = Rules::default();
        let mut now = start();
        let (mut attempt, first) = Attempt::begin(id(), "d".parse().unwrap(), asked, Duration::from_secs(300), now);
        let mut model = Model::new(dialect);
        model.effects(&first.effects)?;
        for (seconds, input) in steps {
            now += Duration::from_secs(seconds);
            let input = model.shape(input, now);
            model.before(&input);
            let before = attempt.clone();
            let step = attempt.handle(input.clone(), &rules, now);
            model.check(&before, &attempt, &input, now)?;
            model.effects(&step.effects)?;
            let mut revision = before.view.revision;
            for event in &step.events {
                prop_assert!(event.revision > revision, "revision {} after {revision}", event.revision);
                revision = event.revision;
                prop_assert_eq!(event.view.revision, event.revision);
            }
            prop_assert!(attempt.view.revision >= revision);
            let stored: Attempt = serde_json::from_value(serde_json::to_value(&attempt).unwrap()).unwrap();
            prop_assert_eq!(&stored, &attempt);
        }
    }
}

/// What the world around the machine knows.
struct Model {
    /// What the device's twin shows; fixed, so that it can be said whether the device dedupes.
    dialect: Option<Dialect>,
    call_out: bool,
    may_have_arrived: bool,
    ended: bool,
    resumed_at: Option<Timestamp>,
}

impl Model {
    fn new(dialect: Option<Dialect>) -> Self {
        Self {
            dialect,
            call_out: false,
            may_have_arrived: false,
            ended: false,
            resumed_at: None,
        }
    }

    /// Makes an arbitrary input one that could happen: a reading is of this device and of now.
    fn shape(&self, input: Input, now: Timestamp) -> Input {
        let Input::Read(mut reading) = input else {
            return input;
        };
        reading.begun = now;
        reading.dialect = self.dialect;
        if self.dialect != Some(Dialect::Native) {
            reading.report = None;
        }
        Input::Read(reading)
    }

    fn before(&mut self, input: &Input) {
        match input {
            Input::Answered(result) if self.call_out => {
                self.call_out = false;
                self.may_have_arrived |= result.status < 400;
            }
            Input::Ambiguous(_) | Input::Resumed if self.call_out => {
                self.call_out = false;
                self.may_have_arrived = true;
            }
            Input::Undelivered(_) => self.call_out = false,
            Input::Tick
            | Input::Resumed
            | Input::Read(_)
            | Input::NotRead(_)
            | Input::CallerGone
            | Input::Answered(_)
            | Input::Ambiguous(_)
            | Input::Cancel { .. }
            | Input::CancelAnswered(_) => {}
        }
    }

    fn effects(&mut self, effects: &[Effect]) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::Call { .. } => {
                    prop_assert!(!self.ended, "a call after the end");
                    prop_assert!(!self.call_out, "a call while one is out");
                    let dedupes = self.dialect == Some(Dialect::Native);
                    prop_assert!(
                        dedupes || !self.may_have_arrived,
                        "a second call to a device that does not dedupe"
                    );
                    self.call_out = true;
                }
                Effect::Withdraw(_) => {
                    prop_assert!(
                        !self.may_have_arrived && !self.call_out,
                        "withdrawn after a call"
                    );
                }
                Effect::Read | Effect::AskToCancel { .. } => {}
            }
        }
        Ok(())
    }

    fn check(
        &mut self,
        before: &Attempt,
        after: &Attempt,
        input: &Input,
        now: Timestamp,
    ) -> Result<(), TestCaseError> {
        if before.view.state.is_terminal() {
            let unchanged = crate::attempt::View {
                recovered_time: after.view.recovered_time,
                revision: after.view.revision,
                ..before.view.clone()
            };
            prop_assert_eq!(&after.view, &unchanged, "a terminal state changed");
        }
        if *input == Input::Resumed && self.resumed_at.is_none() && now >= after.view.deadline {
            self.resumed_at = Some(now);
        }
        let looking = self
            .resumed_at
            .is_some_and(|at| now < at + Rules::default().last_look);
        if now >= after.view.deadline && !looking {
            prop_assert!(after.view.state.is_terminal(), "open after the deadline");
        }
        if after.view.state == State::Succeeded {
            let grade = after.view.evidence.as_ref().map(|evidence| evidence.grade);
            let required = after.view.required_grade.unwrap_or(Grade::Claimed);
            prop_assert!(grade >= Some(required), "a success without proof");
        }
        // A gateway that has the request knows better than we whether it was begun.
        let reported = matches!(input, Input::Read(_)) || before.view.state.is_terminal();
        if after.view.state == State::Expired && !reported {
            prop_assert!(
                !self.may_have_arrived,
                "expired, and a call may have arrived"
            );
        }
        if let Some(at) = after.wake_at() {
            let latest = after.view.deadline.max(now + Rules::default().last_look);
            prop_assert!(at <= latest, "nobody wakes it in time");
        }
        prop_assert_eq!(after.wake_at().is_none(), after.view.state.is_terminal());
        self.ended = after.view.state.is_terminal();
        Ok(())
    }
}

fn start() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn id() -> RequestId {
    RequestId(Uuid::from_u128(7))
}

fn dialects() -> impl Strategy<Value = Option<Dialect>> {
    prop::option::of(prop::sample::select(Dialect::ALL.to_vec()))
}

fn times() -> impl Strategy<Value = Timestamp> {
    (999_900_i64..1_001_000).prop_map(|second| Timestamp::from_second(second).unwrap())
}

fn grades() -> impl Strategy<Value = Grade> {
    prop::sample::select(Grade::ALL.to_vec())
}

fn asked() -> impl Strategy<Value = Asked> {
    let starts = prop_oneof![
        Just(Start::Now),
        (0_u64..200).prop_map(|seconds| Start::After(Duration::from_secs(seconds))),
        times().prop_map(Start::At),
    ];
    let required = prop::option::of(grades());
    (starts, required, any::<bool>()).prop_map(|(start, required_grade, queue)| Asked {
        start,
        required_grade,
        offline: if queue {
            OfflinePolicy::Queue
        } else {
            OfflinePolicy::Fail
        },
        ..Asked::default()
    })
}

fn troubles() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        Just(Trouble::Offline),
        Just(Trouble::NoDevice),
        Just(Trouble::HubUnreachable("x".into())),
        prop::option::of(0_u64..60).prop_map(|seconds| Trouble::Throttled {
            retry_after: seconds.map(Duration::from_secs)
        }),
    ]
}

fn answers() -> impl Strategy<Value = MethodResult> {
    let states = prop::sample::select(State::ALL.to_vec());
    let payloads = prop_oneof![
        Just(Value::Null),
        Just(json!("Reboot started")),
        (states, times(), any::<bool>()).prop_map(|(state, state_time, ours)| {
            let request_id = if ours { id() } else { RequestId(Uuid::nil()) };
            let acceptance = Acceptance {
                request_id,
                state,
                state_time,
                expected_duration_sec: Some(9),
                boot_id: None,
                duplicate: false,
            };
            acceptance.to_payload()
        }),
        prop::sample::select(vec![
            RefusalCode::Busy,
            RefusalCode::TooLate,
            RefusalCode::UnknownAttempt
        ])
        .prop_map(|code| Refusal::new(code, "no").to_payload()),
    ];
    let statuses = prop::sample::select(vec![0, 200, 202, 302, 400, 404, 409, 429, 500, 501, 503]);
    (statuses, payloads).prop_map(|(status, payload)| MethodResult {
        status,
        payload: Payload::Json(payload),
    })
}

fn readings() -> impl Strategy<Value = Reading> {
    let states = prop::sample::select(State::ALL.to_vec());
    let timelines =
        prop::collection::btree_map(prop::sample::select(State::ALL.to_vec()), times(), 0..5);
    let evidence = prop::option::of(grades());
    let attempts = (states, times(), timelines, evidence, any::<bool>()).prop_map(
        |(state, state_time, timeline, grade, ours)| AttemptReport {
            request_id: if ours { id() } else { RequestId(Uuid::nil()) },
            state,
            state_time,
            mode: Mode::Graceful,
            reason: String::new(),
            origin: Origin::Method,
            timeline,
            error: None,
            blockers: BTreeMap::new(),
            evidence: grade.map(|grade| Evidence {
                grade,
                method: "m".into(),
                before: String::new(),
                after: String::new(),
            }),
        },
    );
    (prop::option::of(attempts), prop::option::of(times())).prop_map(|(attempt, claim)| Reading {
        report: Some(Report {
            attempt,
            ..Report::default()
        }),
        claims: [None, None, None, claim],
        ..Reading::default()
    })
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![
        2 => Just(Input::Tick),
        1 => Just(Input::Resumed),
        6 => readings().prop_map(|reading| Input::Read(Box::new(reading))),
        1 => troubles().prop_map(Input::NotRead),
        1 => Just(Input::CallerGone),
        3 => answers().prop_map(Input::Answered),
        2 => troubles().prop_map(Input::Undelivered),
        2 => Just(Input::Ambiguous("cut".into())),
        1 => any::<bool>().prop_map(|abandon| Input::Cancel { abandon }),
        1 => answers().prop_map(|answer| Input::CancelAnswered(CancelAnswer::Answered(answer))),
        1 => Just(Input::CancelAnswered(CancelAnswer::Ambiguous("cut".into()))),
        1 => troubles().prop_map(|trouble| Input::CancelAnswered(CancelAnswer::Undelivered(trouble))),
    ]
}
