//! One test per rule: inputs in, states and effects out.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::{
    method::{MethodResult, Payload},
    reboot::{
        Acceptance, AttemptReport, Capabilities, Dialect, Evidence, Failure, FailureCode, Grade,
        HistoryEntry, Mode, Origin, Preconditions, Refusal, RefusalCode, Report, RequestId, State,
        method,
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::attempt::{
    Asked, Attempt, CancelAnswer, Effect, Input, OfflinePolicy, Reading, Rules, Start, Step,
    Trouble,
};

const DEADLINE: Duration = Duration::from_secs(100);

/// An attempt, a clock, and everything that came out of it.
struct Scene {
    attempt: Attempt,
    now: Timestamp,
    rules: Rules,
    states: Vec<State>,
    effects: Vec<Effect>,
}

#[test]
fn a_native_device_is_followed_through_its_timeline_to_the_evidence() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
    scene.after(1);
    let (t1, t2) = (scene.now, scene.at(4));
    let mut report = reported(State::Verifying, t2);
    report.timeline = BTreeMap::from([
        (State::Accepted, scene.at(-1)),
        (State::Rebooting, t1),
        (State::Down, scene.at(1)),
        (State::Verifying, t2),
    ]);
    scene.after(5);
    scene.read(native(Some(report.clone())));
    report.state = State::Succeeded;
    report.state_time = scene.at(0);
    report.evidence = Some(evidence(Grade::Caused));
    scene.read(native(Some(report)));
    scene.went_through(&[
        State::Pending,
        State::Dispatching,
        State::Accepted,
        State::Rebooting,
        State::Down,
        State::Verifying,
        State::Succeeded,
    ]);
    let view = &scene.attempt.view;
    assert_eq!(view.evidence, Some(evidence(Grade::Caused)));
    assert_eq!(view.error, None);
    assert_eq!(view.end_time, Some(scene.now));
}

#[test]
fn a_stage_counts_again_only_if_it_was_left() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
    let mut report = reported(State::Accepted, scene.at(1));
    scene.read(native(Some(report.clone())));
    report.state = State::Blocked;
    report.state_time = scene.at(2);
    scene.read(native(Some(report.clone())));
    report.timeline = BTreeMap::from([(State::Blocked, scene.at(2))]);
    report.state = State::Accepted;
    report.state_time = scene.at(3);
    scene.read(native(Some(report.clone())));
    scene.read(native(Some(report)));
    scene.went_through(&[
        State::Pending,
        State::Dispatching,
        State::Accepted,
        State::Blocked,
        State::Accepted,
    ]);
    assert_eq!(scene.attempt.view.timeline.len(), 5);
}

#[test]
fn a_success_without_the_evidence_required_is_a_failure() {
    for grade in [None, Some(Grade::Returned)] {
        let mut scene = Scene::begin(Asked {
            required_grade: Some(Grade::BootChanged),
            ..Asked::default()
        });
        scene.read(native(None));
        let mut report = reported(State::Succeeded, scene.now);
        report.evidence = grade.map(evidence);
        scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
        scene.read(native(Some(report)));
        scene.ended(State::Failed, Some("PROOF_TOO_WEAK"));
    }
}

#[test]
fn a_report_of_another_attempt_neither_helps_nor_harms() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
    let before = scene.attempt.clone();
    let mut report = reported(State::Succeeded, scene.now);
    report.request_id = RequestId(Uuid::from_u128(99));
    report.evidence = Some(evidence(Grade::Healthy));
    scene.read(native(Some(report)));
    assert_eq!(scene.attempt, before);
}

#[test]
fn the_outcome_is_found_in_the_history_of_a_device_that_went_on() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
    let mut reading = native(None);
    if let Some(report) = &mut reading.report {
        report.history = vec![HistoryEntry {
            id: Some(id()),
            state: State::Succeeded,
            time: scene.now,
            grade: Some(Grade::Caused),
        }];
    }
    scene.read(reading);
    scene.ended(State::Succeeded, None);
}

#[test]
fn an_ambiguous_call_is_settled_by_the_twin() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Ambiguous("504101".into()));
    assert_eq!(scene.take_effects(), [Effect::Read]);
    scene.read(native(Some(reported(State::Rebooting, scene.now))));
    assert_eq!(scene.take_effects(), []);
    scene.went_through(&[State::Pending, State::Dispatching, State::Rebooting]);
}

