//! Devices at a real Mosquitto instead of the gateway's endpoint, by the settings of `docs/examples`.

use std::{path::Path, time::Duration};

use device_gateway::{config::Config, inspect};
use hub_emulator::{Emulator, EmulatorConfig};
use iothubdm_proto::v1::{AttemptState, EvidenceGrade, RebootAttempt};
use iothubdm_tests::{Behavior, DeviceSetup, Mosquitto, PATIENCE, Pump, World, eventually};
use rumqttc::Packet;
use serde_json::{Value, json};

const DEVICE: &str = "pump-1";
const LIAR: &str = "pump-2";
const BRIDGE: &str = "zigbee-1";
const STATE: &str = "zigbee2mqtt/bridge/state";

#[track_caller]
fn failed(attempt: &RebootAttempt, code: &str) {
    assert_eq!(attempt.state(), AttemptState::Failed, "{attempt:?}");
    let error = attempt.error.as_ref().expect("an error");
    assert_eq!(error.code, code, "{attempt:?}");
}

#[track_caller]
fn proved(attempt: &RebootAttempt) {
    assert_eq!(attempt.state(), AttemptState::Succeeded, "{attempt:?}");
    let evidence = attempt.evidence.as_ref().expect("evidence");
    assert_eq!(evidence.grade(), EvidenceGrade::Healthy);
}

fn liar() -> DeviceSetup {
    DeviceSetup::new(LIAR, Behavior::AckAndNothing).with("go_down_limit", "4s")
}

fn slow() -> DeviceSetup {
    DeviceSetup::new(DEVICE, Behavior::WellBehaved).boot_time(Duration::from_secs(3))
}

#[tokio::test]
async fn a_reboot_through_mosquitto_is_proved_and_a_lie_is_not() {
    let broker = Mosquitto::start(&[DEVICE, LIAR]).await;
    let world = World::builder()
        .device(DeviceSetup::new(DEVICE, Behavior::WellBehaved))
        .device(liar())
        .broker(&broker)
        .start()
        .await;
    proved(&world.reboot_to_end(DEVICE).await);
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 1));

    failed(&world.reboot_to_end(LIAR).await, "NO_SHUTDOWN");
    assert_eq!((world.boots(LIAR), world.commands(LIAR)), (1, 1));
}

/// The broker ends in the middle of two attempts: one device does nothing, the other is about to boot.
/// Neither verdict is another than without.
async fn the_broker_ends_in_the_middle(end: impl AsyncFnOnce(&mut Mosquitto)) {
    let mut broker = Mosquitto::start(&[DEVICE, LIAR]).await;
    let world = World::builder()
        .device(slow())
        .device(liar())
        .broker(&broker)
        .start()
        .await;
    let lie = world.reboot(LIAR).await.expect("it is taken");
    let honest = world.reboot(DEVICE).await.expect("it is taken");
    world.commanded(LIAR).await;
    world.commanded(DEVICE).await;
    end(&mut broker).await;
    proved(world.watch_to_end(&honest.name).await.verdict());
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 1));
    let ended = world.watch_to_end(&lie.name).await;
    failed(ended.verdict(), "NO_SHUTDOWN");
    assert_eq!((world.boots(LIAR), world.commands(LIAR)), (1, 1));
}

#[tokio::test]
async fn a_broker_that_restarts_in_the_middle_changes_no_verdict() {
    the_broker_ends_in_the_middle(Mosquitto::restart).await;
}

#[tokio::test]
async fn a_broker_that_dies_in_the_middle_changes_no_verdict() {
    the_broker_ends_in_the_middle(Mosquitto::crash).await;
}

#[tokio::test]
async fn a_gateway_that_comes_later_asks_for_the_birth() {
    let broker = Mosquitto::start(&[DEVICE]).await;
    let mut world = World::builder()
        .device(DeviceSetup::new(DEVICE, Behavior::WellBehaved))
        .broker(&broker)
        .start()
        .await;
    // All that the broker has of it is old; only its answer is news.
    world.kill_gateway().await;
    world.start_gateway().await;
    // It is refused until the device has answered.
    let asked = eventually("a reboot is taken", PATIENCE, async || {
        let asked = world.reboot(DEVICE).await.ok()?;
        let refused = asked.state() == AttemptState::Rejected;
        (!refused).then_some(asked)
    })
    .await;
    proved(world.watch_to_end(&asked.name).await.verdict());
}

