//! Calls whose answer was lost: settled by the twin, never by a blind second call.

use hub_emulator::{Fault, Times};
use iot_hub::reboot::{Grade, State};
use iothubdm_proto::v1::AttemptState;
use serde_json::json;

use crate::{
    device::{Device, attempt},
    world::{World, request, states},
};

fn lose_answers(world: &World, device: &str) {
    let device = Some(device.parse().unwrap());
    let faults = world.emulator.faults();
    faults.inject(Fault::LoseMethodAnswer { device }, Times::Next(1));
}

#[tokio::test]
async fn the_twin_shows_that_the_request_arrived() {
    let mut world =
        World::with("default_deadline = \"60s\"\nretry_min = \"30s\"\nretry_max = \"30s\"").await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    lose_answers(&world, "pump-1");
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    let id = device.accept(&call, State::Accepted).await;
    let name = reboot.await.unwrap().unwrap().name;
    let watch = world.watch(&name, "").await.unwrap();
    device
        .report_attempt(Some(attempt(id, State::Rebooting)))
        .await;
    device.succeed(id, Grade::Caused).await;
    let events = watch.read_to_end().await;
    let states = states(&events);
    assert_eq!(
        states[..2],
        [AttemptState::Pending, AttemptState::Dispatching]
    );
    assert_eq!(states.last(), Some(&AttemptState::Succeeded));
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn a_device_that_dedupes_is_sent_the_same_request_again() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    lose_answers(&world, "pump-1");
    let reboot = world.ask_meanwhile(request("pump-1"));
    let first = device.called().await;
    device.accept(&first, State::Accepted).await;
    let second = device.called().await;
    assert_eq!(second.id(), first.id());
    device.accept(&second, State::Accepted).await;
    let name = reboot.await.unwrap().unwrap().name;
    world.reaches(&name, AttemptState::Accepted).await;
}

#[tokio::test]
async fn a_device_that_does_not_dedupe_is_never_sent_it_again() {
    let mut world = World::with("default_deadline = \"3s\"").await;
    let mut device = Device::plain(&world.emulator, "node").await;
    let old = json!({ "iothubDM": { "reboot": { "lastReboot": "2020-01-01T00:00:00Z" } } });
    device.report(&old).await;
    lose_answers(&world, "node");
    let reboot = world.ask_meanwhile(request("node"));
    let call = device.called().await;
    device.answer(&call, 200, &json!("Reboot started")).await;
    let name = reboot.await.unwrap().unwrap().name;
    let attempt = world.reaches(&name, AttemptState::Lost).await;
    assert_eq!(attempt.error.unwrap().code, "DEADLINE_EXCEEDED");
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}