#[test]
fn a_device_that_dedupes_is_called_again_once_the_twin_does_not_show_the_request() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Ambiguous("cut".into()));
    scene.take_effects();
    scene.read(native(None));
    assert_eq!(scene.take_effects(), [], "the pause is not over");
    scene.after(1);
    let mut stale = native(None);
    stale.begun = scene.at(-5);
    scene.input(Input::Read(Box::new(stale)));
    assert_eq!(
        scene.take_effects(),
        [],
        "the reading is older than the try"
    );
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Undelivered(Trouble::Offline));
    scene.pass_deadline();
    scene.ended(State::Lost, Some("DEADLINE_EXCEEDED"));
}

#[test]
fn a_device_that_does_not_dedupe_is_never_called_twice() {
    for dialect in [None, Some(Dialect::Tutorial), Some(Dialect::TutorialPython)] {
        let mut scene = Scene::begin(Asked::default());
        scene.read(tutorial(dialect, None));
        assert!(matches!(
            scene.take_effects().as_slice(),
            [Effect::Call { .. }]
        ));
        scene.input(Input::Ambiguous("504101".into()));
        for _ in 0..20 {
            scene.after(4);
            scene.read(tutorial(dialect, None));
        }
        let calls = scene.take_effects();
        assert!(
            !calls
                .iter()
                .any(|effect| matches!(effect, Effect::Call { .. })),
            "{calls:?}"
        );
        scene.pass_deadline();
        scene.ended(State::Lost, Some("DEADLINE_EXCEEDED"));
    }
}

#[test]
fn an_offline_device_withdraws_the_request_of_a_caller_that_does_not_queue() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Undelivered(Trouble::Offline));
    assert_eq!(scene.take_effects(), [Effect::Withdraw(Trouble::Offline)]);
}

#[test]
fn a_queued_request_waits_for_an_offline_device_and_expires() {
    let mut scene = Scene::begin(queue());
    for _ in 0..4 {
        scene.read(native(None));
        scene.takes_call(method::REBOOT);
        scene.input(Input::Undelivered(Trouble::Offline));
        assert_eq!(scene.attempt.view.state, State::Pending);
        scene.wake();
        assert_eq!(scene.take_effects(), [Effect::Read]);
    }
    scene.went_through(&[State::Pending, State::Dispatching, State::Pending]);
    scene.pass_deadline();
    scene.ended(State::Expired, Some("DEADLINE_EXCEEDED"));
}

#[test]
fn no_call_is_begun_so_late_that_the_deadline_would_find_it_out() {
    let mut scene = Scene::begin(queue());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Undelivered(Trouble::Offline));
    scene.after(91);
    scene.input(Input::Tick);
    scene.take_effects();
    scene.read(native(None));
    assert_eq!(scene.take_effects(), []);
    assert_eq!(scene.attempt.wake_at(), Some(scene.attempt.view.deadline));
    scene.pass_deadline();
    scene.ended(State::Expired, Some("DEADLINE_EXCEEDED"));
}

#[test]
fn retry_after_is_honoured() {
    let mut scene = Scene::begin(queue());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    let retry_after = Some(Duration::from_secs(17));
    scene.input(Input::Undelivered(Trouble::Throttled { retry_after }));
    assert_eq!(scene.attempt.wake_at(), Some(scene.at(17)));
}

#[test]
fn a_tutorial_device_succeeds_by_a_claim_newer_than_the_call() {
    let old = Timestamp::from_second(5).unwrap();
    let mut scene = Scene::begin(Asked::default());
    scene.read(tutorial(Some(Dialect::Tutorial), Some(old)));
    assert_eq!(
        scene.take_effects(),
        [Effect::Call {
            method: method::REBOOT.into(),
            payload: Value::Null
        }]
    );
    // .NET reports before it answers; the report counts once the answer is there.
    let new = scene.now;
    scene.read(tutorial(Some(Dialect::Tutorial), Some(new)));
    assert_eq!(scene.attempt.view.state, State::Dispatching);
    scene.input(Input::Answered(plain(200)));
    scene.read(tutorial(Some(Dialect::Tutorial), Some(old)));
    assert_eq!(scene.attempt.view.state, State::Rebooting);
    scene.read(tutorial(Some(Dialect::Tutorial), Some(new)));
    scene.went_through(&[
        State::Pending,
        State::Dispatching,
        State::Accepted,
        State::Rebooting,
        State::Succeeded,
    ]);
    let evidence = scene.attempt.view.evidence.as_ref().unwrap();
    assert_eq!(evidence.grade, Grade::Claimed);
    assert_eq!(evidence.method, "reported-claim");
}

