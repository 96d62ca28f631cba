//! Whose reboot it is that a tutorial's device claims.

use iot_hub::reboot::{Dialect, Grade, State, method};
use jiff::Timestamp;

use super::scene::{Scene, plain, tutorial};
use crate::attempt::{Asked, Input, Reading};

/// An attempt whose device said yes, while `owed` claims may be of others; `claimed` is the newest.
fn called(claimed: Timestamp, owed: u32) -> Scene {
    let mut scene = Scene::begin(Asked::default());
    scene.read(Reading {
        owed,
        ..node(claimed)
    });
    scene.takes_call(method::REBOOT);
    scene.input(Input::Answered(plain(200)));
    scene
}

fn node(claim: Timestamp) -> Reading {
    tutorial(Some(Dialect::Tutorial), Some(claim))
}

fn times() -> [Timestamp; 4] {
    [5, 6, 7, 8].map(|second| Timestamp::from_second(second).unwrap())
}

#[test]
fn a_claim_that_may_be_of_a_lost_attempt_proves_nothing_and_the_next_one_does() {
    let [old, first, second, third] = times();
    let mut scene = called(old, 2);
    for claim in [first, first, second, second] {
        scene.read(node(claim));
        assert_eq!(scene.attempt.view.state, State::Rebooting);
        assert_eq!(scene.attempt.view.evidence, None);
    }
    scene.read(node(third));
    scene.ended(State::Succeeded, None);
    let evidence = scene.attempt.view.evidence.unwrap();
    assert_eq!(evidence.grade, Grade::Claimed);
    assert!(evidence.before.contains(&second.to_string()));
}

#[test]
fn a_claim_of_a_lost_attempt_counts_for_it_while_the_call_is_out() {
    let [old, first, second, _] = times();
    let mut scene = Scene::begin(Asked::default());
    scene.read(Reading {
        owed: 1,
        ..node(old)
    });
    scene.read(node(first));
    scene.input(Input::Answered(plain(200)));
    scene.read(node(first));
    assert_eq!(scene.attempt.view.state, State::Rebooting);
    scene.read(node(second));
    scene.ended(State::Succeeded, None);
}

#[test]
fn where_only_a_lost_attempts_claim_came_there_is_no_proof() {
    let [old, first, ..] = times();
    let mut scene = called(old, 1);
    scene.read(node(first));
    scene.pass_deadline();
    scene.ended(State::Failed, Some("PROOF_TOO_WEAK"));

    let mut silent = called(old, 1);
    silent.read(node(old));
    silent.pass_deadline();
    silent.ended(State::Lost, Some("NO_RETURN"));
}

#[test]
fn a_lost_attempt_may_be_claimed_until_its_device_claims() {
    let [old, first, second, _] = times();
    let owes = |scene: &Scene, claim| scene.attempt.may_yet_be_claimed(&node(claim), scene.now);
    let mut scene = called(old, 0);
    scene.pass_deadline();
    assert!(owes(&scene, old));
    assert!(!owes(&scene, first));
    scene.read(node(first));
    assert!(scene.attempt.view.recovered_time.is_some());
    assert!(!owes(&scene, first));

    // Of two that are lost, the first claim may be the other's.
    let mut scene = called(old, 1);
    scene.pass_deadline();
    assert!(owes(&scene, old) && owes(&scene, first));
    let events = scene.states.len();
    scene.read(node(first));
    assert_eq!(scene.attempt.view.recovered_time, None);
    assert_eq!(scene.states.len(), events, "watchers have left");
    assert!(owes(&scene, first) && !owes(&scene, second));
    scene.read(node(second));
    assert!(scene.attempt.view.recovered_time.is_some());
}

#[test]
fn an_attempt_without_proof_may_be_claimed_for_half_an_hour() {
    let [old, first, second, _] = times();
    let mut scene = called(old, 1);
    scene.read(node(first));
    scene.pass_deadline();
    let owes = |seconds, claim| {
        let then = scene.at(seconds);
        scene.attempt.may_yet_be_claimed(&node(claim), then)
    };
    assert!(owes(60, first) && !owes(60, second) && !owes(1800, first));
}

#[test]
fn an_attempt_that_ended_otherwise_is_claimed_no_more() {
    let [old, first, ..] = times();
    let mut proved = called(old, 0);
    proved.read(node(first));
    let mut refused = Scene::begin(Asked::default());
    refused.read(node(old));
    refused.input(Input::Answered(plain(404)));
    for scene in [proved, refused] {
        assert!(scene.attempt.view.state.is_terminal());
        assert!(!scene.attempt.may_yet_be_claimed(&node(first), scene.now));
    }
}

#[test]
fn a_device_that_tells_when_it_has_rebooted_is_not_believed_by_its_start() {
    let [old, first, second, _] = times();
    let started = |dialect, at| Reading {
        claims: [Some(old), Some(at), None, None],
        ..tutorial(Some(dialect), None)
    };
    for (dialect, expected) in [
        (Dialect::Tutorial, State::Rebooting),
        (Dialect::SdkSample, State::Succeeded),
    ] {
        let mut scene = Scene::begin(Asked::default());
        scene.read(started(dialect, first));
        scene.input(Input::Answered(plain(200)));
        scene.read(started(dialect, second));
        assert_eq!(scene.attempt.view.state, expected);
    }
}
