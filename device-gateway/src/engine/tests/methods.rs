//! What each call is answered.

use iot_hub::reboot::{Grade, RequestId, State};
use serde_json::{Value, json};
use uuid::Uuid;

use super::sim::{Behavior, ID, Sim, queued_request, request, seconds};

fn other(number: u128) -> String {
    RequestId(Uuid::from_u128(number)).to_string()
}

#[track_caller]
fn refused(sim: &mut Sim, method: &str, payload: Value, status: i32, code: &str) -> Value {
    let before = sim.answers.len();
    sim.call(method, payload);
    sim.run_until(|sim| sim.answers.len() > before);
    let answer = sim.answers[before].clone();
    assert_eq!(
        (answer.status, &answer.payload["error"]["code"]),
        (status, &json!(code))
    );
    answer.payload["error"].clone()
}

#[test]
fn a_tutorial_caller_gets_200_and_a_reboot() {
    for payload in [json!(null), json!(""), json!("now")] {
        let sim = Sim::new(Behavior::Reboots).reboot(payload);
        assert_eq!(sim.answers[0].status, 200);
        assert_eq!(sim.verdict().0, State::Succeeded);
    }
}

#[test]
fn malformed_calls_are_refused_by_field() {
    let mut sim = Sim::new(Behavior::Reboots);
    let error = refused(
        &mut sim,
        "reboot",
        json!({ "requestId": 7 }),
        400,
        "INVALID",
    );
    assert!(error["message"].as_str().unwrap().contains("requestId"));
    refused(&mut sim, "rebootDevice", json!([1]), 400, "INVALID");
    refused(
        &mut sim,
        "reboot",
        json!({ "deadline": "2020-01-01T00:00:00Z" }),
        400,
        "INVALID",
    );
    refused(&mut sim, "cancelReboot", json!(null), 400, "INVALID");
    refused(&mut sim, "format", json!(null), 404, "UNKNOWN_METHOD");
    assert_eq!(sim.engine.open(), None);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_begins() {
    let mut sim = Sim::new(Behavior::Reboots);
    refused(
        &mut sim,
        "reboot",
        json!({ "mode": "powerCycle" }),
        501,
        "UNSUPPORTED",
    );
    refused(
        &mut sim,
        "reboot",
        json!({ "ifBootId": "boot-9" }),
        412,
        "PRECONDITION",
    );
    refused(
        &mut sim,
        "reboot",
        json!({ "ifUptimeAtLeastSec": 5 }),
        412,
        "PRECONDITION",
    );
    sim.blocked_until = seconds(1_000);
    let error = refused(
        &mut sim,
        "reboot",
        json!({ "failIfBlocked": true }),
        423,
        "BLOCKED",
    );
    assert_eq!(error["blockers"]["b1"]["who"], "backup");
    assert!(sim.triggers.is_empty() && sim.ended.is_empty());
}

#[test]
fn force_does_not_wait_for_blockers() {
    for payload in [json!({ "mode": "forced" }), json!({ "force": true })] {
        let mut sim = Sim::new(Behavior::Reboots);
        sim.blocked_until = seconds(1_000);
        assert_eq!(sim.reboot(payload).verdict().0, State::Succeeded);
    }
}

#[test]
fn another_request_is_told_who_holds_the_device() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.call("reboot", request());
    let early = refused(
        &mut sim,
        "reboot",
        json!({ "requestId": other(2) }),
        409,
        "BUSY",
    );
    sim.run_until(|sim| sim.engine.open().is_some());
    let late = refused(&mut sim, "reboot", json!(null), 409, "BUSY");
    for error in [early, late] {
        assert_eq!(error["holder"], ID.to_string());
    }
    sim.run();
    assert_eq!(sim.triggers, [ID]);
}

