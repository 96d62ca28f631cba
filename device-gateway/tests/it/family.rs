//! The gateway's own machine is a device too, and the last one to be rebooted.

use serde_json::{Value, json};

use crate::{
    device::Script,
    world::{DEVICE, HOST, ID, World, within},
};

/// A gateway whose one device has been told to reboot, and is still on its way down.
async fn busy() -> World {
    let mut world = World::prepare("block_interval = \"50ms\"", Default::default()).await;
    world.start_with(world.config_with_host());
    world.connected().await;
    within(world.hub.callable(HOST)).await;
    world.device.follow(Script::Waits);
    world.reboot().await;
    within(world.device.ordered()).await;
    world
}

async fn reboot_host(world: &World, payload: Value) -> i64 {
    within(world.service.call(HOST, "reboot", payload)).await.0
}

#[tokio::test]
async fn the_host_waits_for_a_device_that_reboots_and_names_it() {
    let world = busy().await;
    let request = json!({ "requestId": ID.replace('1', "2") });
    assert_eq!(reboot_host(&world, request).await, 202);
    let blocked = world
        .reported_of(HOST, |reboot| reboot["state"] == "BLOCKED")
        .await;
    let child = format!("child-{DEVICE}");
    assert!(blocked["blockers"][&child].is_object(), "{blocked}");
    assert_eq!(world.host.orders(), []);

    world.device.boot(Some(ID.parse().unwrap()));
    let device = world.state("SUCCEEDED").await;
    let host = world
        .reported_of(HOST, |reboot| reboot["state"] == "SUCCEEDED")
        .await;
    assert_eq!(
        (world.host.orders().len(), world.device.orders().len()),
        (1, 1)
    );
    let time = |report: &Value, state: &str| {
        let time = report["timeline"][state].as_str().unwrap();
        time.parse::<jiff::Timestamp>().unwrap()
    };
    let ended = time(&device, "SUCCEEDED");
    assert!(time(&host, "REBOOTING") >= ended, "{host} before {device}");
}

#[tokio::test]
async fn a_host_that_must_reboot_whatever_is_under_way_does_not_wait() {
    let world = busy().await;
    let request = json!({ "requestId": ID.replace('1', "2"), "force": true });
    assert_eq!(reboot_host(&world, request).await, 202);
    within(world.host.ordered()).await;
    assert_eq!(world.device.orders().len(), 1);
    // While it goes down, no other device's reboot begins, and this one's is not forgotten.
    let open = world.reported(|reboot| reboot["requestId"] == ID).await;
    assert!(!open["state"].is_null());
}
