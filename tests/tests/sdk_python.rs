//! Microsoft's Python SDKs, unmodified, against the emulator: one script of `sdk/python` a test.

use std::path::Path;

use hub_emulator::{Emulator, EmulatorConfig};
use iothubdm_tests::{Language, run_script, run_script_over_restarts};

async fn passes(script: &[&str]) {
    let emulator = Emulator::start(EmulatorConfig::default())
        .await
        .expect("start the emulator");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if let Err(error) = run_script(Language::Python, script, &emulator, folder).await {
        panic!("{error:#}");
    }
}

#[tokio::test]
async fn identities_are_made_read_changed_and_removed() {
    passes(&["identities.py"]).await;
}

#[tokio::test]
async fn twins_go_both_ways() {
    passes(&["twins.py"]).await;
}

#[tokio::test]
async fn methods_carry_every_payload_and_every_error() {
    passes(&["methods.py"]).await;
}

#[tokio::test]
async fn queries_come_page_by_page() {
    passes(&["queries.py"]).await;
}

#[tokio::test]
async fn modules_are_devices_of_their_own() {
    passes(&["modules.py"]).await;
}

#[tokio::test]
async fn messages_arrive_with_their_properties() {
    passes(&["telemetry.py"]).await;
}

#[tokio::test]
async fn connections_that_end_lose_nothing() {
    passes(&["connections.py"]).await;
}

#[tokio::test]
async fn websockets_that_end_lose_nothing() {
    passes(&["connections.py", "websockets"]).await;
}

#[tokio::test]
async fn messages_from_the_cloud_wait_for_their_device() {
    passes(&["cloud_to_device.py"]).await;
}

#[tokio::test]
async fn jobs_reach_many_devices() {
    passes(&["jobs.py"]).await;
}

#[tokio::test]
async fn configurations_reach_the_devices_they_fit() {
    passes(&["configurations.py"]).await;
}

#[tokio::test]
async fn a_certificate_opens_the_door() {
    passes(&["x509.py"]).await;
}

#[tokio::test]
async fn a_certificate_opens_the_door_of_websockets() {
    passes(&["x509.py", "websockets"]).await;
}

#[tokio::test]
async fn a_device_learns_which_hub_is_its_own() {
    passes(&["provisioning.py"]).await;
}

#[tokio::test]
async fn a_device_learns_it_over_websockets() {
    passes(&["provisioning.py", "websockets"]).await;
}

#[tokio::test]
async fn another_port_is_found_by_whom_the_emulators_greeting_says() {
    passes(&["ports.py"]).await;
}

#[tokio::test]
async fn a_hub_that_restarts_remembers_its_subscribers() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let script = ["restart.py"];
    if let Err(error) = run_script_over_restarts(Language::Python, &script, folder).await {
        panic!("{error:#}");
    }
}

#[tokio::test]
async fn the_reboot_tutorial_works_as_written() {
    passes(&["reboot.py"]).await;
}
