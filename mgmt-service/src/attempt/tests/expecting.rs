//! When the device should be back, and that it is late.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::{
    method::{MethodResult, Payload},
    reboot::{Acceptance, Grade, State, method},
};

use super::scene::{Scene, acceptance, evidence, id, native, reported};
use crate::{
    attempt::{Asked, Input},
    durations::{Estimate, Learned},
};

/// Reboots that take about 20 seconds.
fn estimate() -> Estimate {
    let seen = (0..16).fold(None, |seen, number| {
        Some(Learned::with(seen, Duration::from_secs(19 + number % 3)))
    });
    Estimate::of(seen)
}

/// An attempt whose device has been called.
fn called(estimate: Option<Estimate>) -> Scene {
    let mut scene = Scene::begin(Asked::default());
    assert!(scene.attempt.wants_estimate());
    let mut reading = native(None);
    reading.class = "tag:pump".into();
    reading.estimate = estimate;
    scene.read(reading);
    scene.takes_call(method::REBOOT);
    scene
}

#[test]
fn what_was_learned_says_when_it_is_expected_and_when_it_is_late() {
    let mut scene = called(Some(estimate()));
    assert!(!scene.attempt.wants_estimate());
    assert_eq!(scene.attempt.view.eta, None, "it is not away yet");
    let gone = scene.now;
    scene.input(Input::Answered(acceptance(State::Rebooting, gone)));
    let eta = scene.attempt.view.eta.unwrap();
    let takes = eta.duration_since(gone).as_secs();
    assert!((19..=24).contains(&takes), "{takes}");
    assert_eq!(scene.attempt.return_forecast().unwrap().0, gone);

    scene.wake();
    assert!(scene.attempt.view.late);
    let away = scene.now.duration_since(gone).as_secs();
    assert!((takes..60).contains(&away), "{away}");
    let (told, revision) = (scene.states.len(), scene.attempt.view.revision);
    scene.after(1);
    scene.input(Input::Tick);
    assert_eq!(
        (scene.states.len(), scene.attempt.view.revision),
        (told, revision)
    );

    scene.read(native(Some(reported(State::Verifying, scene.now))));
    assert!(!scene.attempt.view.late);
    assert_eq!(scene.attempt.return_forecast(), None);
}

#[test]
fn a_guess_is_no_eta_but_tells_when_it_is_late() {
    let mut scene = called(Some(Estimate::of([])));
    scene.attempt.view.deadline = scene.at(1800);
    scene.input(Input::Answered(acceptance(State::Rebooting, scene.now)));
    assert_eq!(scene.attempt.view.eta, None);
    let gone = scene.now;
    scene.wake();
    assert!(scene.attempt.view.late);
    assert_eq!(scene.now.duration_since(gone).as_mins(), 7);
}

#[test]
fn what_the_gateway_foretells_counts_for_more() {
    let mut scene = called(Some(estimate()));
    let foretold = Acceptance {
        request_id: id(),
        state: State::Rebooting,
        state_time: scene.now,
        expected_duration_sec: Some(70),
        boot_id: None,
        duplicate: false,
    };
    scene.input(Input::Answered(MethodResult {
        status: 202,
        payload: Payload::Json(foretold.to_payload()),
    }));
    let eta = scene.attempt.view.eta.unwrap();
    assert_eq!(eta, scene.at(70));
    scene.wake();
    assert_eq!((scene.now, scene.attempt.view.late), (eta, true));
}

#[test]
fn where_nobody_had_the_answer_the_twin_tells_what_the_gateway_expects() {
    let mut scene = called(Some(estimate()));
    let gone = scene.now;
    let mut reading = native(Some(reported(State::Rebooting, gone)));
    let report = reading.report.as_mut().unwrap();
    report.capabilities.as_mut().unwrap().typical_duration_sec = Some(70);
    scene.read(reading);
    assert_eq!(scene.attempt.view.eta, Some(scene.at(70)));
    let (since, _) = scene.attempt.return_forecast().unwrap();
    assert_eq!(since, gone);
}

#[test]
fn a_success_teaches_how_long_the_device_was_away() {
    let mut scene = called(None);
    let gone = scene.at(3);
    scene.input(Input::Answered(acceptance(State::Accepted, scene.now)));
    scene.after(40);
    let mut report = reported(State::Succeeded, scene.now);
    report.timeline = BTreeMap::from([(State::Rebooting, gone), (State::Succeeded, scene.now)]);
    report.evidence = Some(evidence(Grade::Caused));
    assert_eq!(scene.attempt.learned(), None);
    let mut reading = native(Some(report));
    reading.class = "tag:pump".into();
    reading.estimate = Some(estimate());
    scene.read(reading);
    assert_eq!(
        scene.attempt.learned(),
        Some(("tag:pump", Duration::from_secs(37)))
    );
}
