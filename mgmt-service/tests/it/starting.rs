//! When an attempt starts, and what has to hold for it.

use std::time::{Duration, SystemTime};

use iot_hub::reboot::{Refusal, RefusalCode, State};
use iothubdm_proto::v1::{AttemptState, Preconditions, RebootRequest, reboot_request::Start};
use serde_json::json;
use tonic::Code;

use crate::{
    device::Device,
    world::{World, details, request},
};

const WAIT: Duration = Duration::from_millis(1500);

fn at(time: SystemTime) -> Start {
    Start::NotBefore(time.into())
}

#[tokio::test]
async fn a_start_by_delay_or_by_the_clock_is_waited_for() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    for absolute in [false, true] {
        let asked = SystemTime::now();
        let start = if absolute {
            at(asked + WAIT)
        } else {
            Start::Delay(prost_types::Duration {
                seconds: 1,
                nanos: 500_000_000,
            })
        };
        let attempt = world
            .ask(RebootRequest {
                start: Some(start),
                ..request("pump-1")
            })
            .await
            .unwrap();
        assert_eq!(attempt.state(), AttemptState::Pending);
        assert!(attempt.not_before.is_some());
        let call = device.called().await;
        assert!(asked.elapsed().unwrap() >= WAIT, "absolute: {absolute}");
        let id = device.accept(&call, State::Accepted).await;
        device.succeed(id, iot_hub::reboot::Grade::Caused).await;
        world.reaches(&attempt.name, AttemptState::Succeeded).await;
    }
}

#[tokio::test]
async fn a_service_that_is_killed_before_the_start_starts_in_time() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let asked = SystemTime::now();
    let attempt = world
        .ask(RebootRequest {
            start: Some(at(asked + WAIT)),
            ..request("pump-1")
        })
        .await
        .unwrap();
    world.kill().await;
    world.start_again().await;
    let call = device.called().await;
    assert!(asked.elapsed().unwrap() >= WAIT);
    device.accept(&call, State::Accepted).await;
    world.reaches(&attempt.name, AttemptState::Accepted).await;
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn preconditions_go_to_the_device_and_its_refusal_is_the_calls_error() {
    let world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let preconditions = Preconditions {
        boot_id: "b7".into(),
        min_uptime: Some(prost_types::Duration {
            seconds: 59,
            nanos: 1,
        }),
    };
    let asked = world.ask_meanwhile(RebootRequest {
        preconditions: Some(preconditions),
        ..request("pump-1")
    });
    let call = device.called().await;
    assert_eq!(call.payload["ifBootId"], json!("b7"));
    assert_eq!(call.payload["ifUptimeAtLeastSec"], json!(60));
    let refusal = Refusal::new(RefusalCode::Precondition, "the device is in boot b1");
    device.answer(&call, 412, &refusal.to_payload()).await;
    let status = asked.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let (reason, details) = details(&status);
    assert_eq!(reason, "PRECONDITION");
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(violation.subject, "devices/pump-1");
}
