//! One id, one attempt; one device, one open attempt.

use iot_hub::reboot::{Refusal, RefusalCode, State};
use iothubdm_proto::v1::{
    AttemptState, CancelRebootRequest, OfflinePolicy, RebootMode, RebootRequest,
};
use tonic::Code;
use uuid::Uuid;

use crate::{
    device::Device,
    world::{World, details, request},
};

const ID: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";

fn with_id(device: &str) -> RebootRequest {
    RebootRequest {
        request_id: ID.into(),
        ..request(device)
    }
}

#[tokio::test]
async fn the_same_request_again_is_the_same_attempt() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let first = world.ask_meanwhile(with_id("pump-1"));
    let call = device.called().await;
    // The second one comes while the first is still out, the third after it.
    let second = world.ask_meanwhile(with_id("pump-1"));
    device.accept(&call, State::Accepted).await;
    let first = first.await.unwrap().unwrap();
    let second = second.await.unwrap().unwrap();
    let third = world.ask(with_id("pump-1")).await.unwrap();
    assert_eq!(first.name, format!("devices/pump-1/reboots/{ID}"));
    assert_eq!((&first.name, &first.name), (&second.name, &third.name));
    assert_eq!(third.state(), AttemptState::Accepted);
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn an_id_with_another_request_is_refused() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    world.emulator.register(&"pump-2".parse().unwrap());
    let first = world.ask_meanwhile(with_id("pump-1"));
    let call = device.called().await;
    device.accept(&call, State::Accepted).await;
    first.await.unwrap().unwrap();
    let forced = RebootRequest {
        mode: RebootMode::Forced.into(),
        reason: "stuck".into(),
        ..with_id("pump-1")
    };
    for other in [forced, with_id("pump-2")] {
        let status = world.ask(other).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let (reason, details) = details(&status);
        assert_eq!(reason, "REQUEST_ID_USED");
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "request_id");
    }
}

#[tokio::test]
async fn a_second_attempt_names_the_holder() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let first = world.ask_meanwhile(with_id("pump-1"));
    let call = device.called().await;
    device.accept(&call, State::Accepted).await;
    let holder = first.await.unwrap().unwrap().name;
    for validate_only in [false, true] {
        let asked = RebootRequest {
            validate_only,
            ..request("pump-1")
        };
        let status = world.ask(asked).await.unwrap_err();
        assert_eq!(status.code(), Code::Aborted);
        let (reason, details) = details(&status);
        assert_eq!(reason, "DEVICE_BUSY");
        assert_eq!(details.resource_info().unwrap().resource_name, holder);
    }
}

#[tokio::test]
async fn a_refusal_of_the_device_is_the_calls_error_each_time() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let first = world.ask_meanwhile(with_id("pump-1"));
    let call = device.called().await;
    let refusal = Refusal {
        retry_after_sec: Some(40),
        ..Refusal::new(RefusalCode::Cooldown, "rebooted a moment ago")
    };
    device.answer(&call, 429, &refusal.to_payload()).await;
    let first = first.await.unwrap().unwrap_err();
    let again = world.ask(with_id("pump-1")).await.unwrap_err();
    for status in [first, again] {
        assert_eq!(status.code(), Code::ResourceExhausted);
        let (reason, details) = details(&status);
        assert_eq!(reason, "COOLDOWN");
        let retry = details.retry_info().unwrap().retry_delay.unwrap();
        assert_eq!(retry.as_secs(), 40);
    }
    let name = format!("devices/pump-1/reboots/{ID}");
    let attempt = world.get(&name).await.unwrap();
    assert_eq!(attempt.state(), AttemptState::Rejected);
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn an_id_whose_request_was_withdrawn_can_be_used_at_once() {
    let mut world = World::start().await;
    world.emulator.register(&"pump-1".parse().unwrap());
    for _ in 0..20 {
        let asked = RebootRequest {
            request_id: Uuid::new_v4().to_string(),
            ..request("pump-1")
        };
        let status = world.ask(asked.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        let queued = RebootRequest {
            offline_policy: OfflinePolicy::Queue.into(),
            ..asked
        };
        let name = world.ask(queued).await.unwrap().name;
        let cancel = CancelRebootRequest {
            name,
            ..CancelRebootRequest::default()
        };
        let cancelled = world.client.cancel_reboot(cancel).await.unwrap();
        assert_eq!(cancelled.into_inner().state(), AttemptState::Cancelled);
    }
}

#[tokio::test]
async fn validating_stores_and_sends_nothing() {
    let mut world = World::start().await;
    let _device = Device::native(&world.emulator, "pump-1").await;
    let asked = RebootRequest {
        validate_only: true,
        ..with_id("pump-1")
    };
    let attempt = world.ask(asked).await.unwrap();
    assert_eq!(attempt.state(), AttemptState::Pending);
    let status = world.get(&attempt.name).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(world.emulator.counters().method_calls.total, 0);
}