/// A bridge takes a command and does nothing, and the broker ends. It publishes a last will for the
/// bridge if it can, the bridge comes back, and it never went.
async fn a_bridge_lies(end: impl AsyncFnOnce(&mut Mosquitto)) {
    let mut broker = Mosquitto::start(&[BRIDGE]).await;
    let bridge = DeviceSetup::new(BRIDGE, Behavior::WellBehaved)
        .with("go_down_limit", "4s")
        .table("preset = \"zigbee2mqtt\"\n");
    let mut world = World::builder()
        .device(bridge)
        .broker(&broker)
        .start_without_waiting()
        .await;
    world.stop_device(BRIDGE).await;
    let mut bridge = online(&world).await;
    let taken = eventually("a restart is taken", PATIENCE, async || {
        // It is refused until the bridge was heard.
        let asked = world.reboot(BRIDGE).await.ok()?;
        (asked.state() != AttemptState::Rejected).then_some(asked)
    });
    let (asked, ()) = tokio::join!(taken, answers(&mut bridge, Some("restart")));
    bridge.acknowledged(1).await;
    end(&mut broker).await;
    // What it says on its new connection may come before the gateway listens again.
    let mut bridge = online(&world).await;
    let ended = tokio::select! {
        ended = world.watch_to_end(&asked.name) => ended,
        () = answers(&mut bridge, None) => panic!("it answers as long as it is asked"),
    };
    failed(ended.verdict(), "NO_SHUTDOWN");
}

#[tokio::test]
async fn a_bridge_that_lies_is_not_believed_when_the_broker_restarts() {
    a_bridge_lies(Mosquitto::restart).await;
}

#[tokio::test]
async fn a_bridge_that_lies_is_not_believed_when_the_broker_dies() {
    a_bridge_lies(Mosquitto::crash).await;
}

