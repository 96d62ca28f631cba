//! A device of our gateway: accepted, followed, proved.

use iot_hub::reboot::{Failure, FailureCode, Grade, State, method};
use iothubdm_proto::v1::{
    AttemptState, Dialect, EvidenceGrade, ListRebootsRequest, RebootAttempt, RebootRequest,
    reboot_event::Event,
};
use serde_json::json;

use crate::{
    device::Device,
    world::{World, request, tell_of_a_whole_reboot},
};

#[tokio::test]
async fn a_reboot_is_followed_to_its_evidence() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let asked = RebootRequest {
        reason: "kernel".into(),
        required_evidence: EvidenceGrade::BootChanged.into(),
        ..request("pump-1")
    };
    let reboot = world.ask_meanwhile(asked);
    let call = device.called().await;
    assert_eq!(call.name, method::REBOOT);
    assert_eq!(call.payload["reason"], json!("kernel"));
    assert_eq!(call.payload["requiredGrade"], json!(3));
    let id = device.accept(&call, State::Accepted).await;
    let attempt = reboot.await.unwrap().unwrap();
    assert_eq!(attempt.state(), AttemptState::Accepted);
    assert_eq!(attempt.name, format!("devices/pump-1/reboots/{id}"));
    assert!(attempt.eta.is_some());

    let watch = world.watch(&attempt.name, "").await.unwrap();
    device.succeed(id, Grade::Caused).await;
    let events = watch.read_to_end().await;
    assert!(matches!(events[0].event, Some(Event::Snapshot(_))));
    tell_of_a_whole_reboot(&events);

    let ended = world.get(&attempt.name).await.unwrap();
    let evidence = ended.evidence.clone().unwrap();
    assert_eq!(evidence.grade(), EvidenceGrade::Caused);
    assert_eq!(
        (evidence.before.as_str(), evidence.after.as_str()),
        ("boot b1", "boot b2")
    );
    assert_eq!(ended.dialect(), Dialect::Native);
    assert_eq!(ended.timeline.len(), 7);
    assert!(ended.end_time.is_some());
    let list = ListRebootsRequest {
        parent: "devices/pump-1".into(),
        filter: "state = SUCCEEDED AND open = false".into(),
        ..ListRebootsRequest::default()
    };
    let list = world.client.list_reboots(list).await.unwrap().into_inner();
    assert_eq!(list.reboots, [ended]);
    assert_eq!(list.next_page_token, "");
    assert_eq!(world.emulator.counters().method_calls.total, 1);
}

#[tokio::test]
async fn a_failure_is_told_with_its_cause() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    let id = device.accept(&call, State::Accepted).await;
    let name = reboot.await.unwrap().unwrap().name;
    let failure = Failure {
        code: FailureCode::NoShutdown,
        message: "the boot identity is still the old one".into(),
        retryable: true,
    };
    device.fail(id, failure).await;
    let attempt = world.reaches(&name, AttemptState::Failed).await;
    let error = attempt.error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("NO_SHUTDOWN", true)
    );
}

#[tokio::test]
async fn a_success_with_too_little_evidence_is_a_failure() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let asked = RebootRequest {
        required_evidence: EvidenceGrade::Caused.into(),
        ..request("pump-1")
    };
    let reboot = world.ask_meanwhile(asked);
    let call = device.called().await;
    let id = device.accept(&call, State::Accepted).await;
    let name = reboot.await.unwrap().unwrap().name;
    device.succeed(id, Grade::Returned).await;
    let attempt = world.reaches(&name, AttemptState::Failed).await;
    assert_eq!(attempt.error.unwrap().code, "PROOF_TOO_WEAK");
}

#[tokio::test]
async fn an_attempt_without_news_is_lost_at_its_deadline_and_its_return_is_noted() {
    let mut world = World::with("default_deadline = \"2s\"").await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    let id = device.accept(&call, State::Rebooting).await;
    let name = reboot.await.unwrap().unwrap().name;
    let lost = world.reaches(&name, AttemptState::Lost).await;
    assert_eq!(lost.error.unwrap().code, "NO_RETURN");
    device.succeed(id, Grade::Caused).await;
    let recovered = |attempt: &RebootAttempt| attempt.recovered_time.is_some();
    let attempt = world.becomes(&name, recovered).await;
    assert_eq!(attempt.state(), AttemptState::Lost);
}
