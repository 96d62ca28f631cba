//! A gateway that answers `rebootWatch`: its hints are followed, and it is not relied on.

use std::time::Duration;

use iot_hub::reboot::{Grade, RequestId, State, method};
use iothubdm_proto::v1::AttemptState;
use serde_json::json;

use crate::{
    device::{Call, Device},
    world::{ANSWER_TIMEOUT, World, request, states, within},
};

const DEVICE: &str = "pump-1";

/// A reboot that the device has accepted, and the call that hangs for it.
async fn hanging(world: &World, device: &mut Device) -> (RequestId, String, Call) {
    let reboot = world.ask_meanwhile(request(DEVICE));
    let call = device.called().await;
    assert_eq!(call.name, method::REBOOT);
    let id = device.accept(&call, State::Accepted).await;
    let name = reboot.await.unwrap().unwrap().name;
    let call = device.called().await;
    assert_eq!(call.name, method::WATCH);
    assert_eq!(call.payload["afterSeq"], json!(device.seq()));
    (id, name, call)
}

#[tokio::test]
async fn one_call_hangs_for_all_watchers_and_its_answer_is_followed_by_a_read() {
    let mut world = World::patient(None).await;
    let mut device = Device::watchable(&world.emulator, DEVICE).await;
    let (id, name, call) = hanging(&world, &mut device).await;
    let watches = [
        world.watch(&name, "").await.unwrap(),
        world.watch(&name, "").await.unwrap(),
    ];
    let reads = world.emulator.counters().service_twin_reads.total;
    device.succeed(id, Grade::Caused).await;
    // Nobody would read the twin within the hour.
    let seq = json!({ "seq": device.seq() });
    device.answer(&call, 200, &seq).await;
    for watch in watches {
        let states = states(&watch.read_to_end().await);
        assert_eq!(states.last(), Some(&AttemptState::Succeeded));
    }
    let counters = world.emulator.counters();
    assert_eq!(counters.method_calls.total, 2, "the request, and one watch");
    let reads = counters.service_twin_reads.total - reads;
    assert!(reads <= 3, "{reads} reads after the hint");
    assert!(world.metric("mgmt_service_hub_calls_total{kind=\"hanging\",result=\"ok\"}") >= 1.0);
}

#[tokio::test]
async fn a_hint_is_followed_by_a_read_at_once_whatever_the_cadence_is() {
    let mut world = World::unasked_for().await;
    let mut device = Device::watchable(&world.emulator, DEVICE).await;
    let (id, name, call) = hanging(&world, &mut device).await;
    device.succeed(id, Grade::Caused).await;
    let seq = json!({ "seq": device.seq() });
    device.answer(&call, 200, &seq).await;
    within(world.reaches(&name, AttemptState::Succeeded)).await;
}

#[tokio::test]
async fn a_hint_is_no_verdict() {
    let mut world = World::patient(None).await;
    let mut device = Device::watchable(&world.emulator, DEVICE).await;
    let (id, name, call) = hanging(&world, &mut device).await;
    // It claims what its twin does not hold; from then on it is polled.
    let claim = json!({ "seq": 99, "state": "SUCCEEDED" });
    device.answer(&call, 200, &claim).await;
    let reads = world.emulator.counters().service_twin_reads.total;
    let more = |reads: u64| {
        let emulator = &world.emulator;
        async move {
            while emulator.counters().service_twin_reads.total < reads {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    within(more(reads + 5)).await;
    assert_eq!(
        world.get(&name).await.unwrap().state(),
        AttemptState::Accepted
    );
    device.succeed(id, Grade::Caused).await;
    world.reaches(&name, AttemptState::Succeeded).await;
    assert_eq!(world.emulator.counters().method_calls.total, 2);
}

#[tokio::test]
async fn a_gateway_that_dies_with_a_call_is_polled() {
    let mut world = World::patient(None).await;
    let mut device = Device::watchable(&world.emulator, DEVICE).await;
    let (id, name, _) = hanging(&world, &mut device).await;
    drop(device);
    let mut device = Device::watchable(&world.emulator, DEVICE).await;
    device.succeed(id, Grade::Caused).await;
    world.reaches(&name, AttemptState::Succeeded).await;
}

#[tokio::test]
async fn a_call_that_the_hub_gives_up_is_followed_by_polling() {
    let mut world = World::patient(Some(ANSWER_TIMEOUT)).await;
    let mut device = Device::watchable(&world.emulator, DEVICE).await;
    let (id, name, _) = hanging(&world, &mut device).await;
    device.succeed(id, Grade::Caused).await;
    world.reaches(&name, AttemptState::Succeeded).await;
    assert_eq!(world.emulator.counters().method_calls.total, 2);
}

#[tokio::test]
async fn a_gateway_that_does_not_offer_it_is_never_called_for_it() {
    let mut world = World::patient(None).await;
    let mut device = Device::native(&world.emulator, DEVICE).await;
    let reboot = world.ask_meanwhile(request(DEVICE));
    let call = device.called().await;
    let id = device.accept(&call, State::Accepted).await;
    let name = reboot.await.unwrap().unwrap().name;
    device.succeed(id, Grade::Caused).await;
    world.reaches(&name, AttemptState::Succeeded).await;
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn a_stopping_service_does_not_wait_for_a_call_that_hangs() {
    let mut world = World::patient(None).await;
    let mut device = Device::watchable(&world.emulator, DEVICE).await;
    let _held = hanging(&world, &mut device).await;
    let begun = std::time::Instant::now();
    world.stop().await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}
