//! Restarts, deadlines, and what comes after them.

use iot_hub::reboot::{Grade, State, method};

use super::scene::{Scene, acceptance, evidence, native, reported};
use crate::attempt::{Asked, Effect, Input};

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
fn an_attempt_ended_when_the_service_says_if_the_devices_clock_cannot_be_right() {
    for (told, expected) in [(-999_990, 50), (-1, 50), (1, 1), (50, 50), (51, 50)] {
        let mut scene = Scene::begin(Asked::default());
        scene.read(native(None));
        let mut report = reported(State::Succeeded, scene.at(told));
        report.evidence = Some(evidence(Grade::Caused));
        let expected = scene.at(expected);
        scene.after(50);
        scene.read(native(Some(report.clone())));
        scene.ended(State::Succeeded, None);
        // How long it is kept counts from here.
        assert_eq!(scene.attempt.view.end_time, Some(expected), "told {told}");
        assert_eq!(scene.attempt.view.state_time, report.state_time);
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_the_service_from_asking() {
    let mut scene = Scene::begin(Asked::default());
    scene.after(-3600);
    let reading = |scene: &mut Scene| {
        scene.read(native(None));
        scene.after(1);
        scene.take_effects()
    };
    let first = reading(&mut scene);
    let calls = first.into_iter().chain(reading(&mut scene));
    let calls = calls.filter(|effect| matches!(effect, Effect::Call { .. }));
    assert_eq!(calls.count(), 1);
}

#[test]
fn a_reading_that_was_under_way_when_the_clock_was_set_back_is_of_no_known_time() {
    let mut scene = Scene::begin(Asked::default());
    let mut reading = native(None);
    reading.begun = scene.now;
    scene.after(-3600);
    scene.input(Input::Read(Box::new(reading)));
    assert_eq!(scene.take_effects(), [Effect::Read]);
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
fn what_the_service_gives_up_before_it_was_sent_may_be_asked_for_again() {
    let mut scene = Scene::begin(Asked::default());
    scene.input(Input::GivenUp);
    scene.ended(State::Expired, Some("SERVICE_FAULT"));
    assert!(scene.attempt.view.error.unwrap().retryable);
}

#[test]
fn what_the_service_gives_up_after_the_call_left_may_still_happen() {
    let mut scene = Scene::begin(Asked::default());
    scene.read(native(None));
    scene.takes_call(method::REBOOT);
    scene.input(Input::GivenUp);
    scene.ended(State::Lost, Some("SERVICE_FAULT"));
    assert!(!scene.attempt.view.error.as_ref().unwrap().retryable);
    assert!(scene.attempt.awaits_return(), "it is still looked for");
}
