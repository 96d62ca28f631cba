//! Promises 1 to 3 for a device that is away: a queued request reboots it once, in time, or
//! certainly never.

use std::time::Duration;

use iothubdm_proto::v1::{AttemptState, OfflinePolicy, Preconditions, RebootRequest};
use iothubdm_tests::{BackEnd, Behavior, DeviceSetup, World, request};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tonic::Code;

const DEVICE: &str = "pump-1";

/// A world whose device is known, and away.
async fn away() -> World {
    let mut world = World::with_device(DeviceSetup::new(DEVICE, Behavior::WellBehaved)).await;
    world.kill_gateway().await;
    world.emulator.disconnected(DEVICE).await;
    world
}

/// A request that waits for its device, for so many seconds.
fn queued(seconds: i64) -> RebootRequest {
    let deadline = Timestamp::now() + SignedDuration::from_secs(seconds);
    let mut asked = request(DEVICE);
    asked.set_offline_policy(OfflinePolicy::Queue);
    asked.deadline = Some(prost_types::Timestamp {
        seconds: deadline.as_second(),
        nanos: deadline.subsec_nanosecond(),
    });
    asked
}

/// The request that waits in a twin.
fn waiting(twin: &Value) -> &Value {
    &twin["properties"]["desired"]["iothubDM"]["reboot"]
}

/// Waits until nothing waits in the twin any more.
async fn nothing_waits(world: &World) {
    let twin = world
        .emulator
        .watch_twin(DEVICE, |twin| waiting(twin).is_null());
    tokio::time::timeout(iothubdm_tests::PATIENCE, twin)
        .await
        .unwrap_or_else(|_| panic!("a request is left in the twin:\n{}", world.logs()));
}

/// Waits until the gateway has gone through all that its device was told of so far.
async fn gone_through(world: &World) -> Value {
    world.emulator.callable(DEVICE).await;
    let call = json!({ "methodName": "rebootStatus", "payload": null });
    BackEnd::new(&world.emulator).call(DEVICE, &call).await
}

#[tokio::test]
async fn a_device_that_comes_back_in_time_reboots_once() {
    let mut world = away().await;
    let attempt = world.request(queued(300)).await.expect("queue a reboot");
    assert_eq!(attempt.state(), AttemptState::Pending);
    world
        .emulator
        .watch_twin(DEVICE, |twin| {
            waiting(twin)["requestId"] == json!(attempt.request_id)
        })
        .await;
    world.start_gateway().await;
    let watched = world.watch_to_end(&attempt.name).await;
    assert_eq!(watched.verdict().state(), AttemptState::Succeeded);
    nothing_waits(&world).await;
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 1));

    // Somebody restores the twin as it was. First the device is told of it, then it finds it.
    let deadline = Timestamp::now() + SignedDuration::from_hours(1);
    let old = json!({ "requestId": attempt.request_id, "deadline": deadline.to_string() });
    let restored = json!({ "properties": { "desired": { "iothubDM": { "reboot": old } } } });
    let back_end = BackEnd::new(&world.emulator);
    back_end.patch_twin(DEVICE, &restored).await;
    assert_eq!(gone_through(&world).await["payload"]["state"], "SUCCEEDED");
    world.kill_gateway().await;
    world.start_gateway().await;
    assert_eq!(gone_through(&world).await["payload"]["state"], "SUCCEEDED");
    assert_eq!(world.commands(DEVICE), 1);
}

#[tokio::test]
async fn a_device_that_comes_back_too_late_does_not_reboot() {
    let mut world = away().await;
    let attempt = world.request(queued(5)).await.expect("queue a reboot");
    let watched = world.watch_to_end(&attempt.name).await;
    assert_eq!(
        watched.verdict().state(),
        AttemptState::Expired,
        "{:?}\n{}",
        watched.verdict(),
        world.logs()
    );
    nothing_waits(&world).await;
    world.start_gateway().await;
    gone_through(&world).await;
    assert_eq!(world.commands(DEVICE), 0);

    // The same request, left in the twin, is past its deadline.
    world.kill_gateway().await;
    let late = Timestamp::now() - SignedDuration::from_secs(1);
    let old = json!({ "requestId": attempt.request_id, "deadline": late.to_string() });
    let restored = json!({ "properties": { "desired": { "iothubDM": { "reboot": old } } } });
    BackEnd::new(&world.emulator)
        .patch_twin(DEVICE, &restored)
        .await;
    world.start_gateway().await;
    world
        .emulator
        .watch_twin(DEVICE, |twin| {
            twin["properties"]["reported"]["iothubDM"]["reboot"]["state"] == "EXPIRED"
        })
        .await;
    assert_eq!(world.commands(DEVICE), 0);
}

