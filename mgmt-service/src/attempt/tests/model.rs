//! What holds for every sequence of inputs.

use std::time::Duration;

use iot_hub::{
    method::{MethodResult, Payload},
    reboot::{
        Acceptance, AttemptReport, Dialect, Evidence, Grade, Mode, Refusal, RefusalCode, Report,
        RequestId, State, Step,
    },
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::attempt::{
    Asked, Attempt, CancelAnswer, Effect, Input, OfflinePolicy, Reading, Rules, Start, Trouble,
    Written,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(
        asked in asked(),
        dialect in dialects(),
        steps in prop::collection::vec((0_u64..40, any::<u8>(), inputs()), 0..60),
    ) {
        let rules = Rules::default();
        let mut now = start();
        let (mut attempt, first) = Attempt::begin(id(), "d".parse().unwrap(), asked, Duration::from_secs(300), now);
        let mut model = Model::new(dialect);
        model.effects(&first.effects)?;
        for (seconds, dice, input) in steps {
            now += Duration::from_secs(seconds);
            model.drift(dice);
            let Some(input) = model.shape(input, now) else {
                continue;
            };
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
    /// The twin's etag, as a number.
    etag: u32,
    /// The request is in the desired properties.
    entry: bool,
    /// A write whose answer was lost, on the condition of this etag.
    floating: Option<u32>,
    /// The gateway took it from there, and reports it.
    taken: bool,
    /// What was asked to be written: the request, or nothing.
    writes: Vec<(bool, u32)>,
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
            etag: 1,
            entry: false,
            floating: None,
            taken: false,
            writes: Vec::new(),
            dialect,
            call_out: false,
            may_have_arrived: false,
            ended: false,
            resumed_at: None,
        }
    }

    /// Makes an arbitrary input one that could happen: a reading is of this device and of now.
    fn shape(&mut self, input: Input, now: Timestamp) -> Option<Input> {
        let mut reading = match input {
            Input::Read(reading) => reading,
            Input::Enqueued(written) => {
                return self.answer_write(true, written).map(Input::Enqueued);
            }
            Input::Dequeued(written) => {
                return self.answer_write(false, written).map(Input::Dequeued);
            }
            Input::Tick
            | Input::Resumed
            | Input::GivenUp
            | Input::NotRead(_)
            | Input::CallerGone
            | Input::Answered(_)
            | Input::Undelivered(_)
            | Input::Ambiguous(_)
            | Input::Cancel { .. }
            | Input::CancelAnswered(_) => return Some(input),
        };
        reading.begun = now;
        reading.etag = self.etag.to_string();
        reading.queued = self.entry.then(id);
        if self.taken
            && let Some(report) = &mut reading.report
            && report
                .attempt
                .as_ref()
                .is_none_or(|attempt| attempt.request_id != id())
        {
            report.attempt = Some(super::scene::reported(State::Accepted, now));
        }
        reading.dialect = self.dialect;
        if self.dialect != Some(Dialect::Native) {
            reading.report = None;
        }
        Some(Input::Read(reading))
    }

    /// Lets the hub carry out the oldest write of this kind, if the answer says that it did.
    fn answer_write(&mut self, request: bool, written: Written) -> Option<Written> {
        let index = self.writes.iter().position(|(kind, _)| *kind == request)?;
        let (_, etag) = self.writes.remove(index);
        let applies = etag == self.etag;
        match written {
            Written::Done if applies => self.apply(request),
            Written::Done | Written::Conflict => return Some(Written::Conflict),
            Written::Unknown(_) if applies && request => self.floating = Some(etag),
            Written::Unknown(_) | Written::Not(_) => {}
        }
        Some(written)
    }

    fn apply(&mut self, request: bool) {
        self.entry = request;
        self.etag += 1;
    }

    /// What happens in the world beside the machine.
    fn drift(&mut self, dice: u8) {
        match dice % 5 {
            0 if self.floating.take() == Some(self.etag) => self.apply(true),
            1 if self.entry => self.taken = true,
            2 if dice > 200 => self.etag += 1,
            3 if dice > 230 && self.entry => self.apply(false),
            _ => {}
        }
    }

    fn before(&mut self, input: &Input) {
        match input {
            Input::Answered(result) if self.call_out => {
                self.call_out = false;
                self.may_have_arrived |= result.status < 400;
            }
            Input::Ambiguous(_) | Input::Resumed | Input::GivenUp if self.call_out => {
                self.call_out = false;
                self.may_have_arrived = true;
            }
            Input::Undelivered(_) => self.call_out = false,
            Input::Tick
            | Input::Resumed
            | Input::GivenUp
            | Input::Read(_)
            | Input::NotRead(_)
            | Input::CallerGone
            | Input::Answered(_)
            | Input::Ambiguous(_)
            | Input::Cancel { .. }
            | Input::CancelAnswered(_)
            | Input::Enqueued(_)
            | Input::Dequeued(_) => {}
        }
        if matches!(input, Input::Resumed | Input::GivenUp) {
            // A write that was out when the service died may take effect later.
            let floating = self.writes.drain(..).find(|(request, _)| *request);
            self.floating = floating.map(|(_, etag)| etag).or(self.floating);
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
                Effect::Enqueue { etag, .. } => {
                    prop_assert!(!self.ended, "queued after the end");
                    prop_assert_eq!(self.dialect, Some(Dialect::Native));
                    self.writes.push((true, number(etag)));
                }
                Effect::Dequeue { etag } => self.writes.push((false, number(etag))),
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
        let ends_here = after.view.state.is_terminal() && !before.view.state.is_terminal();
        if ends_here && matches!(after.view.state, State::Expired | State::Cancelled) && !reported {
            self.cannot_begin()?;
        }
        if ends_here && after.view.state == State::Cancelled && !self.taken {
            let by_device =
                matches!(input, Input::CancelAnswered(_)) || reports(input, State::Cancelled);
            prop_assert!(
                by_device || !self.may_have_arrived,
                "cancelled, and it may have arrived"
            );
            if !by_device {
                self.cannot_begin()?;
            }
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

impl Model {
    /// The device has not taken the request from its twin, and will not.
    fn cannot_begin(&self) -> Result<(), TestCaseError> {
        let floats = self.floating == Some(self.etag);
        let written = self
            .writes
            .iter()
            .any(|(kind, etag)| *kind && *etag == self.etag);
        prop_assert!(
            !self.taken && !self.entry && !floats && !written,
            "ended for good, and the device may get it"
        );
        Ok(())
    }
}

/// The model's etags are numbers.
fn number(etag: &str) -> u32 {
    etag.parse().unwrap_or_default()
}

/// Says whether a reading tells that the attempt is in this state.
fn reports(input: &Input, state: State) -> bool {
    let Input::Read(reading) = input else {
        return false;
    };
    let attempt = reading
        .report
        .as_ref()
        .and_then(|report| report.attempt.as_ref());
    attempt.is_some_and(|attempt| attempt.request_id == id() && attempt.state == state)
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
        3 => Just(Trouble::Offline),
        1 => Just(Trouble::NoDevice),
        1 => Just(Trouble::HubUnreachable("x".into())),
        1 => prop::option::of(0_u64..60).prop_map(|seconds| Trouble::Throttled {
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

fn step(time: Timestamp) -> Step {
    Step {
        time,
        error: None,
        evidence: None,
    }
}

fn readings() -> impl Strategy<Value = Reading> {
    let states = prop::sample::select(State::ALL.to_vec());
    let timelines =
        prop::collection::btree_map(prop::sample::select(State::ALL.to_vec()), times(), 0..5);
    let evidence = prop::option::of(grades());
    let modes = prop::sample::select(Mode::ALL.to_vec());
    let steps = prop::collection::btree_map(modes, times().prop_map(step), 0..3);
    let attempts = (states, times(), timelines, evidence, any::<bool>(), steps).prop_map(
        |(state, state_time, timeline, grade, ours, steps)| AttemptReport {
            timeline,
            evidence: grade.map(|grade| Evidence {
                grade,
                method: "m".into(),
                before: String::new(),
                after: String::new(),
            }),
            steps,
            ..AttemptReport::begun(
                if ours { id() } else { RequestId(Uuid::nil()) },
                state,
                state_time,
            )
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

fn written() -> impl Strategy<Value = Written> {
    prop_oneof![
        4 => Just(Written::Done),
        1 => Just(Written::Conflict),
        1 => troubles().prop_map(Written::Not),
        2 => Just(Written::Unknown("cut".into())),
    ]
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![
        2 => Just(Input::Tick),
        1 => Just(Input::Resumed),
        1 => Just(Input::GivenUp),
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
        2 => written().prop_map(Input::Enqueued),
        2 => written().prop_map(Input::Dequeued),
    ]
}
