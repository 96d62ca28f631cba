//! What local devices say to the hub and hear from it: nothing that was acknowledged is lost, whatever
//! dies; nothing is out of order; and no device writes where it has no business.

use std::time::Duration;

use hub_emulator::{ConnectRefusal, Fault, FaultId, Times};
use iothubdm_tests::{BackEnd, Behavior, DeviceSetup, PATIENCE, Pump, World};
use serde_json::{Value, json};
use tokio::time;

const DEVICE: &str = "pump-1";

/// A world whose device is the test itself.
async fn world() -> World {
    let mut world = World::with_device(DeviceSetup::new(DEVICE, Behavior::WellBehaved)).await;
    world.stop_device(DEVICE).await;
    world
}

/// Restarts the gateway with the hub away.
async fn away(world: &mut World) -> FaultId {
    world.kill_gateway().await;
    let refuse = Fault::RefuseConnect {
        device: None,
        refusal: ConnectRefusal::ServerUnavailable,
    };
    let fault = world.emulator.faults().inject(refuse, Times::Always);
    world.start_gateway().await;
    fault
}

#[tokio::test]
async fn telemetry_arrives_with_its_properties() {
    let world = world().await;
    let mut pump = Pump::connect(&world, DEVICE).await;
    pump.says("telemetry", "1").await;
    pump.says("telemetry/level=high&$.ct=application%2Fjson", "2")
        .await;
    pump.acknowledged(2).await;
    world.all_arrived(&[1, 2]).await;
    let messages = world.emulator.telemetry();
    assert!(messages[0].properties.is_empty());
    assert_eq!(messages[1].properties.get("level"), Some("high"));
    assert_eq!(messages[1].properties.get("$.ct"), Some("application/json"));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_and_the_hubs_absence_in_order() {
    let mut world = world().await;
    let fault = away(&mut world).await;
    let mut pump = Pump::connect(&world, DEVICE).await;
    for number in 0..40_u64 {
        pump.says("telemetry", number.to_string()).await;
    }
    pump.acknowledged(40).await;
    pump.says("twin/reported", r#"{"level":7}"#).await;
    pump.says("twin/reported", r#"{"level":8,"pump":"on"}"#)
        .await;
    pump.acknowledged(2).await;
    world.kill_gateway().await;
    world.start_gateway().await;
    let mut pump = Pump::connect(&world, DEVICE).await;
    for number in 40..60_u64 {
        pump.says("telemetry", number.to_string()).await;
    }
    pump.acknowledged(20).await;
    assert!(world.arrived().is_empty(), "the hub is away");

    world.emulator.faults().remove(fault);
    let expected: Vec<_> = (0..60).collect();
    world.all_arrived(&expected).await;
    let twin = reported(&world, |device| device["level"] == 8).await;
    assert_eq!(twin, json!({ "level": 8, "pump": "on" }));
}

/// The device's own reported properties, once they are as wanted.
async fn reported(world: &World, wanted: impl Fn(&Value) -> bool) -> Value {
    let own = |twin: &Value| twin["properties"]["reported"]["device"].clone();
    let twin = world.emulator.watch_twin(DEVICE, |twin| wanted(&own(twin)));
    let twin = time::timeout(PATIENCE, twin).await;
    own(&twin.unwrap_or_else(|_| panic!("not reported; logs:\n{}", world.logs())))
}

#[tokio::test]
async fn a_device_reports_below_its_own_key_and_nowhere_else() {
    let world = world().await;
    let mut pump = Pump::connect(&world, DEVICE).await;
    pump.hears("bridge/refused").await;
    pump.says(
        "twin/reported",
        r#"{"iothubDM":{"reboot":{"state":"SUCCEEDED"}},"a":{"b":1,"c":2}}"#,
    )
    .await;
    pump.says("twin/reported", r#"{"a":{"b":null}}"#).await;
    let own = reported(&world, |own| own["a"]["c"] == 2 && own["a"]["b"].is_null()).await;
    assert_eq!(
        own["iothubDM"]["reboot"]["state"], "SUCCEEDED",
        "it is only a name there"
    );
    let twin = world.emulator.twin(DEVICE);
    let gateways = &twin["properties"]["reported"]["iothubDM"]["reboot"];
    assert!(gateways["capabilities"].is_object() && gateways["state"].is_null());

    for nonsense in ["", "7", "{\"a\":", r#"{"$a":1}"#, r#"{"a.b":1}"#] {
        pump.says("twin/reported", nonsense).await;
        assert_eq!(
            pump.told("bridge/refused").await["topic"],
            "twin/reported",
            "{nonsense}"
        );
    }
    let large = json!({ "a": "x".repeat(30_000) }).to_string();
    pump.says("twin/reported", large).await;
    assert!(
        pump.told("bridge/refused").await["why"]
            .as_str()
            .expect("why")
            .contains("bytes")
    );
    pump.says("telemetry", vec![b'7'; 257 * 1024]).await;
    assert!(
        pump.told("bridge/refused").await["why"]
            .as_str()
            .expect("why")
            .contains("bytes")
    );
    // None of that stood in the way of what is right.
    pump.says("twin/reported", r#"{"a":9}"#).await;
    reported(&world, |own| own["a"] == 9).await;
}

#[tokio::test]
async fn a_device_has_its_newest_desired_properties_whenever_it_connects() {
    let mut world = world().await;
    let back_end = BackEnd::new(&world.emulator);
    let desire = |rate: u64| json!({ "properties": { "desired": { "device": { "rate": rate }, "other": 1 } } });
    back_end.patch_twin(DEVICE, &desire(5)).await;
    let mut pump = Pump::connect(&world, DEVICE).await;
    pump.hears("twin/desired").await;
    while pump.told("twin/desired").await["properties"] != json!({ "rate": 5 }) {}
    back_end.patch_twin(DEVICE, &desire(6)).await;
    let told = pump.told("twin/desired").await;
    assert_eq!(
        told["properties"],
        json!({ "rate": 6 }),
        "nothing else, and no iothubDM"
    );
    drop(pump);

    // The device reads what is known while the hub is away, over a restart of the gateway too.
    away(&mut world).await;
    let mut pump = Pump::connect(&world, DEVICE).await;
    pump.says("twin/desired", "{}").await;
    pump.hears("twin/desired").await;
    assert_eq!(pump.told("twin/desired").await, told);
}

#[tokio::test]
async fn a_full_backlog_drops_the_oldest_and_says_how_many() {
    let world = World::builder()
        .device(DeviceSetup::new(DEVICE, Behavior::WellBehaved))
        .local_mqtt("telemetry_messages = 10\n");
    let mut world = world.start().await;
    world.stop_device(DEVICE).await;
    let fault = away(&mut world).await;
    let mut pump = Pump::connect(&world, DEVICE).await;
    pump.hears("bridge/status").await;
    while pump.told("bridge/status").await["connected"] != false {}
    for number in 0..25_u64 {
        pump.says("telemetry", number.to_string()).await;
    }
    while pump.told("bridge/status").await["telemetryDropped"] != 15 {}
    world.emulator.faults().remove(fault);
    let expected: Vec<_> = (15..25).collect();
    world.all_arrived(&expected).await;
    let counted = world.emulator.watch_twin(DEVICE, |twin| {
        twin["properties"]["reported"]["iothubDM"]["bridge"]["telemetryDropped"] == 15
    });
    time::timeout(Duration::from_secs(30), counted)
        .await
        .expect("it is counted");
}
