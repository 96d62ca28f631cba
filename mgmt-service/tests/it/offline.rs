//! Devices and hubs that are not there.

use std::time::{Duration, Instant};

use hub_emulator::{Counters, Fault, Operation, Times};
use iot_hub::reboot::State;
use iothubdm_proto::v1::{
    AttemptState, GetDeviceRequest, ListRebootsRequest, OfflinePolicy, RebootRequest,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    device::{self, Device},
    world::{World, details, request, within},
};

fn queued(device: &str) -> RebootRequest {
    RebootRequest {
        offline_policy: OfflinePolicy::Queue.into(),
        ..request(device)
    }
}

#[tokio::test]
async fn an_offline_device_fails_the_call_and_leaves_nothing() {
    let mut world = World::start().await;
    drop(Device::native(&world.emulator, "pump-1").await);
    within(world.emulator.disconnected("pump-1")).await;
    let status = world.reboot("pump-1").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(details(&status).0, "DEVICE_OFFLINE");
    let all = ListRebootsRequest {
        parent: "devices/-".into(),
        ..ListRebootsRequest::default()
    };
    let all = world.client.list_reboots(all).await.unwrap().into_inner();
    assert_eq!(all.reboots, []);
}

#[tokio::test]
async fn a_request_for_a_device_of_no_known_kind_is_tried_until_it_connects() {
    let mut world = World::start().await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let attempt = world.ask(queued("pump-1")).await.unwrap();
    assert_eq!(attempt.state(), AttemptState::Pending);
    let tried = |counters: &Counters| counters.method_calls.total >= 3;
    within(world.emulator.counted(tried)).await;
    assert_eq!(
        world.get(&attempt.name).await.unwrap().state(),
        AttemptState::Pending
    );
    let mut device = Device::plain(&world.emulator, "pump-1").await;
    let call = device.called().await;
    device.accept(&call, State::Accepted).await;
    world.reaches(&attempt.name, AttemptState::Accepted).await;
}

#[tokio::test]
async fn a_queued_request_waits_in_the_twin_and_costs_no_more_calls() {
    let mut world = World::start().await;
    drop(Device::native(&world.emulator, "pump-1").await);
    within(world.emulator.disconnected("pump-1")).await;
    let attempt = world.ask(queued("pump-1")).await.unwrap();
    assert_eq!(attempt.state(), AttemptState::Pending);
    let queue = |twin: &Value| twin["properties"]["desired"]["iothubDM"]["reboot"].clone();
    let waits = |twin: &Value| queue(twin)["requestId"] == json!(attempt.request_id);
    let twin = within(world.emulator.watch_twin("pump-1", waits)).await;
    let deadline: jiff::Timestamp = queue(&twin)["deadline"].as_str().unwrap().parse().unwrap();
    assert!(deadline.as_second() < attempt.deadline.unwrap().seconds);

    let mut device = Device::plain(&world.emulator, "pump-1").await;
    let id = attempt.request_id.parse().unwrap();
    let report = |state| Some(device::attempt(id, state));
    device.report_attempt(report(State::Accepted)).await;
    world.reaches(&attempt.name, AttemptState::Accepted).await;
    assert!(
        waits(&world.emulator.twin("pump-1")),
        "removing it is a cancel"
    );
    device.report_attempt(report(State::Rebooting)).await;
    within(
        world
            .emulator
            .watch_twin("pump-1", |twin| queue(twin).is_null()),
    )
    .await;
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn a_queued_request_that_never_arrived_expires() {
    let mut world = World::with("default_deadline = \"4s\"").await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let attempt = world.ask(queued("pump-1")).await.unwrap();
    let attempt = world.reaches(&attempt.name, AttemptState::Expired).await;
    let error = attempt.error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("DEADLINE_EXCEEDED", true)
    );
}

#[tokio::test]
async fn an_unknown_device_is_not_found() {
    let mut world = World::start().await;
    for asked in [request("nobody"), queued("nobody")] {
        let status = world.ask(asked).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        let (reason, details) = details(&status);
        assert_eq!(reason, "DEVICE_NOT_FOUND");
        let resource = details.resource_info().unwrap();
        assert_eq!(resource.resource_name, "devices/nobody");
    }
}

#[tokio::test]
async fn a_full_quota_says_when_to_ask_again() {
    let mut world = World::start().await;
    let _device = Device::native(&world.emulator, "pump-1").await;
    let throttled = Fault::Answer {
        operation: Some(Operation::MethodCall),
        device: None,
        status: 429,
        retry_after: Some(Duration::from_secs(7)),
    };
    world.emulator.faults().inject(throttled, Times::Next(1));
    let status = world.reboot("pump-1").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let (reason, details) = details(&status);
    assert_eq!(reason, "HUB_THROTTLED");
    let retry = details.retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn who_reads_a_device_is_not_kept_until_the_hub_wants_to_be_asked_again() {
    let mut world = World::start().await;
    let _device = Device::native(&world.emulator, "pump-1").await;
    let minute = Duration::from_secs(60);
    let throttled = Fault::Answer {
        operation: Some(Operation::ServiceTwinRead),
        // The service looks at the hub by itself, too.
        device: Some("pump-1".parse().unwrap()),
        status: 429,
        retry_after: Some(minute),
    };
    world.emulator.faults().inject(throttled, Times::Next(1));
    let get = GetDeviceRequest {
        name: "devices/pump-1".into(),
    };
    for expected in ["HUB_THROTTLED", "QUOTA_EXHAUSTED"] {
        let asked = world.client.get_device(get.clone());
        let status = within(asked).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        let (reason, details) = details(&status);
        assert_eq!(reason, expected);
        let retry = details.retry_info().unwrap().retry_delay.unwrap();
        assert!(minute / 2 < retry && retry <= 2 * minute, "{retry:?}");
    }
}

#[tokio::test]
async fn a_queued_request_waits_as_long_as_the_hub_says() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let throttled = Fault::Answer {
        operation: Some(Operation::MethodCall),
        device: None,
        status: 429,
        retry_after: Some(Duration::from_secs(1)),
    };
    world.emulator.faults().inject(throttled, Times::Next(1));
    let asked = Instant::now();
    let attempt = world.ask(queued("pump-1")).await.unwrap();
    assert_eq!(attempt.state(), AttemptState::Pending);
    let call = device.called().await;
    assert!(asked.elapsed() >= Duration::from_secs(1));
    device.accept(&call, State::Accepted).await;
    world.reaches(&attempt.name, AttemptState::Accepted).await;
}
