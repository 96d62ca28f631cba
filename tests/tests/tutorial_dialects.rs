//! Devices and back ends that follow Microsoft's tutorials work with ours, as they are.

use iothubdm_proto::v1::{AttemptState, Dialect, EvidenceGrade, RebootAttempt};
use iothubdm_tests::{
    BackEnd, Behavior, DeviceSetup, PATIENCE, Script, TutorialDevice, World, eventually,
};
use jiff::Timestamp;
use serde_json::json;

/// Every dialect: how its device behaves, and what the twin tag calls it.
const DIALECTS: [(Script, Dialect, &str); 5] = [
    (Script::Node, Dialect::Tutorial, "tutorial"),
    (Script::DotNet, Dialect::Tutorial, "tutorial"),
    (Script::Java, Dialect::TutorialJava, "tutorial-java"),
    (Script::Python, Dialect::TutorialPython, "tutorial-python"),
    (Script::SdkSample, Dialect::SdkSample, "sdk-sample"),
];

/// Reboots a device, and checks that no more is believed than it says.
async fn claims(world: &World, device: &str) -> RebootAttempt {
    let attempt = world.reboot_to_end(device).await;
    assert_eq!(attempt.state(), AttemptState::Succeeded, "{attempt:?}");
    let evidence = attempt
        .evidence
        .as_ref()
        .expect("a success has its evidence");
    assert_eq!(evidence.grade(), EvidenceGrade::Claimed);
    attempt
}

#[tokio::test]
async fn our_service_drives_each_tutorials_device_and_learns_how_it_speaks() {
    let world = World::builder().start().await;
    for (script, dialect, _) in DIALECTS {
        let id = format!("{script:?}");
        let device = TutorialDevice::start(&world.emulator, &id, script).await;
        // Of the first time only a method by another name tells how it speaks …
        claims(&world, &id).await;
        let calls = world.emulator.counters().method_calls.total;
        // … and afterwards what it has reported.
        let learned = claims(&world, &id).await;
        assert_eq!(learned.dialect(), dialect, "{script:?}");
        assert_eq!(device.calls(), 2, "{script:?}");
        assert_eq!(
            world.emulator.counters().method_calls.total,
            calls + 1,
            "{script:?} is asked by the right name at once"
        );
    }
}

#[tokio::test]
async fn a_tag_tells_how_a_device_speaks_that_has_said_nothing_yet() {
    let world = World::builder().start().await;
    let back_end = BackEnd::new(&world.emulator);
    for (script, dialect, tag) in DIALECTS {
        let id = format!("{script:?}");
        let device = TutorialDevice::start(&world.emulator, &id, script).await;
        let tags = json!({ "tags": { "iothubDM": { "dialect": tag } } });
        back_end.patch_twin(&id, &tags).await;
        let before = world.emulator.counters().method_calls.total;
        let attempt = claims(&world, &id).await;
        assert_eq!(attempt.dialect(), dialect, "{script:?}");
        assert_eq!(device.calls(), 1, "{script:?}");
        assert_eq!(
            world.emulator.counters().method_calls.total,
            before + 1,
            "{script:?}"
        );
    }
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