#[tokio::test]
async fn a_cancelled_request_is_out_of_the_twin_when_the_cancel_is_answered() {
    let mut world = away().await;
    let first = world.request(queued(300)).await.expect("queue a reboot");
    let status = world.request(queued(300)).await.expect_err("one at a time");
    assert_eq!(status.code(), Code::Aborted, "{status}");
    world
        .emulator
        .watch_twin(DEVICE, |twin| !waiting(twin).is_null())
        .await;
    let cancelled = world.cancel(&first.name).await.expect("cancel");
    assert_eq!(
        cancelled.state(),
        AttemptState::Cancelled,
        "{}",
        world.logs()
    );
    assert!(waiting(&world.emulator.twin(DEVICE)).is_null());

    // The next one takes its place, with nothing of it left.
    let mut second = queued(300);
    second.reason = "second".to_owned();
    let second = world.request(second).await.expect("queue another");
    let waits = |twin: &Value| waiting(twin)["requestId"] == json!(second.request_id);
    world.emulator.watch_twin(DEVICE, waits).await;
    world.start_gateway().await;
    let watched = world.watch_to_end(&second.name).await;
    assert_eq!(watched.verdict().state(), AttemptState::Succeeded);
    assert_eq!(world.commands(DEVICE), 1);
}

#[tokio::test]
async fn a_precondition_is_checked_when_the_device_is_back() {
    let mut world = away().await;
    let mut asked = queued(300);
    asked.preconditions = Some(Preconditions {
        boot_id: "another boot".to_owned(),
        min_uptime: None,
    });
    let attempt = world.request(asked).await.expect("queue a reboot");
    world
        .emulator
        .watch_twin(DEVICE, |twin| !waiting(twin).is_null())
        .await;
    world.start_gateway().await;
    let watched = world.watch_to_end(&attempt.name).await;
    let verdict = watched.verdict();
    assert_eq!(verdict.state(), AttemptState::Rejected, "{verdict:?}");
    assert_eq!(verdict.error.as_ref().expect("why").code, "PRECONDITION");
    nothing_waits(&world).await;
    assert_eq!(world.commands(DEVICE), 0);
}

/// Kills the service around the moment in which the request is written into the twin: before, when
/// the hub has it and the service does not know, and after.
#[tokio::test]
async fn a_service_killed_while_it_queues_loses_nothing_and_reboots_once() {
    for wait in [None, Some(Duration::ZERO), Some(Duration::from_millis(30))] {
        let mut world = away().await;
        let asked = queued(300);
        let mut client = world.client();
        let id = "7d3f0c52-1f5e-4b6b-9a53-0a4f3c1d2e5f";
        let asked = RebootRequest {
            request_id: id.to_owned(),
            ..asked
        };
        let call = tokio::spawn(async move { client.reboot(asked).await });
        match wait {
            None => {
                let called = |counters: &hub_emulator::Counters| counters.method_calls.total >= 1;
                world.emulator.counted(called).await;
            }
            Some(wait) => {
                let waits = |twin: &Value| !waiting(twin).is_null();
                world.emulator.watch_twin(DEVICE, waits).await;
                tokio::time::sleep(wait).await;
            }
        }
        world.kill_service().await;
        let _ = call.await.expect("join");
        world.start_service().await;
        world.start_gateway().await;
        let name = format!("devices/{DEVICE}/reboots/{id}");
        let watched = world.watch_to_end(&name).await;
        assert_eq!(
            watched.verdict().state(),
            AttemptState::Succeeded,
            "{wait:?}"
        );
        nothing_waits(&world).await;
        assert_eq!(
            (world.boots(DEVICE), world.commands(DEVICE)),
            (2, 1),
            "{wait:?}"
        );
    }
}

#[tokio::test]
async fn a_service_that_is_killed_after_the_end_still_clears_the_twin() {
    let mut world = away().await;
    let attempt = world.request(queued(300)).await.expect("queue a reboot");
    let waits = |twin: &Value| !waiting(twin).is_null();
    world.emulator.watch_twin(DEVICE, waits).await;
    world.kill_service().await;
    world.start_gateway().await;
    // The whole reboot happens while the service is away.
    world
        .emulator
        .watch_twin(DEVICE, |twin| {
            twin["properties"]["reported"]["iothubDM"]["reboot"]["state"] == "SUCCEEDED"
        })
        .await;
    assert!(waits(&world.emulator.twin(DEVICE)));
    world.start_service().await;
    let watched = world.watch_to_end(&attempt.name).await;
    assert_eq!(watched.verdict().state(), AttemptState::Succeeded);
    nothing_waits(&world).await;
    assert_eq!(world.commands(DEVICE), 1);
}
