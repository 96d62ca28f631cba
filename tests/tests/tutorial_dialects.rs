//! Devices and back ends that follow Microsoft's tutorials work with ours, as they are.

use iothubdm_proto::v1::{AttemptState, Dialect, EvidenceGrade};
use iothubdm_tests::{
    BackEnd, Behavior, DeviceSetup, PATIENCE, Script, TutorialDevice, World, eventually,
};
use jiff::Timestamp;
use serde_json::json;

#[tokio::test]
async fn our_service_drives_the_node_tutorials_device_and_believes_no_more_than_it_says() {
    let world = World::builder().bare_device("node").start().await;
    let device = TutorialDevice::start(&world.emulator, "node", Script::Node).await;
    let attempt = world.reboot_to_end("node").await;
    assert_eq!(attempt.state(), AttemptState::Succeeded, "{attempt:?}");
    let evidence = attempt.evidence.expect("a success has its evidence");
    assert_eq!(evidence.grade(), EvidenceGrade::Claimed);
    assert_eq!(device.calls(), 1);
}

#[tokio::test]
async fn our_service_finds_out_that_a_device_knows_the_python_tutorials_method_alone() {
    let world = World::builder().bare_device("python").start().await;
    let device = TutorialDevice::start(&world.emulator, "python", Script::Python).await;
    let attempt = world.reboot_to_end("python").await;
    assert_eq!(attempt.state(), AttemptState::Succeeded, "{attempt:?}");
    assert_eq!(attempt.dialect(), Dialect::TutorialPython);
    assert_eq!(device.calls(), 1);
}

#[tokio::test]
async fn the_node_tutorials_back_end_drives_our_gateway() {
    let setup = DeviceSetup::new("pump-1", Behavior::WellBehaved);
    let world = World::with_device(setup).await;
    let back_end = BackEnd::new(&world.emulator);

    let before = back_end.last_reboot("pump-1").await;
    let call = json!({ "methodName": "reboot", "payload": null, "timeoutInSeconds": 30 });
    let answer = back_end.call("pump-1", &call).await;
    assert_eq!(answer["status"], 200, "{answer}");

    let after = eventually("lastReboot moves", PATIENCE, async || {
        back_end
            .last_reboot("pump-1")
            .await
            .filter(|time| Some(time) != before.as_ref())
    })
    .await;
    after
        .parse::<Timestamp>()
        .expect("the tutorial reads an ISO 8601 time");
    assert_eq!((world.boots("pump-1"), world.commands("pump-1")), (2, 1));
}