/// A bridge that says that it works.
async fn online(world: &World) -> Pump {
    let will = Some((STATE, r#"{"state":"offline"}"#));
    let bridge = Pump::connect_with(world, BRIDGE, will).await;
    bridge.publishes(STATE, r#"{"state":"online"}"#).await;
    bridge.subscribes("zigbee2mqtt/#").await;
    bridge
}

/// Answers that all is well, whatever a bridge is asked, and ends with a certain request.
async fn answers(bridge: &mut Pump, last: Option<&str>) {
    loop {
        let packet = bridge.packet().await.expect("it stays connected");
        let Packet::Publish(publish) = packet else {
            continue;
        };
        let Some(what) = publish.topic.strip_prefix("zigbee2mqtt/bridge/request/") else {
            continue;
        };
        let request: Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
        let answer = json!({
            "status": "ok",
            "data": { "healthy": true },
            "transaction": request["transaction"],
        });
        let topic = format!("zigbee2mqtt/bridge/response/{what}");
        bridge.publishes(&topic, answer.to_string()).await;
        if last == Some(what) {
            return;
        }
    }
}

#[tokio::test]
async fn telemetry_waits_at_the_broker_for_the_gateway_and_nobody_speaks_for_another() {
    let mut broker = Mosquitto::start(&[DEVICE, LIAR]).await;
    let mut world = World::builder()
        .device(DeviceSetup::new(DEVICE, Behavior::WellBehaved))
        .device(DeviceSetup::new(LIAR, Behavior::WellBehaved))
        .broker(&broker)
        .start()
        .await;
    for id in [DEVICE, LIAR] {
        world.stop_device(id).await;
    }
    let mut pump = Pump::connect(&world, DEVICE).await;
    pump.says("telemetry", "0").await;
    world.all_arrived(&[0]).await;
    world.kill_gateway().await;
    for number in 1..30_u64 {
        pump.says("telemetry/level=high", number.to_string()).await;
    }
    pump.acknowledged(30).await;
    let mut other = Pump::connect(&world, LIAR).await;
    for foreign in [
        "dm/pump-1/telemetry",
        "dm/pump-1/twin/reported",
        "dm/pump-1/birth",
    ] {
        other.publishes(foreign, "666").await;
    }
    other.says("telemetry", "30").await;
    other.acknowledged(4).await;
    // What waits in it survives its own end, too.
    broker.restart().await;
    world.start_gateway().await;
    let expected: Vec<_> = (0..31).collect();
    world.all_arrived(&expected).await;
    let messages = world.emulator.telemetry();
    let first = messages.iter().find(|message| *message.payload == *b"1");
    let level = first.and_then(|message| message.properties.get("level"));
    assert_eq!(level, Some("high"));

    // The gateway comes back by itself to a broker that was away, and has subscribed for good.
    broker.restart().await;
    let pump = Pump::connect(&world, DEVICE).await;
    pump.says("telemetry", "31").await;
    let expected: Vec<_> = (0..32).collect();
    world.all_arrived(&expected).await;
}

#[tokio::test]
async fn properties_of_a_device_at_the_broker_reach_the_hub_and_come_from_it() {
    let broker = Mosquitto::start(&[DEVICE]).await;
    let mut world = World::builder()
        .device(DeviceSetup::new(DEVICE, Behavior::WellBehaved))
        .broker(&broker)
        .start()
        .await;
    world.stop_device(DEVICE).await;
    let mut pump = Pump::connect(&world, DEVICE).await;
    pump.hears("twin/desired").await;
    pump.says("twin/reported", r#"{"level":7}"#).await;
    let reported = world.emulator.watch_twin(DEVICE, |twin| {
        twin["properties"]["reported"]["device"]["level"] == 7
    });
    tokio::time::timeout(PATIENCE, reported)
        .await
        .expect("the hub has it");
    let back_end = iothubdm_tests::BackEnd::new(&world.emulator);
    let desired = json!({ "properties": { "desired": { "device": { "rate": 5 } } } });
    back_end.patch_twin(DEVICE, &desired).await;
    while pump.told("twin/desired").await["properties"] != json!({ "rate": 5 }) {}
    // Who has it that the gateway is there, and when it is not.
    pump.subscribes("dm-gateway/+/status").await;
    world.kill_gateway().await;
    while pump.says_of_gateway().await != "offline" {}
}

#[tokio::test]
async fn check_tells_whether_the_broker_lets_the_gateway_in() {
    let mut broker = Mosquitto::start(&[]).await;
    let hub = Emulator::start(EmulatorConfig::default())
        .await
        .expect("start the emulator");
    let connection = hub.device(DEVICE);
    let found = async |settings: String| {
        let text = format!(
            "state_dir = \"state\"\n[local_mqtt]\n{settings}[[device]]\nid = \"{DEVICE}\"\n\
             connection_string = \"{connection}\"\n[device.mqtt]\n"
        );
        let config = Config::parse(&text, Path::new("/")).expect("the settings are right");
        let findings = inspect::check(&config).await;
        let mut findings = findings.into_iter();
        let found = findings.find(|finding| finding.subject.starts_with("broker "));
        let found = found.expect("the broker is looked at");
        (found.good, found.found)
    };
    let settings = broker.settings();
    assert_eq!(
        found(settings.clone()).await,
        (true, "lets gateway in".into())
    );
    let (good, said) = found(settings.replace("password = \"", "password = \"x")).await;
    assert!(
        !good && said.contains("refused the user name or the password"),
        "{said}"
    );
    // One whom nobody vouches for is not even told the password.
    let pinned = format!("ca_file = {:?}\n", broker.certificate());
    let (good, said) = found(settings.replace(&pinned, "")).await;
    assert!(!good && said.contains("certificate"), "{said}");
    broker.stop();
    let (good, said) = found(settings).await;
    assert!(!good && said.contains("connect"), "{said}");
}
