//! The driver over loopback: a real endpoint, and a fake that has the bridge's topics.

use std::{net::SocketAddr, sync::Arc};

use iot_hub::reboot::{Grade, RequestId};
use rumqttc::QoS;
use serde_json::Value;
use tokio::task::JoinSet;

use super::*;
use crate::{
    driver::{
        conformance::{self, FakeDevice, Shows},
        mqtt::test_endpoint::{endpoint, until_back},
        tests::rehearsal,
    },
    local_mqtt::test_device::{TestDevice, soon},
};

const STATE: &str = "zigbee2mqtt/bridge/state";

async fn world(tasks: &mut JoinSet<()>) -> (SocketAddr, Zigbee2MqttDriver) {
    let (address, device) = endpoint(tasks, topics("zigbee2mqtt")).await;
    let driver = Zigbee2MqttDriver::start(device, "zigbee2mqtt", Duration::from_secs(2));
    (address, driver)
}

/// Connects as the bridge does, and tells of its nodes at length.
async fn connect(address: SocketAddr) -> TestDevice {
    let mut device = TestDevice::connect_with_will(address, STATE, r#"{"state":"offline"}"#).await;
    device.subscribes("zigbee2mqtt/#").await;
    let nodes = "x".repeat(1 << 20);
    for (topic, payload) in [
        (STATE, r#"{"state":"online"}"#),
        ("zigbee2mqtt/bridge/devices", &nodes),
        ("homeassistant/light/1/config", "{}"),
    ] {
        device
            .publishes(topic, QoS::AtMostOnce, true, payload)
            .await;
    }
    device
}

/// Knows no requests but those that the driver makes.
async fn serve(mut device: TestDevice, fake: &FakeDevice) {
    loop {
        let asked = device.message().await;
        let topic = match &*asked.topic {
            "zigbee2mqtt/bridge/request/restart" => "zigbee2mqtt/bridge/response/restart",
            "zigbee2mqtt/bridge/request/health_check" => "zigbee2mqtt/bridge/response/health_check",
            // It hears itself.
            _ => continue,
        };
        if topic.ends_with("health_check") {
            let Some(look) = fake.look() else {
                return device.dies().await;
            };
            let answer = json!({ "data": { "healthy": look.healthy }, "status": "ok" });
            let answer = answer.to_string();
            device
                .publishes(topic, QoS::AtMostOnce, false, &answer)
                .await;
            continue;
        }
        let request: Value = serde_json::from_slice(&asked.payload).unwrap();
        let id: RequestId = request["transaction"].as_str().unwrap().parse().unwrap();
        if !fake.command(None) {
            return device.dies().await;
        }
        let answer = json!({ "data": {}, "status": "ok", "transaction": id }).to_string();
        device
            .publishes(topic, QoS::AtMostOnce, false, &answer)
            .await;
        if fake.peek().is_none() {
            let offline = r#"{"state":"offline"}"#;
            device
                .publishes(STATE, QoS::AtMostOnce, true, offline)
                .await;
            return device.disconnects().await;
        }
    }
}

#[tokio::test]
async fn no_behavior_of_a_zigbee2mqtt_gets_a_false_verdict() {
    let shows = Shows {
        proof: Grade::Returned,
        each_boot: false,
        health: true,
    };
    conformance::check(shows, async |fake| {
        let mut tasks = JoinSet::new();
        let (address, driver) = world(&mut tasks).await;
        let mut hints = driver.hints().unwrap();
        tasks.spawn(async move {
            loop {
                serve(connect(address).await, &fake).await;
                until_back(&fake).await;
            }
        });
        // The attempt begins with a bridge that is there.
        while driver.if_online().is_err() {
            soon(hints.next()).await;
        }
        (Arc::new(driver) as Arc<dyn Driver>, tasks)
    })
    .await;
}

#[tokio::test]
async fn it_proves_no_more_than_its_return_and_knows_no_force() {
    let mut tasks = JoinSet::new();
    let (address, driver) = world(&mut tasks).await;
    let probe = driver.probe().await.unwrap();
    assert_eq!(probe.modes, [Mode::Graceful]);
    assert_eq!(
        (probe.best_grade, probe.required_grade),
        (Grade::Returned, Grade::Returned)
    );
    let absent = driver.trigger(&rehearsal(Mode::Graceful)).await;
    assert!(matches!(absent, Err(DriverError::Unreachable(_))));
    assert!(driver.baseline().await.is_err());

    let mut hints = driver.hints().unwrap();
    let _device = connect(address).await;
    while driver.if_online().is_err() {
        soon(hints.next()).await;
    }
    let forced = driver.trigger(&rehearsal(Mode::Forced)).await;
    assert!(matches!(forced, Err(DriverError::Unsupported(_))));
    let rehearsed = driver.trigger(&rehearsal(Mode::Graceful)).await;
    assert_eq!(rehearsed, Ok(Triggered::Rehearsed));
    // It is there and does not answer: nobody knows how it is.
    let health = driver.health().await;
    assert!(
        matches!(health, Err(DriverError::Failed { .. })),
        "{health:?}"
    );
}
