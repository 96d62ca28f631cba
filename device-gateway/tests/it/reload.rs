//! Other settings while the gateway serves.

use std::fs;

use device_gateway::ReloadError;
use rcgen::{CertificateParams, KeyPair};

use crate::{
    device::Script,
    world::{DEVICE, World, within},
};

const SETTLE: &str = "settle = \"50ms\"";

#[tokio::test]
async fn a_device_that_does_not_change_keeps_its_session() {
    let world = World::start().await;
    let more = world.config_otherwise("", "", &["pump-2", "pump-3"]);
    let changes = world.reload(more).await.unwrap();
    assert_eq!((changes.added.len(), changes.unchanged), (2, 1));
    for device in ["pump-2", "pump-3"] {
        within(world.hub.callable(device)).await;
    }
    let connects = world.hub.counters().connects.total;
    assert_eq!(connects, 3, "each connected once");

    let fewer = world.config_otherwise("", "", &["pump-3"]);
    let changes = world.reload(fewer).await.unwrap();
    assert_eq!((changes.removed.len(), changes.unchanged), (1, 2));
    within(
        world
            .hub
            .watch_twin("pump-2", |twin| twin["connectionState"] == "Disconnected"),
    )
    .await;

    let again = world.config_otherwise("", "", &["pump-3", "pump-2"]);
    let changes = world.reload(again).await.unwrap();
    assert_eq!((changes.added.len(), changes.unchanged), (1, 2));
    within(world.hub.counted(|counters| counters.connects.total == 4)).await;
    world.reboot().await;
    world.state("SUCCEEDED").await;
    assert_eq!(world.hub.counters().connects.total, 4);
}

#[tokio::test]
async fn a_changed_device_ends_its_attempt_by_the_settings_it_began_with() {
    let world = World::start().await;
    world.device.follow(Script::Waits);
    world.reboot().await;
    within(world.device.ordered()).await;
    for settle in ["1ms", "2ms"] {
        let otherwise = format!("settle = \"{settle}\"");
        let otherwise = world.config_otherwise(SETTLE, &otherwise, &[]);
        let changes = world.reload(otherwise).await.unwrap();
        assert_eq!(changes.changed.len(), 1, "{settle}");
    }
    world.state("REBOOTING").await;
    assert_eq!(world.hub.counters().connects.total, 1, "it goes on");
    world.device.boot(Some(world.device.orders()[0].id));
    world.state("SUCCEEDED").await;
    // Now it begins anew, and once only.
    within(world.hub.counted(|counters| counters.connects.total == 2)).await;
    world.connected().await;
    world.device.follow(Script::Reboots);
    let (status, _) = world.call("reboot", serde_json::Value::Null).await;
    assert_eq!(status, 200);
    world
        .reported(|reboot| reboot["counters"]["total"] == 2 && reboot["state"] == "SUCCEEDED")
        .await;
    assert_eq!(world.device.orders().len(), 2);
    assert_eq!(world.hub.counters().connects.total, 2);
}

#[tokio::test]
async fn a_removed_device_ends_its_attempt_and_the_hub_is_told() {
    let world = World::start().await;
    world.device.follow(Script::Waits);
    world.reboot().await;
    within(world.device.ordered()).await;
    let mut without = world.config_otherwise("", "", &["pump-2"]);
    without
        .devices
        .retain(|device| device.id.as_str() != DEVICE);
    let changes = world.reload(without).await.unwrap();
    assert_eq!(changes.removed.len(), 1);
    world.device.boot(Some(world.device.orders()[0].id));
    world.state("SUCCEEDED").await;
    within(
        world
            .hub
            .watch_twin(DEVICE, |twin| twin["connectionState"] == "Disconnected"),
    )
    .await;
}

#[tokio::test]
async fn what_needs_a_restart_changes_nothing() {
    let world = World::start().await;
    for (from, to, key) in [
        (
            "state_dir = \"state\"",
            "state_dir = \"elsewhere\"",
            "state_dir",
        ),
        (
            "[hub]",
            "[local_mqtt]\nlisten = \"127.0.0.1:0\"\n[hub]",
            "local_mqtt",
        ),
        (
            "[hub]",
            "[metrics]\nlisten = \"127.0.0.1:0\"\n[hub]",
            "metrics.listen",
        ),
        ("[hub]", "[log]\nformat = \"json\"\n[hub]", "log.format"),
    ] {
        let wanted = world.config_otherwise(from, to, &["pump-2"]);
        let refused = world.reload(wanted).await.unwrap_err();
        assert!(
            matches!(refused, ReloadError::NeedsRestart(k) if k == key),
            "{refused}"
        );
    }
    let wanted = world.config_otherwise("ca.pem", "missing.pem", &["pump-2"]);
    let refused = world.reload(wanted).await.unwrap_err();
    assert!(matches!(refused, ReloadError::Tls(_)), "{refused}");
    world.reboot().await;
    world.state("SUCCEEDED").await;
    assert_eq!(world.hub.counters().connects.total, 1);
}

#[tokio::test]
async fn what_all_devices_stand_on_begins_all_of_them_anew() {
    let world = World::start().await;
    let wanted = world.config_otherwise("edge-1", "edge-2", &[]);
    let changes = world.reload(wanted).await.unwrap();
    assert_eq!(changes.changed.len(), 1);
    within(world.hub.watch_twin(DEVICE, |twin| {
        twin["properties"]["reported"]["iothubDM"]["gateway"]["id"] == "edge-2"
    }))
    .await;
}

#[tokio::test]
async fn an_authority_that_is_replaced_in_its_file_is_taken_up() {
    let world = World::start().await;
    let same = world.config_otherwise("", "", &[]);
    let changes = world.reload(same.clone()).await.unwrap();
    assert_eq!(changes.unchanged, 1, "the same authority changes nothing");

    let authority = world.state_dir().join("ca.pem");
    let good = fs::read_to_string(&authority).unwrap();
    let own = KeyPair::generate().unwrap();
    let other = CertificateParams::default()
        .self_signed(&own)
        .unwrap()
        .pem();
    fs::write(&authority, other).unwrap();
    let changes = world.reload(same.clone()).await.unwrap();
    assert_eq!(changes.changed.len(), 1);
    let gone = |twin: &serde_json::Value| twin["connectionState"] == "Disconnected";
    within(world.hub.watch_twin(DEVICE, gone)).await;

    fs::write(&authority, good).unwrap();
    world.reload(same).await.unwrap();
    world.connected().await;
}
