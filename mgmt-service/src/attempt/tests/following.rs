//! What the twin tells, and what it proves.

use std::collections::BTreeMap;

use iot_hub::reboot::{
    Dialect, Failure, FailureCode, Grade, HistoryEntry, Mode, RequestId, State, Step, method,
};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::scene::{Scene, acceptance, evidence, id, native, plain, reported, tutorial};
use crate::attempt::{Asked, Effect, Input};

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
fn each_command_of_an_escalation_is_told_once_and_in_its_place() {
    let step = |time, error: Option<FailureCode>| Step {
        time,
        error: error.map(|code| Failure {
            code,
            message: String::new(),
            retryable: true,
        }),
        evidence: None,
    };
    let begin = || {
        let mut scene = Scene::begin(Asked {
            escalate_to: Some(Mode::PowerCycle),
            reason: "stuck".into(),
            ..Asked::default()
        });
        scene.read(native(None));
        scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
        scene
    };
    let reports = |scene: &Scene| {
        let mut first = reported(State::Rebooting, scene.at(1));
        first.timeline = BTreeMap::from([(State::Rebooting, scene.at(1))]);
        first.steps = BTreeMap::from([(Mode::Graceful, step(scene.at(1), None))]);
        let mut last = reported(State::Succeeded, scene.at(9));
        last.timeline = BTreeMap::from([
            (State::Rebooting, scene.at(4)),
            (State::Down, scene.at(5)),
            (State::Verifying, scene.at(6)),
        ]);
        last.steps = BTreeMap::from([
            (
                Mode::Graceful,
                step(scene.at(1), Some(FailureCode::NoShutdown)),
            ),
            (Mode::Forced, step(scene.at(4), None)),
        ]);
        last.evidence = Some(evidence(Grade::Healthy));
        (first, last)
    };
    for reads_all in [true, false] {
        let mut scene = begin();
        let (first, last) = reports(&scene);
        scene.after(10);
        if reads_all {
            scene.read(native(Some(first.clone())));
            scene.read(native(Some(first)));
        }
        scene.read(native(Some(last)));
        let timeline = &scene.attempt.view.timeline;
        let states: Vec<_> = timeline.iter().map(|(state, _)| *state).collect();
        let told = [
            State::Pending,
            State::Dispatching,
            State::Accepted,
            State::Rebooting,
            State::Rebooting,
            State::Down,
            State::Verifying,
            State::Succeeded,
        ];
        assert_eq!(states, told);
        let steps = &scene.attempt.view.steps;
        assert_eq!(
            steps[&Mode::Forced].evidence,
            Some(evidence(Grade::Healthy))
        );
        assert_eq!(steps[&Mode::Graceful].evidence, None);
    }
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
            origin: None,
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

#[test]
fn a_device_that_goes_to_and_fro_has_a_timeline_that_ends() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    let begun = scene.attempt.view.timeline.clone();
    scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
    for _ in 0..500 {
        for state in [State::Blocked, State::Accepted] {
            scene.now += jiff::SignedDuration::from_millis(10);
            scene.read(native(Some(reported(state, scene.now))));
        }
    }
    let timeline = &scene.attempt.view.timeline;
    assert_eq!(timeline.len(), 200);
    assert_eq!(timeline[..begun.len()], begun);
    assert_eq!(timeline.last(), Some(&(State::Accepted, scene.now)));
    assert!(timeline.is_sorted_by_key(|(_, time)| *time));
}
