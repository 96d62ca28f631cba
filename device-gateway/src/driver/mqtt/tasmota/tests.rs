//! The driver over loopback: a real endpoint, and a fake that has the firmware's topics.

use std::{net::SocketAddr, sync::Arc};

use iot_hub::reboot::Grade;
use rumqttc::QoS;
use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::{
    driver::{
        conformance::{self, FakeDevice, Look, Shows},
        mqtt::test_endpoint::{endpoint, until_back},
        tests::order,
    },
    local_mqtt::test_device::{TestDevice, soon},
};

const TOPIC: &str = "plug";
const LWT: &str = "tele/plug/LWT";

async fn world(tasks: &mut JoinSet<()>) -> (SocketAddr, TasmotaDriver) {
    let (address, device) = endpoint(tasks, topics(TOPIC)).await;
    let driver = TasmotaDriver::start(device, TOPIC, Duration::from_secs(2));
    (address, driver)
}

/// Connects as the firmware does, to the broker that it was made for.
async fn connect(address: SocketAddr) -> TestDevice {
    let mut device = TestDevice::connect_with_will(address, LWT, "Offline").await;
    let says = [
        (LWT, "Online"),
        ("cmnd/plug/POWER", ""),
        (
            "tele/plug/INFO3",
            r#"{"Info3":{"RestartReason":"Power On"}}"#,
        ),
        ("tasmota/discovery/A8032ABE54DC/config", "{}"),
    ];
    let (first, after) = says.split_at(2);
    for (topic, payload) in first {
        device
            .publishes(topic, QoS::AtMostOnce, true, payload)
            .await;
    }
    for filter in ["cmnd/tasmotas/#", "cmnd/DVES_BE54DC_fb/#", "cmnd/plug/#"] {
        device.subscribes(filter).await;
    }
    for (topic, payload) in after {
        device
            .publishes(topic, QoS::AtMostOnce, true, payload)
            .await;
    }
    device
}

/// Knows no commands but those that the driver needs.
async fn serve(mut device: TestDevice, fake: &FakeDevice, boots: &mut Boots) {
    loop {
        let command = device.message().await;
        match (&*command.topic, &*command.payload) {
            ("cmnd/plug/Status", b"1") => {
                let Some(look) = fake.look() else {
                    return device.dies().await;
                };
                let status = boots.status(&look);
                let topic = "stat/plug/STATUS1";
                device
                    .publishes(topic, QoS::AtMostOnce, false, &status)
                    .await;
            }
            ("cmnd/plug/Restart", b"1") => {
                let answers = fake.command(None);
                if !answers {
                    return device.dies().await;
                }
                let result = r#"{"Restart":"Restarting"}"#;
                device
                    .publishes("stat/plug/RESULT", QoS::AtMostOnce, false, result)
                    .await;
                if fake.peek().is_none() {
                    return device.disconnects().await;
                }
            }
            ("cmnd/plug/POWER", b"") => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Counts boots as the firmware does: each once it has lasted ten seconds.
#[derive(Default)]
struct Boots {
    counted: u64,
    last: u32,
}

impl Boots {
    fn status(&mut self, look: &Look) -> String {
        if look.boots > self.last && look.uptime.as_secs() >= 10 {
            self.counted += 1;
            self.last = look.boots;
        }
        let seconds = look.uptime.as_secs();
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let uptime = format!(
            "{days}T{:02}:{:02}:{:02}",
            rest / 3600,
            rest / 60 % 60,
            rest % 60
        );
        let parameters = json!({
            "Baudrate": 115_200,
            "RestartReason": "Software/System restart",
            "Uptime": uptime,
            "StartupUTC": "1970-01-01T00:00:00",
            "BootCount": 22 + self.counted,
        });
        json!({ "StatusPRM": parameters }).to_string()
    }
}

#[tokio::test]
async fn no_behavior_of_a_tasmota_gets_a_false_verdict() {
    let shows = Shows {
        proof: Grade::BootChanged,
        each_boot: false,
        health: false,
    };
    conformance::check(shows, async |fake| {
        let mut tasks = JoinSet::new();
        let (address, driver) = world(&mut tasks).await;
        let mut hints = driver.hints().unwrap();
        tasks.spawn(async move {
            let mut boots = Boots::default();
            loop {
                serve(connect(address).await, &fake, &mut boots).await;
                until_back(&fake).await;
            }
        });
        // The attempt begins with a device that is there.
        while driver.ask().await.is_err() {
            soon(hints.next()).await;
        }
        (Arc::new(driver) as Arc<dyn Driver>, tasks)
    })
    .await;
}

#[tokio::test]
async fn forced_saves_nothing_and_words_prove_nothing() {
    let mut tasks = JoinSet::new();
    let (address, driver) = world(&mut tasks).await;
    let driver = Arc::new(driver);
    assert!(matches!(
        driver.baseline().await,
        Err(DriverError::Unreachable(_))
    ));
    assert!(!driver.observe(&Baseline::default()).await.unwrap().present);
    let probe = driver.probe().await.unwrap();
    assert_eq!(
        (probe.best_grade, probe.required_grade),
        (Grade::BootChanged, Grade::BootChanged)
    );

    let mut device = connect(address).await;
    let given = tokio::spawn({
        let driver = driver.clone();
        async move { driver.trigger(&order(Mode::Forced)).await }
    });
    let command = loop {
        let message = device.message().await;
        if message.topic != "cmnd/plug/POWER" {
            break message;
        }
    };
    assert_eq!(
        (&*command.topic, &*command.payload),
        ("cmnd/plug/Restart", &b"99"[..])
    );
    let words = r#"{"Restart":"99 to restart"}"#;
    device
        .publishes("stat/plug/RESULT", QoS::AtMostOnce, false, words)
        .await;
    let refused = soon(given).await.unwrap();
    assert_eq!(refused, Err(DriverError::Refused("99 to restart".into())));
    assert!(driver.trigger(&order(Mode::PowerCycle)).await.is_err());

    // It says that it left and came, and tells nothing of its boot: that is no observation.
    device
        .publishes(LWT, QoS::AtMostOnce, true, "Offline")
        .await;
    device.publishes(LWT, QoS::AtMostOnce, true, "Online").await;
    let look = driver.observe(&Baseline::default()).await;
    assert!(matches!(look, Err(DriverError::Failed { .. })), "{look:?}");
}

#[tokio::test]
async fn a_boot_that_is_not_counted_yet_is_no_baseline() {
    let mut tasks = JoinSet::new();
    let (address, driver) = world(&mut tasks).await;
    let mut device = connect(address).await;
    let baseline = tokio::spawn(async move { driver.baseline().await });
    let status = |uptime: &str, count: u64| {
        let parameters = json!({ "Uptime": uptime, "BootCount": count });
        json!({ "StatusPRM": parameters }).to_string()
    };
    for answer in [status("0T00:00:11", 22), status("0T00:00:12", 23)] {
        while device.message().await.topic != "cmnd/plug/Status" {}
        device
            .publishes("stat/plug/STATUS1", QoS::AtMostOnce, false, &answer)
            .await;
    }
    let baseline = soon(baseline).await.unwrap().unwrap();
    assert_eq!(baseline.boot_count, Some(23), "{}", baseline.detail);
}
