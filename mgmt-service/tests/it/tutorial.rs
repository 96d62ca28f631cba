//! Devices that follow a tutorial: driven as they are, and graded as only saying so.

use std::time::{Duration, SystemTime};

use iothubdm_proto::v1::{AttemptState, Dialect, EvidenceGrade, RebootAttempt, RebootRequest};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    device::Device,
    world::{World, details, request, states},
};

#[tokio::test]
async fn a_node_device_succeeds_by_its_claim() {
    let mut world = World::start().await;
    let mut device = Device::plain(&world.emulator, "node").await;
    let last_reboot = |time: &str| json!({ "iothubDM": { "reboot": { "lastReboot": time } } });
    device.report(&last_reboot("2020-01-01T00:00:00Z")).await;
    let reboot = world.ask_meanwhile(request("node"));
    let call = device.called().await;
    assert_eq!(
        (call.name.as_str(), &call.payload),
        ("reboot", &Value::Null)
    );
    device.answer(&call, 200, &json!("Reboot started")).await;
    let attempt = reboot.await.unwrap().unwrap();
    assert_eq!(attempt.dialect(), Dialect::Tutorial);
    let watch = world.watch(&attempt.name, "").await.unwrap();
    device.report(&last_reboot("not even a time")).await;
    let events = watch.read_to_end().await;
    assert_eq!(
        states(&events),
        [
            AttemptState::Pending,
            AttemptState::Dispatching,
            AttemptState::Accepted,
            AttemptState::Rebooting,
            AttemptState::Succeeded,
        ]
    );
    let evidence = world.get(&attempt.name).await.unwrap().evidence.unwrap();
    assert_eq!(evidence.grade(), EvidenceGrade::Claimed);
    assert_eq!(evidence.method, "reported-claim");
}

#[tokio::test]
async fn a_python_device_is_found_by_its_own_method() {
    let mut world = World::start().await;
    let mut device = Device::plain(&world.emulator, "python").await;
    let reboot = world.ask_meanwhile(request("python"));
    let call = device.called().await;
    assert_eq!(call.name, "reboot");
    let unknown = json!({ "Response": "Unknown method" });
    device.answer(&call, 404, &unknown).await;
    let call = device.called().await;
    assert_eq!(call.name, "rebootDevice");
    device
        .report(&json!({ "rebootTime": "2026-01-01 10:00:00.000001" }))
        .await;
    device
        .answer(&call, 200, &json!({ "Response": "ok" }))
        .await;
    let attempt = reboot.await.unwrap().unwrap();
    let attempt = world.reaches(&attempt.name, AttemptState::Succeeded).await;
    assert_eq!(attempt.dialect(), Dialect::TutorialPython);
    assert_eq!(world.emulator.counters().method_calls.total, 2);
}

#[tokio::test]
async fn a_late_claim_of_a_lost_attempt_is_no_proof_for_the_next() {
    let mut world = World::start().await;
    let mut device = Device::plain(&world.emulator, "node").await;
    let last_reboot = |time: &str| json!({ "iothubDM": { "reboot": { "lastReboot": time } } });
    device.report(&last_reboot("before")).await;
    let in_short = RebootRequest {
        deadline: Some((SystemTime::now() + Duration::from_secs(2)).into()),
        ..request("node")
    };
    let mut names = Vec::new();
    for asked in [in_short, request("node")] {
        let reboot = world.ask_meanwhile(asked);
        let call = device.called().await;
        device.answer(&call, 200, &json!("Reboot started")).await;
        let name = reboot.await.unwrap().unwrap().name;
        if names.is_empty() {
            world.reaches(&name, AttemptState::Lost).await;
        }
        names.push(name);
    }
    device.report(&last_reboot("the first one, late")).await;
    let is_back = |attempt: &RebootAttempt| attempt.recovered_time.is_some();
    world.becomes(&names[0], is_back).await;
    let doubted = |attempt: &RebootAttempt| attempt.revision > 4;
    let second = world.becomes(&names[1], doubted).await;
    assert_eq!(second.state(), AttemptState::Rebooting);

    device.report(&last_reboot("the second one")).await;
    let second = world.reaches(&names[1], AttemptState::Succeeded).await;
    assert_eq!(second.evidence.unwrap().grade(), EvidenceGrade::Claimed);
}

#[tokio::test]
async fn evidence_that_a_tutorial_cannot_give_is_refused_at_once() {
    let mut world = World::start().await;
    let _device = Device::plain(&world.emulator, "node").await;
    let asked = RebootRequest {
        required_evidence: EvidenceGrade::Returned.into(),
        ..request("node")
    };
    let status = world.ask(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let (reason, details) = details(&status);
    assert_eq!(reason, "EVIDENCE_OUT_OF_REACH");
    assert_eq!(details.precondition_failure().unwrap().violations.len(), 1);
    assert_eq!(world.emulator.counters().method_calls.total, 0);
}