#[test]
fn a_device_that_knows_no_reboot_is_asked_by_the_other_name() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(tutorial(None, None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Answered(plain(404)));
    scene.takes_call(method::REBOOT_DEVICE);
    scene.input(Input::Answered(plain(404)));
    scene.ended(State::Rejected, Some("METHOD_STATUS_404"));
}

#[test]
fn a_refusal_ends_the_attempt_and_keeps_its_reasons() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    let refusal = Refusal::new(RefusalCode::Cooldown, "rebooted a moment ago");
    scene.input(Input::Answered(MethodResult {
        status: 429,
        payload: Payload::Json(refusal.to_payload()),
    }));
    scene.ended(State::Rejected, Some("COOLDOWN"));
    assert_eq!(
        scene.attempt.refused().unwrap().refusal.as_ref(),
        Some(&refusal)
    );
}

#[test]
fn what_a_device_cannot_do_is_refused_before_anything_is_sent() {
    let asked = |required_grade, mode, preconditions| Asked {
        required_grade,
        mode,
        preconditions,
        ..Asked::default()
    };
    let none = Preconditions::default();
    let boot_id = Preconditions {
        boot_id: Some("b".into()),
        min_uptime: None,
    };
    let healthy = Some(Grade::Healthy);
    for (asked, reading, trouble) in [
        (
            asked(healthy, Mode::Graceful, none.clone()),
            native(None),
            Trouble::CannotProve {
                required: Grade::Healthy,
                best: Grade::Caused,
            },
        ),
        (
            asked(None, Mode::PowerCycle, none),
            native(None),
            Trouble::NoSuchMode(Mode::PowerCycle),
        ),
        (
            asked(
                Some(Grade::Returned),
                Mode::Graceful,
                Preconditions::default(),
            ),
            tutorial(None, None),
            Trouble::CannotProve {
                required: Grade::Returned,
                best: Grade::Claimed,
            },
        ),
        (
            asked(None, Mode::Graceful, boot_id),
            tutorial(None, None),
            Trouble::CannotCheck,
        ),
    ] {
        let mut scene = Scene::begin(asked);
        scene.read(reading);
        assert_eq!(scene.take_effects(), [Effect::Withdraw(trouble)]);
    }
}

#[test]
fn a_call_that_a_dead_service_left_behind_is_ambiguous() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    let stored = serde_json::to_value(&scene.attempt).unwrap();
    scene.attempt = serde_json::from_value(stored).unwrap();
    scene.input(Input::Resumed);
    assert_eq!(scene.take_effects(), [Effect::Read]);
    scene.pass_deadline();
    scene.ended(State::Lost, Some("DEADLINE_EXCEEDED"));
}

#[test]
fn a_service_that_was_down_at_the_deadline_looks_once_more() {
    let scene = || {
        let mut scene = Scene::begin(Asked::default());
        scene.read(native(None));
        scene.input(Input::Answered(acceptance(State::Rebooting, scene.now)));
        scene.now = scene.at(500);
        scene.take_effects();
        scene.input(Input::Resumed);
        assert_eq!(scene.take_effects(), [Effect::Read]);
        assert_eq!(scene.attempt.view.state, State::Rebooting);
        scene
    };
    let mut proved = scene();
    let mut report = reported(State::Succeeded, proved.at(-400));
    report.evidence = Some(evidence(Grade::Caused));
    proved.read(native(Some(report)));
    proved.ended(State::Succeeded, None);

    let mut silent = scene();
    silent.read(native(Some(reported(State::Rebooting, silent.at(-450)))));
    silent.ended(State::Lost, Some("NO_RETURN"));

    let mut unread = scene();
    unread.now = unread.at(20);
    unread.input(Input::Tick);
    unread.ended(State::Lost, Some("NO_RETURN"));
}

