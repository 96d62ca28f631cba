//! From the direct method to the verdict in the twin.

use hub_emulator::{EmulatorConfig, Fault, Times};
use serde_json::{Value, json};

use crate::{
    device::Script,
    world::{DEVICE, ID, World, within},
};

#[tokio::test]
async fn a_reboot_is_accepted_reported_and_proved() {
    let world = World::start().await;
    let acceptance = world.reboot().await;
    assert_eq!(acceptance["state"], "ACCEPTED");
    assert_eq!(acceptance["bootId"], "boot-0");
    let reported = world.state("SUCCEEDED").await;
    assert_eq!(reported["requestId"], ID);
    assert_eq!(reported["evidence"]["grade"], 5);
    assert_eq!(reported["bootId"], "boot-1");
    assert_eq!(reported["capabilities"]["modes"]["graceful"], true);
    assert!(reported["lastReboot"].as_str().unwrap().ends_with('Z'));
    assert_eq!(world.device.orders().len(), 1);
    let twin = world.hub.twin(DEVICE);
    let gateway = &twin["properties"]["reported"]["iothubDM"]["gateway"];
    assert_eq!(gateway["id"], "edge-1");
}

#[tokio::test]
async fn a_device_that_lies_fails() {
    let world = World::start_hurried().await;
    world.device.follow(Script::Lies);
    world.reboot().await;
    let reported = world.state("FAILED").await;
    assert_eq!(reported["error"]["code"], "NO_SHUTDOWN");
    assert_eq!(reported["evidence"]["grade"], 0);
    assert_eq!(reported["lastReboot"], Value::Null);
}

#[tokio::test]
async fn a_tutorials_caller_is_answered_200() {
    let world = World::start().await;
    let (status, _) = world.call("reboot", Value::Null).await;
    assert_eq!(status, 200);
    world.state("SUCCEEDED").await;
}

#[tokio::test]
async fn a_stale_error_is_gone_after_the_next_attempt() {
    let world = World::start_hurried().await;
    world.device.follow(Script::Lies);
    world.reboot().await;
    world.state("FAILED").await;
    world.device.follow(Script::Reboots);
    let (status, _) = world.call("rebootDevice", Value::Null).await;
    assert_eq!(status, 200);
    let reported = world.state("SUCCEEDED").await;
    assert_eq!(reported["error"], Value::Null);
    assert_eq!(reported["history"]["h1"]["state"], "FAILED");
}

#[tokio::test]
async fn the_command_leaves_after_the_acceptance_is_in_the_twin() {
    let mut world = World::prepare(
        "answer_grace = \"0s\"\nack_limit = \"1h\"",
        EmulatorConfig::default(),
    )
    .await;
    world.start_gateway();
    world.connected().await;
    world
        .reported(|reboot| reboot["capabilities"].is_object())
        .await;
    let withheld = Fault::WithholdTwinAnswers {
        device: DEVICE.parse().unwrap(),
    };
    let fault = world.hub.faults().inject(withheld, Times::Always);
    world.reboot().await;
    world.state("ACCEPTED").await;
    within(world.hub.faults().fired(fault, 1)).await;
    for _ in 0..20 {
        // Each round trip is time enough for a command that waits for nothing.
        let (_, status) = world.call("rebootStatus", Value::Null).await;
        assert_eq!(status["state"], "ACCEPTED");
    }
    assert!(world.device.orders().is_empty());
    world.hub.faults().remove(fault);
    world.state("SUCCEEDED").await;
}

#[tokio::test]
async fn a_redelivered_method_is_one_attempt() {
    let world = World::start().await;
    let redelivered = Fault::RedeliverMethod { device: None };
    world.hub.faults().inject(redelivered, Times::Always);
    world.reboot().await;
    world.state("SUCCEEDED").await;
    let again = world.reboot().await;
    assert_eq!(
        (&again["state"], &again["duplicate"]),
        (&json!("SUCCEEDED"), &json!(true))
    );
    assert_eq!(world.device.orders().len(), 1);
}

#[tokio::test]
async fn a_killed_gateway_goes_on_and_gives_no_second_command() {
    let mut world = World::start().await;
    world.device.follow(Script::Waits);
    world.reboot().await;
    within(world.device.ordered()).await;
    world.kill_gateway().await;

    world.start_gateway();
    world.connected().await;
    world.goes_on_rebooting().await;

    world.kill_gateway().await;
    world.start_gateway();
    world.connected().await;
    assert_eq!(world.reboot().await["state"], "SUCCEEDED");
    assert_eq!(world.device.orders().len(), 1);
}

