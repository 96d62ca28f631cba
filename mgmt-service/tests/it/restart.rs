//! A service that ends and comes back: attempts, events and tokens survive, and nothing is sent twice.
//! And what has to be on disk for that.

use std::time::Duration;

use hub_emulator::{Fault, Operation, Times};
use iot_hub::reboot::{Grade, State};
use iothubdm_proto::v1::{AttemptState, RebootRequest};
use serde_json::json;
use tonic::Code;

use crate::{
    device::Device,
    world::{World, details, request, states, tell_of_a_whole_reboot, within},
};

#[tokio::test]
async fn a_watcher_goes_on_with_its_token_after_a_restart() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    let id = device.accept(&call, State::Accepted).await;
    let name = reboot.await.unwrap().unwrap().name;
    let mut watch = world.watch(&name, "").await.unwrap();
    let mut seen = Vec::new();
    while states(&seen).last() != Some(&AttemptState::Accepted) {
        seen.push(watch.next_event().await.unwrap());
    }
    world.stop().await;
    let status = watch.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(details(&status).0, "STOPPING");

    device.succeed(id, Grade::Caused).await;
    world.start_again().await;
    let token = seen.last().unwrap().resume_token.clone();
    let rest = world
        .watch(&name, &token)
        .await
        .unwrap()
        .read_to_end()
        .await;
    seen.extend(rest.into_iter().skip(1));
    tell_of_a_whole_reboot(&seen);
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn a_call_that_was_out_when_the_service_was_killed_is_settled_by_the_twin() {
    let mut world = World::with("retry_min = \"30s\"\nretry_max = \"30s\"").await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    world.kill().await;
    assert!(reboot.await.unwrap().is_err());
    device.succeed(call.id(), Grade::Caused).await;
    world.start_again().await;
    let name = format!("devices/pump-1/reboots/{}", call.id());
    world.reaches(&name, AttemptState::Succeeded).await;
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn a_tutorial_device_is_not_called_again_after_a_kill() {
    let mut world = World::with("default_deadline = \"3s\"").await;
    let mut device = Device::plain(&world.emulator, "node").await;
    let reboot = world.ask_meanwhile(request("node"));
    let call = device.called().await;
    world.kill().await;
    assert!(reboot.await.unwrap().is_err());
    device.answer(&call, 200, &json!("Reboot started")).await;
    world.start_again().await;
    let name = format!("devices/node/reboots/{}", call.id());
    world.reaches(&name, AttemptState::Lost).await;
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn a_device_is_called_after_one_write() {
    let world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    let writes = |operation: &str| {
        let counted = "mgmt_service_store_operation_seconds_count";
        world.metric(&format!("{counted}{{operation=\"{operation}\"}}"))
    };
    assert_eq!((writes("create"), writes("save")), (1.0, 0.0));
    device.accept(&call, State::Accepted).await;
    let attempt = reboot.await.unwrap().unwrap();
    assert_eq!(attempt.state(), AttemptState::Accepted);
}

#[tokio::test]
async fn a_request_is_stored_although_the_hub_is_slow_to_show_the_twin() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let slow = Fault::Delay {
        device: Some("pump-1".parse().unwrap()),
        operation: Some(Operation::ServiceTwinRead),
        by: Duration::from_secs(2),
    };
    world.emulator.faults().inject(slow, Times::Next(1));
    let asked = RebootRequest {
        request_id: "6f9619ff-8b86-d011-b42d-00cf4fc964ff".into(),
        ..request("pump-1")
    };
    let name = format!("devices/pump-1/reboots/{}", asked.request_id);
    let reboot = world.ask_meanwhile(asked);
    let stored = within(async {
        loop {
            match world.get(&name).await {
                Ok(attempt) => return attempt,
                Err(status) => assert_eq!(status.code(), Code::NotFound),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert_eq!(stored.await.state(), AttemptState::Pending);
    assert_eq!(world.emulator.counters().method_calls.total, 0);
    // Its caller need not be there any more.
    reboot.abort();
    let call = device.called().await;
    device.accept(&call, State::Accepted).await;
    world.reaches(&name, AttemptState::Accepted).await;
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

/// SQLite lists this nowhere, so what it was compiled by is looked at: its build reads this variable from
/// where the compiler of this test does.
#[test]
fn a_commit_syncs_what_was_written_and_not_the_times_of_the_file() {
    let flags = option_env!("LIBSQLITE3_FLAGS").unwrap_or_default();
    let is_set = flags
        .split_whitespace()
        .any(|flag| flag == "-DHAVE_FDATASYNC=1");
    assert!(is_set, "{flags}");
}
