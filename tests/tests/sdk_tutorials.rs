//! Microsoft's tutorials, run by Microsoft's SDKs, with our services at the other end.

use std::path::Path;

use iothubdm_proto::v1::{AttemptState, EvidenceGrade};
use iothubdm_tests::{Behavior, DeviceSetup, Language, PATIENCE, World, eventually, run_script};

async fn run(language: Language, script: &[&str], world: &World) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if let Err(error) = run_script(language, script, &world.emulator, folder).await {
        panic!("{error:#}");
    }
}

/// A tutorial's back end reboots a device of our gateway, really and once.
async fn our_gateway_obeys(language: Language, script: &[&str]) {
    let setup = DeviceSetup::new("pump-1", Behavior::WellBehaved);
    let world = World::with_device(setup).await;
    run(language, script, &world).await;
    // The sample's property is reported when the reboot starts.
    eventually("the device boots again", PATIENCE, async || {
        (world.boots("pump-1") == 2).then_some(())
    })
    .await;
    assert_eq!(world.commands("pump-1"), 1);
}

/// Our service reboots a tutorial's device, and believes no more than it says.
async fn our_service_drives(language: Language, script: &[&str]) {
    let world = World::builder().bare_device("tutorial").start().await;
    let reboot = async {
        world.emulator.callable("tutorial").await;
        world.reboot_to_end("tutorial").await
    };
    let ((), attempt) = tokio::join!(run(language, script, &world), reboot);
    assert_eq!(attempt.state(), AttemptState::Succeeded, "{attempt:?}");
    let evidence = attempt.evidence.expect("a success has its evidence");
    assert_eq!(evidence.grade(), EvidenceGrade::Claimed);
}

#[tokio::test]
async fn the_node_articles_back_end_reboots_a_device_of_our_gateway() {
    let script = ["reboot.js", "back-end", "pump-1", "lastReboot"];
    our_gateway_obeys(Language::Node, &script).await;
}

#[tokio::test]
async fn the_node_samples_back_end_reboots_a_device_of_our_gateway() {
    let script = ["reboot.js", "back-end", "pump-1", "startedRebootTime"];
    our_gateway_obeys(Language::Node, &script).await;
}

#[tokio::test]
async fn the_python_articles_back_end_reboots_a_device_of_our_gateway() {
    our_gateway_obeys(Language::Python, &["reboot.py", "back-end", "pump-1"]).await;
}

#[tokio::test]
async fn our_service_drives_the_node_articles_device() {
    let script = ["reboot.js", "device", "tutorial", "lastReboot"];
    our_service_drives(Language::Node, &script).await;
}

#[tokio::test]
async fn our_service_drives_the_node_samples_device() {
    let script = ["reboot.js", "device", "tutorial", "startedRebootTime"];
    our_service_drives(Language::Node, &script).await;
}

#[tokio::test]
async fn our_service_drives_the_python_articles_device() {
    our_service_drives(Language::Python, &["reboot.py", "device", "tutorial"]).await;
}
