//! A gateway of many devices: they connect no faster than the smallest hub allows, and all of them can
//! reboot at one moment. A thousand of them are measured by `cargo xtask bench --only gateway`.

use std::sync::Arc;

use device_gateway::{Gateway, config::Config};
use futures_util::future;
use hub_emulator::EmulatorConfig;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    device::ScriptedDevice,
    world::{World, within},
};

const DEVICES: usize = 120;

/// The new connections that the smallest hub takes in a second.
const CONNECTS: usize = 100;

/// Their limits are long enough for all of them to be at it at one moment.
fn config(world: &World, ids: &[String]) -> Config {
    let folder = world.state_dir();
    std::fs::write(folder.join("ca.pem"), world.hub.ca_pem()).unwrap();
    let mut text = format!(
        "state_dir = \"state\"\n[hub]\nmqtt_port = {}\nca_file = \"ca.pem\"\n\
         [timing]\nanswer_grace = \"50ms\"\n",
        world.hub.mqtt_port()
    );
    for id in ids {
        let connection = world.hub.device(id);
        text += &format!(
            "[[device]]\nid = \"{id}\"\nconnection_string = \"{connection}\"\nsettle = \"50ms\"\n\
             [device.command]\nbaseline = [\"false\"]\ntrigger = [\"false\"]\nobserve = [\"false\"]\n"
        );
    }
    Config::parse(&text, folder).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_devices_connect_in_turn_and_all_reboot_once() {
    let world = World::prepare("", EmulatorConfig::default()).await;
    let ids: Vec<_> = (0..DEVICES).map(|number| format!("d{number}")).collect();
    let config = config(&world, &ids);
    let devices: Vec<_> = ids
        .iter()
        .map(|_| Arc::new(ScriptedDevice::default()))
        .collect();
    let mut gateway = Gateway::bind(config).await.unwrap();
    for (id, device) in ids.iter().zip(&devices) {
        gateway = gateway.with_driver(id.parse().unwrap(), device.clone());
    }
    world.hub.reset_counters();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(gateway.serve(|| {}, shutdown.clone()));
    for id in &ids {
        within(world.hub.callable(id)).await;
    }
    let counters = world.hub.counters();
    assert_eq!(counters.connects.total, counters.connects_accepted.total);
    assert_eq!(counters.connects.total, DEVICES as u64);
    assert_eq!(counters.mqtt_connections.total, DEVICES as u64);
    // A busy machine lets some of them wait and arrive together.
    assert!(
        counters.mqtt_connections.busiest_second <= CONNECTS * 3 / 2,
        "{counters:?}"
    );

    let mut asked = Vec::new();
    for id in &ids {
        let request = json!({ "requestId": Uuid::new_v4().to_string() });
        let service = world.service.clone();
        asked.push(async move { service.call(id, "reboot", request).await.0 });
    }
    let answers = within(future::join_all(asked)).await;
    assert!(answers.iter().all(|status| *status == 202), "{answers:?}");
    for id in &ids {
        let at = "/properties/reported/iothubDM/reboot/state";
        let ended = |twin: &serde_json::Value| twin.pointer(at) == Some(&json!("SUCCEEDED"));
        within(world.hub.watch_twin(id, ended)).await;
    }
    for device in &devices {
        assert_eq!(device.orders().len(), 1);
    }
    shutdown.cancel();
    within(serving).await.unwrap().unwrap();
}