#[tokio::test]
async fn a_verdict_that_was_reached_without_a_hub_arrives_later() {
    let mut world = World::start().await;
    world.device.follow(Script::Waits);
    world.reboot().await;
    within(world.device.ordered()).await;
    world.state("REBOOTING").await;
    world.hub.faults().pause();
    within(world.hub.disconnected(DEVICE)).await;
    world.device.boot(Some(ID.parse().unwrap()));
    world.stop_gateway().await;
    world.start_gateway();
    world.hub.faults().resume();
    world.state("SUCCEEDED").await;
    assert_eq!(world.device.orders().len(), 1);
}

#[tokio::test]
async fn a_queued_request_is_carried_out_once_the_device_connects() {
    let mut world = World::prepare("", EmulatorConfig::default()).await;
    let deadline = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let queued =
        json!({ "iothubDM": { "reboot": { "v": 1, "requestId": ID, "deadline": deadline } } });
    world.service.desire(DEVICE, queued).await;
    world.start_gateway();
    let reported = world.state("SUCCEEDED").await;
    assert_eq!(reported["origin"], "DESIRED");

    let more = json!({ "iothubDM": { "reboot": { "requestId": "22222222-2222-4222-8222-222222222222" } } });
    world.service.desire(DEVICE, more).await;
    let second = world
        .reported(|reboot| reboot["requestId"] != ID && reboot["state"] == "SUCCEEDED")
        .await;
    assert_eq!(second["counters"]["total"], 2);
    assert_eq!(world.device.orders().len(), 2);
}

#[tokio::test]
async fn every_call_is_answered() {
    let world = World::start().await;
    for (method, payload, status, code) in [
        ("reboot", json!([]), 400, "INVALID"),
        ("reboot", json!({ "requestId": "x" }), 400, "INVALID"),
        ("reboot", json!({ "mode": "sideways" }), 400, "INVALID"),
        (
            "reboot",
            json!({ "deadline": "2001-01-01T00:00:00Z" }),
            400,
            "INVALID",
        ),
        (
            "reboot",
            json!({ "mode": "powerCycle" }),
            501,
            "UNSUPPORTED",
        ),
        (
            "reboot",
            json!({ "ifBootId": "other" }),
            412,
            "PRECONDITION",
        ),
        (
            "cancelReboot",
            json!({ "requestId": ID }),
            404,
            "UNKNOWN_ATTEMPT",
        ),
        ("rebootStatus", Value::Null, 404, "UNKNOWN_ATTEMPT"),
        ("selfDestruct", Value::Null, 404, "UNKNOWN_METHOD"),
    ] {
        let (answered, body) = world.call(method, payload.clone()).await;
        assert_eq!(
            (answered, &body["error"]["code"]),
            (status, &json!(code)),
            "{method} {payload}"
        );
    }
    let (status, capabilities) = world.call("capabilities", Value::Null).await;
    assert_eq!((status, &capabilities["cancel"]), (200, &json!(true)));
    assert!(world.device.orders().is_empty());
}

#[tokio::test]
async fn a_cancelled_attempt_gives_no_command() {
    let world = World::start().await;
    let (status, acceptance) = world
        .call("reboot", json!({ "requestId": ID, "delaySec": 600 }))
        .await;
    assert_eq!((status, &acceptance["state"]), (202, &json!("SCHEDULED")));
    world.state("SCHEDULED").await;
    let (status, body) = world.call("cancelReboot", json!({ "requestId": ID })).await;
    assert_eq!((status, &body["state"]), (200, &json!("CANCELLED")));
    world.state("CANCELLED").await;
    assert!(world.device.orders().is_empty());
}

#[tokio::test]
async fn a_boot_that_nobody_asked_for_is_reported() {
    let world = World::start().await;
    world.reported(|reboot| reboot["bootId"] == "boot-0").await;
    world.device.boot(None);
    let reported = world
        .reported(|reboot| reboot["counters"]["unexpected"] == 1)
        .await;
    assert_eq!(reported["bootId"], "boot-1");
    assert_eq!(reported["lastReboot"], Value::Null);
    assert_eq!(reported["requestId"], Value::Null);
}

#[tokio::test]
async fn a_normal_reboot_costs_few_twin_updates() {
    // On a slow machine the reboot is to end before what nobody waits for is reported.
    let timing = "report_delay = \"10s\"";
    let mut world = World::prepare(timing, EmulatorConfig::default()).await;
    world.start_gateway();
    world.connected().await;
    world.reported(|reboot| reboot["bootId"] == "boot-0").await;
    let before = world.hub.counters().device_twin_updates.total;
    world.reboot().await;
    world.state("SUCCEEDED").await;
    let after = world.hub.counters().device_twin_updates.total;
    assert!(after - before <= 3, "{}", after - before);
}