#[test]
fn the_twin_is_read_once_more_before_the_deadline() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.input(Input::Answered(acceptance(State::Rebooting, scene.now)));
    scene.take_effects();
    let last = scene.attempt.wake_at().unwrap();
    assert!(last < scene.attempt.view.deadline);
    scene.wake();
    assert_eq!(scene.take_effects(), [Effect::Read]);
    assert_eq!(
        scene.attempt.wake_at(),
        Some(scene.attempt.view.deadline),
        "once only"
    );
}

#[test]
fn a_late_return_sets_the_recovered_time_and_nothing_else() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.input(Input::Answered(acceptance(State::Rebooting, scene.now)));
    scene.pass_deadline();
    scene.ended(State::Lost, Some("NO_RETURN"));
    let lost = scene.attempt.view.clone();
    scene.after(60);
    let mut report = reported(State::Succeeded, scene.now);
    report.evidence = Some(evidence(Grade::Caused));
    scene.read(native(Some(report)));
    let view = &scene.attempt.view;
    assert_eq!(view.recovered_time, Some(scene.now));
    assert_eq!(view.revision, lost.revision + 1);
    assert_eq!(
        (view.state, &view.error, &view.evidence),
        (State::Lost, &lost.error, &lost.evidence)
    );
}

#[test]
fn a_start_in_the_future_waits_and_is_called_with_a_fresh_baseline() {
    let mut scene = Scene::begin(Asked {
        start: Start::After(Duration::from_secs(40)),
        ..Asked::default()
    });
    scene.read(native(None));
    assert_eq!(scene.take_effects(), []);
    assert_eq!(scene.attempt.wake_at(), Some(scene.at(40)));
    scene.wake();
    assert_eq!(scene.take_effects(), [Effect::Read]);
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::Undelivered(Trouble::Offline));
    scene.ended(State::Failed, Some("UNREACHABLE"));
}

#[test]
fn the_gateway_gets_an_earlier_deadline() {
    let mut scene = Scene::begin(Asked::default());
    let deadline = scene.at(90);
    scene.read(native(None));
    let [Effect::Call { payload, .. }] = &scene.take_effects()[..] else {
        panic!("no call");
    };
    assert_eq!(payload["deadline"], json!(deadline.to_string()));
    assert_eq!(payload["requestId"], json!(id().to_string()));
}

#[test]
fn cancelling_before_the_call_ends_it_at_once() {
    let mut scene = Scene::begin(queue());
    scene.read(native(None));
    scene.input(Input::Undelivered(Trouble::Offline));
    scene.input(Input::Cancel { abandon: false });
    scene.ended(State::Cancelled, None);
}

#[test]
fn cancelling_after_the_call_asks_the_device() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.take_effects();
    scene.input(Input::Cancel { abandon: false });
    assert_eq!(scene.take_effects(), [], "the call is still out");
    scene.input(Input::Answered(acceptance(State::Blocked, scene.now)));
    scene.takes_cancel();
    assert!(scene.attempt.view.cancel_requested);
    scene.input(Input::CancelAnswered(CancelAnswer::Ambiguous(
        "504101".into(),
    )));
    scene.read(native(Some(reported(State::Blocked, scene.now))));
    assert!(scene.attempt.view.cancel_requested);
    scene.take_effects();
    scene.after(10);
    scene.read(native(Some(reported(State::Blocked, scene.at(-10)))));
    scene.takes_cancel();
    let answer = acceptance(State::Cancelled, scene.now);
    scene.input(Input::CancelAnswered(CancelAnswer::Answered(answer)));
    scene.ended(State::Cancelled, None);
    assert!(!scene.attempt.view.cancel_requested);
}

#[test]
fn past_the_point_of_no_return_only_abandoning_ends_it() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.input(Input::Answered(acceptance(State::Rebooting, scene.now)));
    scene.take_effects();
    scene.input(Input::Cancel { abandon: false });
    assert_eq!(scene.take_effects(), []);
    assert_eq!(scene.attempt.view.state, State::Rebooting);
    scene.input(Input::Cancel { abandon: true });
    scene.ended(State::Lost, Some("ABANDONED"));
}

#[test]
fn a_device_whose_cancel_came_too_late_goes_on() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
    scene.input(Input::Cancel { abandon: false });
    let refusal = Refusal::new(RefusalCode::TooLate, "the command is out");
    scene.input(Input::CancelAnswered(CancelAnswer::Answered(
        MethodResult {
            status: 412,
            payload: Payload::Json(refusal.to_payload()),
        },
    )));
    assert!(!scene.attempt.view.cancel_requested);
    assert!(!scene.attempt.view.state.is_terminal());
}

