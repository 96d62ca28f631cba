//! A device whose task panics: it begins again, and its journal decides.

use std::time::Duration;

use serde_json::Value;

use crate::{
    device::Script,
    world::{HOST, ID, World, within},
};

#[tokio::test]
async fn a_device_whose_task_panics_goes_on_and_gets_no_second_command() {
    let mut world = World::prepare("", hub_emulator::EmulatorConfig::default()).await;
    world.start_with(world.config_with_host());
    world.connected().await;
    within(world.hub.callable(HOST)).await;
    let connects = || world.hub.counters().connects_accepted.total;
    assert_eq!(connects(), 2);
    world.device.follow(Script::PanicsAfter);
    world.reboot().await;
    within(world.device.ordered()).await;
    within(async {
        while connects() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    world.connected().await;
    world.goes_on_rebooting().await;
    assert_eq!(world.device.orders().len(), 1);

    world.device.follow(Script::Reboots);
    let (status, _) = world.call("rebootDevice", Value::Null).await;
    assert_eq!(status, 200);
    world
        .reported(|reboot| reboot["requestId"] != ID && reboot["state"] == "SUCCEEDED")
        .await;
    assert_eq!(connects(), 3, "the others notice nothing");
}

#[tokio::test]
async fn a_command_that_may_have_left_is_not_given_again_after_a_panic() {
    let world = World::start_hurried().await;
    world.device.follow(Script::PanicsBefore);
    world.reboot().await;
    let reported = world.state("FAILED").await;
    assert_eq!(reported["error"]["code"], "NO_SHUTDOWN");
    assert_eq!(world.device.orders().len(), 0);
}
