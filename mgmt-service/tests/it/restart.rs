//! A service that ends and comes back: attempts, events and tokens survive, and nothing is sent twice.

use iot_hub::reboot::{Grade, State};
use iothubdm_proto::v1::AttemptState;
use serde_json::json;
use tonic::Code;

use crate::{
    device::Device,
    world::{World, details, request, states},
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
    assert_eq!(
        states(&seen),
        [
            AttemptState::Pending,
            AttemptState::Dispatching,
            AttemptState::Accepted,
            AttemptState::Rebooting,
            AttemptState::Down,
            AttemptState::Verifying,
            AttemptState::Succeeded,
        ]
    );
    let revisions: Vec<_> = seen[1..].iter().map(|event| event.revision).collect();
    assert!(
        revisions.is_sorted_by(|one, next| one < next),
        "{revisions:?}"
    );
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