#[test]
fn the_same_request_twice_is_one_attempt() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.call("reboot", request());
    sim.call("reboot", request());
    sim.run_until(|sim| sim.answers.len() == 2);
    sim.call("reboot", request());
    sim.run();
    assert_eq!(sim.answers.len(), 3);
    assert!(sim.answers.iter().all(|answer| answer.status == 202));
    assert_eq!(sim.answers[2].payload["duplicate"], true);
    assert_eq!(sim.triggers, [ID]);
}

#[test]
fn a_cancel_works_until_the_command() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.call(
        "reboot",
        json!({ "requestId": ID.to_string(), "delaySec": 600 }),
    );
    for _ in 0..2 {
        sim.call("cancelReboot", request());
        let answer = sim.answers.last().unwrap();
        assert_eq!(
            (answer.status, &answer.payload["state"]),
            (200, &json!("CANCELLED"))
        );
    }
    assert_eq!(sim.verdict().0, State::Cancelled);
    refused(
        &mut sim,
        "cancelReboot",
        json!({ "requestId": other(9) }),
        404,
        "UNKNOWN_ATTEMPT",
    );

    let mut sim = Sim::new(Behavior::Reboots);
    sim.call("reboot", request());
    sim.run_until(|sim| sim.engine.open() == Some((ID, State::Rebooting)));
    let error = refused(&mut sim, "cancelReboot", request(), 412, "TOO_LATE");
    assert_eq!(error["state"], "REBOOTING");
    sim.run();
    refused(&mut sim, "cancelReboot", request(), 412, "TOO_LATE");
    assert_eq!(sim.verdict().0, State::Succeeded);
}

#[test]
fn status_and_capabilities_are_answered() {
    let mut sim = Sim::new(Behavior::Reboots);
    refused(
        &mut sim,
        "rebootStatus",
        json!(null),
        404,
        "UNKNOWN_ATTEMPT",
    );
    refused(&mut sim, "capabilities", json!(null), 503, "UNREACHABLE");
    let mut sim = sim.reboot(request());
    for payload in [json!(null), request()] {
        sim.call("rebootStatus", payload);
        let answer = sim.answers.last().unwrap();
        assert_eq!(
            (answer.status, &answer.payload["state"]),
            (200, &json!("SUCCEEDED"))
        );
        assert_eq!(answer.payload["requestId"], ID.to_string());
    }
    sim.call("capabilities", json!(null));
    let answer = sim.answers.last().unwrap();
    assert_eq!(answer.payload["modes"]["graceful"], true);
    assert_eq!(answer.payload["bestGrade"], 5);
}

#[test]
fn a_device_that_keeps_booting_is_left_alone() {
    let mut sim = Sim::new(Behavior::Twice).reboot(request());
    for boot in 3..6 {
        sim.engine
            .count_unexpected(Some(format!("boot-{boot}")), Grade::BootChanged);
    }
    let error = refused(
        &mut sim,
        "reboot",
        json!({ "requestId": other(2) }),
        429,
        "LOOPING",
    );
    assert!(error["retryAfterSec"].as_u64().unwrap() > 60);
}

#[test]
fn a_device_cools_down_after_a_boot() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.settings.cooldown = seconds(60);
    sim.restart();
    let mut sim = sim.reboot(request());
    let error = refused(
        &mut sim,
        "reboot",
        json!({ "requestId": other(2) }),
        429,
        "COOLDOWN",
    );
    let wait = error["retryAfterSec"].as_u64().unwrap();
    assert!((40..=60).contains(&wait), "{wait}");
}

#[test]
fn a_request_that_was_given_up_never_begins() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.call("reboot", request());
    let answers = sim.engine.abandon("the disk is full");
    assert_eq!((answers.len(), answers[0].status), (1, 500));
    sim.run_until(|sim| sim.time > seconds(100));
    assert!(sim.engine.open().is_none() && sim.ended.is_empty() && sim.triggers.is_empty());

    sim.queue(Some(queued_request()));
    assert_eq!(sim.engine.abandon("the disk is full"), []);
    sim.run_until(|sim| sim.ended.len() == 1);
    assert_eq!(sim.verdict().0, State::Succeeded);
}