#[test]
fn a_failure_is_taken_over_with_its_cause() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
    let mut report = reported(State::Failed, scene.now);
    let failure = Failure {
        code: FailureCode::NoShutdown,
        message: "the boot identity is the old one".into(),
        retryable: true,
    };
    report.error = Some(failure.clone());
    scene.read(native(Some(report)));
    scene.ended(State::Failed, Some("NO_SHUTDOWN"));
    assert_eq!(scene.attempt.view.error, Some(failure));
}

impl Scene {
    fn begin(asked: Asked) -> Self {
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

    fn input(&mut self, input: Input) {
        let step = self.attempt.handle(input, &self.rules, self.now);
        self.keep(step);
    }

    fn keep(&mut self, step: Step) {
        let states = step.events.iter().map(|event| event.view.state);
        self.states.extend(states);
        self.effects.extend(step.effects);
    }

    fn read(&mut self, mut reading: Reading) {
        reading.begun = self.now;
        self.input(Input::Read(Box::new(reading)));
    }

    fn after(&mut self, seconds: i64) {
        self.now = self.at(seconds);
    }

    fn at(&self, seconds: i64) -> Timestamp {
        self.now + jiff::SignedDuration::from_secs(seconds)
    }

    fn wake(&mut self) {
        self.now = self.attempt.wake_at().unwrap();
        self.input(Input::Tick);
    }

    fn pass_deadline(&mut self) {
        self.now = self.attempt.view.deadline;
        self.input(Input::Tick);
    }

    fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    #[track_caller]
    fn takes_call(&mut self, expected: &str) {
        let effects = self.take_effects();
        let [Effect::Call { method, .. }] = &effects[..] else {
            panic!("{effects:?}");
        };
        assert_eq!(method, expected);
    }

    #[track_caller]
    fn takes_cancel(&mut self) {
        let effects = self.take_effects();
        assert!(
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::AskToCancel { .. })),
            "{effects:?}"
        );
    }

    #[track_caller]
    fn went_through(&self, expected: &[State]) {
        let mut states = self.states.clone();
        states.dedup();
        assert_eq!(states, expected);
    }

    #[track_caller]
    fn ended(&self, state: State, code: Option<&str>) {
        let view = &self.attempt.view;
        let error = view.error.as_ref().map(|error| error.code.name());
        assert_eq!((view.state, error), (state, code));
        assert_eq!(self.attempt.wake_at(), None);
    }
}

fn id() -> RequestId {
    RequestId(Uuid::from_u128(7))
}

fn queue() -> Asked {
    Asked {
        offline: OfflinePolicy::Queue,
        ..Asked::default()
    }
}

fn native(attempt: Option<AttemptReport>) -> Reading {
    Reading {
        dialect: Some(Dialect::Native),
        report: Some(Report {
            seq: 1,
            boot_id: Some("b1".into()),
            attempt,
            capabilities: Some(Capabilities {
                modes: BTreeMap::from([("graceful".into(), true), ("forced".into(), true)]),
                cancel: true,
                best_grade: Grade::Caused,
                required_grade: Grade::BootChanged,
            }),
            ..Report::default()
        }),
        ..Reading::default()
    }
}

fn tutorial(dialect: Option<Dialect>, claim: Option<Timestamp>) -> Reading {
    Reading {
        dialect,
        claims: [claim, None, None, None],
        ..Reading::default()
    }
}

fn reported(state: State, state_time: Timestamp) -> AttemptReport {
    AttemptReport {
        request_id: id(),
        state,
        state_time,
        mode: Mode::Graceful,
        reason: String::new(),
        origin: Origin::Method,
        timeline: BTreeMap::new(),
        error: None,
        blockers: BTreeMap::new(),
        evidence: None,
    }
}

fn evidence(grade: Grade) -> Evidence {
    Evidence {
        grade,
        method: "mqtt-birth".into(),
        before: "b1".into(),
        after: "b2".into(),
    }
}

fn acceptance(state: State, state_time: Timestamp) -> MethodResult {
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

fn plain(status: i32) -> MethodResult {
    MethodResult {
        status,
        payload: Payload::Json(json!("Reboot started")),
    }
}
