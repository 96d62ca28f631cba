//! Cancelling, as long as that is possible.

use iot_hub::reboot::{Refusal, RefusalCode, State, method};
use iothubdm_proto::v1::{
    AttemptState, CancelRebootRequest, RebootAttempt, RebootRequest, reboot_request,
};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::{
    device::Device,
    world::{World, details, request},
};

fn cancel(world: &World, name: &str, abandon: bool) -> JoinHandle<Result<RebootAttempt, Status>> {
    let mut client = world.client.clone();
    let request = CancelRebootRequest {
        name: name.into(),
        reason: "changed my mind".into(),
        abandon,
    };
    tokio::spawn(async move { Ok(client.cancel_reboot(request).await?.into_inner()) })
}

/// An attempt that the device has accepted in this state.
async fn accepted(world: &World, device: &mut Device, state: State) -> String {
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    device.accept(&call, state).await;
    reboot.await.unwrap().unwrap().name
}

#[tokio::test]
async fn one_that_has_not_begun_is_cancelled_at_once_and_once_more() {
    let mut world = World::start().await;
    let _device = Device::native(&world.emulator, "pump-1").await;
    let delay = prost_types::Duration {
        seconds: 600,
        nanos: 0,
    };
    let asked = RebootRequest {
        start: Some(reboot_request::Start::Delay(delay)),
        ..request("pump-1")
    };
    let attempt = world.ask(asked).await.unwrap();
    assert_eq!(attempt.state(), AttemptState::Pending);
    for _ in 0..2 {
        let cancelled = cancel(&world, &attempt.name, false).await.unwrap().unwrap();
        assert_eq!(cancelled.state(), AttemptState::Cancelled);
    }
    assert_eq!(world.emulator.counters().method_calls.total, 0);
}

#[tokio::test]
async fn the_device_is_asked_and_agrees() {
    let world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let name = accepted(&world, &mut device, State::Accepted).await;
    let cancelled = cancel(&world, &name, false);
    let call = device.called().await;
    assert_eq!(call.name, method::CANCEL);
    device.accept(&call, State::Cancelled).await;
    let attempt = cancelled.await.unwrap().unwrap();
    assert_eq!(attempt.state(), AttemptState::Cancelled);
    assert!(!attempt.cancel_requested);
}

#[tokio::test]
async fn the_device_says_that_it_is_too_late() {
    let world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let name = accepted(&world, &mut device, State::Accepted).await;
    let cancelled = cancel(&world, &name, false);
    let call = device.called().await;
    let refusal = Refusal::new(RefusalCode::TooLate, "the command is out");
    device.answer(&call, 412, &refusal.to_payload()).await;
    let status = cancelled.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(details(&status).0, "TOO_LATE");
}

#[tokio::test]
async fn past_the_point_of_no_return_only_abandoning_ends_it() {
    let world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let name = accepted(&world, &mut device, State::Rebooting).await;
    let status = cancel(&world, &name, false).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let (_, details) = details(&status);
    let info = details.error_info().unwrap();
    assert_eq!(info.metadata["state"], "ATTEMPT_STATE_REBOOTING");
    let attempt = cancel(&world, &name, true).await.unwrap().unwrap();
    assert_eq!(attempt.state(), AttemptState::Lost);
    assert_eq!(attempt.error.unwrap().code, "ABANDONED");
}
