//! The driver over loopback: a real endpoint, and devices that keep the contract or do not.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use iot_hub::reboot::RequestId;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    driver::tests::{ID, order, rehearsal},
    local_mqtt::{
        LocalMqtt,
        test_device::{TestDevice, soon},
    },
};

/// Short enough for the tests that wait for it, long enough for those that must not.
const ACK_LIMIT: Duration = Duration::from_secs(2);

struct World {
    address: SocketAddr,
    driver: Arc<MqttDriver>,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl World {
    async fn start() -> Self {
        let accounts = [("d1".to_owned(), "secret".into())];
        let endpoint = LocalMqtt::bind(([127, 0, 0, 1], 0).into(), accounts)
            .await
            .unwrap();
        let device = endpoint.device("d1").unwrap();
        let shutdown = CancellationToken::new();
        Self {
            address: endpoint.local_addr(),
            driver: Arc::new(MqttDriver::start(device, ACK_LIMIT)),
            server: tokio::spawn(endpoint.serve(shutdown.clone())),
            shutdown,
        }
    }

    /// The device connects, and subscribes as the contract asks for.
    async fn device(&self) -> TestDevice {
        let mut device = TestDevice::connect(self.address, "d1", "secret").await;
        device.subscribes("dm/d1/cmd/reboot").await;
        device
    }

    /// The device connects and says which boot it is in.
    async fn booted(&self, boot: &str, cause: Option<RequestId>) -> TestDevice {
        let device = self.device().await;
        device.says("birth", birth(boot, cause)).await;
        self.until(|seen| seen.boot_id.as_deref() == Some(boot))
            .await;
        device
    }

    async fn observe(&self) -> Observation {
        self.driver.observe(&Baseline::default()).await.unwrap()
    }

    /// Observes at every hint, as the engine does, until it has come to that.
    async fn until(&self, reached: impl Fn(&Observation) -> bool) -> Observation {
        let mut hints = self.driver.hints().unwrap();
        soon(async {
            loop {
                let seen = self.observe().await;
                if reached(&seen) {
                    return seen;
                }
                hints.next().await;
            }
        })
        .await
    }

    async fn until_health(&self, expected: Health) {
        let mut hints = self.driver.hints().unwrap();
        soon(async {
            while self.driver.health().await.ok() != Some(expected.clone()) {
                hints.next().await;
            }
        })
        .await;
    }

    fn triggers(&self) -> JoinHandle<Result<Triggered, DriverError>> {
        let driver = self.driver.clone();
        tokio::spawn(async move { driver.trigger(&order(Mode::Graceful)).await })
    }

    async fn stop(self) {
        self.shutdown.cancel();
        soon(self.server).await.unwrap();
    }
}

fn birth(boot: &str, cause: Option<RequestId>) -> serde_json::Value {
    json!({ "v": 1, "bootId": boot, "uptimeSec": 0.5, "causeId": cause })
}

fn ack(accepted: bool) -> serde_json::Value {
    json!({ "v": 1, "id": ID, "accepted": accepted, "message": "busy" })
}

#[tokio::test]
async fn a_reboot_is_proved_by_the_next_birth() {
    let world = World::start().await;
    let mut device = world.booted("b1", None).await;
    let baseline = world.driver.baseline().await.unwrap();
    assert_eq!(baseline.boot_id.as_deref(), Some("b1"));
    assert!(baseline.uptime >= Some(Duration::from_millis(500)));

    let triggered = world.triggers();
    let command = device.message().await;
    let payload: serde_json::Value = serde_json::from_slice(&command.payload).unwrap();
    assert_eq!(
        payload,
        json!({ "v": 1, "id": ID, "mode": "graceful", "reason": "test" })
    );
    device.says("ack", ack(true)).await;
    assert_eq!(
        soon(triggered).await.unwrap().unwrap(),
        Triggered::Acknowledged
    );
    device.says("status", "offline").await;
    device.disconnects().await;
    let gone = world.until(|seen| !seen.present).await;
    assert!(gone.was_absent);
    assert_eq!(gone.boot_id, None);

    let device = world.booted("b2", Some(ID)).await;
    let seen = world.observe().await;
    assert!(seen.present && seen.was_absent);
    assert_eq!(seen.boot_id.as_deref(), Some("b2"));
    assert_eq!(seen.caused_by, Some(ID));
    assert_eq!(seen.method, "mqtt-birth");
    assert_eq!(world.driver.health().await.unwrap(), Health::Unknown);
    device.says("health", json!({ "healthy": true })).await;
    world.until_health(Health::Healthy).await;
    world.stop().await;
}

#[tokio::test]
async fn an_acknowledgement_alone_changes_nothing() {
    let world = World::start().await;
    let mut device = world.booted("b1", None).await;
    let triggered = world.triggers();
    device.message().await;
    device.says("ack", ack(true)).await;
    assert_eq!(
        soon(triggered).await.unwrap().unwrap(),
        Triggered::Acknowledged
    );
    let seen = world.observe().await;
    assert_eq!(seen.boot_id.as_deref(), Some("b1"));
    assert!(!seen.was_absent);
    assert_eq!(seen.caused_by, None);
    world.stop().await;
}

#[tokio::test]
async fn a_device_that_is_silent_or_gone_is_no_error() {
    let world = World::start().await;
    let mut device = world.booted("b1", None).await;
    let triggered = world.triggers();
    device.message().await;
    assert_eq!(
        soon(triggered).await.unwrap().unwrap(),
        Triggered::Unacknowledged,
        "silent"
    );

    let begun = Instant::now();
    let triggered = world.triggers();
    device.message().await;
    device.dies().await;
    assert_eq!(
        soon(triggered).await.unwrap().unwrap(),
        Triggered::Unacknowledged,
        "gone"
    );
    assert!(begun.elapsed() < ACK_LIMIT, "nobody is left to wait for");
    world.stop().await;
}

#[tokio::test]
async fn a_refusal_is_told_in_the_devices_words() {
    let world = World::start().await;
    let mut device = world.booted("b1", None).await;
    let triggered = world.triggers();
    device.message().await;
    device.says("ack", ack(false)).await;
    match soon(triggered).await.unwrap() {
        Err(DriverError::Refused(message)) => assert_eq!(message, "busy"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_sent_to_a_device_that_is_not_there() {
    let world = World::start().await;
    assert!(matches!(
        world.driver.baseline().await,
        Err(DriverError::Unreachable(_))
    ));
    assert!(matches!(
        soon(world.triggers()).await.unwrap(),
        Err(DriverError::Unreachable(_))
    ));
    assert!(matches!(
        world.driver.health().await,
        Err(DriverError::Unreachable(_))
    ));
    assert!(!world.observe().await.present);

    // It is there, and nobody knows in which boot.
    let mut device = world.device().await;
    world.until(|seen| seen.present).await;
    assert!(matches!(
        soon(world.triggers()).await.unwrap(),
        Err(DriverError::Unreachable(_))
    ));
    device.says("birth", birth("b1", None)).await;
    world.until(|seen| seen.boot_id.is_some()).await;
    let triggered = world.triggers();
    device.message().await;
    device.says("ack", ack(true)).await;
    assert!(soon(triggered).await.unwrap().is_ok());
    world.stop().await;
}

#[tokio::test]
async fn a_rehearsal_sends_nothing_and_a_power_cycle_is_not_offered() {
    let world = World::start().await;
    let mut device = world.booted("b1", None).await;
    let rehearsal = rehearsal(Mode::Graceful);
    assert_eq!(
        world.driver.trigger(&rehearsal).await.unwrap(),
        Triggered::Rehearsed
    );
    let power_cycle = order(Mode::PowerCycle);
    assert!(matches!(
        world.driver.trigger(&power_cycle).await,
        Err(DriverError::Unsupported(_))
    ));
    // The next message is that of the next real command.
    let triggered = world.triggers();
    assert_eq!(device.message().await.topic, "dm/d1/cmd/reboot");
    device.says("ack", ack(true)).await;
    soon(triggered).await.unwrap().unwrap();
    world.stop().await;
}

#[tokio::test]
async fn online_and_retained_messages_prove_nothing() {
    let world = World::start().await;
    let device = world.device().await;
    let old = birth("b1", Some(ID)).to_string();
    let qos = rumqttc::QoS::AtLeastOnce;
    device.publishes("dm/d1/birth", qos, true, &old).await;
    device.says("health", json!({ "healthy": true })).await;
    world.until_health(Health::Healthy).await;
    device.disconnects().await;
    world.until(|seen| !seen.present).await;

    let device = world.device().await;
    device.says("status", "online").await;
    device.says("health", json!({ "healthy": true })).await;
    let seen = world.until(|seen| seen.present).await;
    assert_eq!(seen.boot_id, None);
    assert_eq!(seen.caused_by, None);
    device.says("status", "offline").await;
    world.until(|seen| !seen.present).await;
    device.says("status", "online").await;
    world.until(|seen| seen.present).await;
    assert_eq!(world.driver.health().await.unwrap(), Health::Unknown);
    world.stop().await;
}

#[tokio::test]
async fn a_boot_that_nobody_asked_for_gives_a_hint() {
    let world = World::start().await;
    world.booted("b1", None).await.dies().await;
    world.until(|seen| !seen.present).await;
    let device = world.booted("b2", None).await;
    let mut boots = HashSet::from(["b2".to_owned()]);
    device.dies().await;
    let device = world.booted("b3", None).await;
    boots.extend(world.observe().await.boot_id);
    assert_eq!(boots.len(), 2);
    let probe = world.driver.probe().await.unwrap();
    assert_eq!(probe.boot_id.as_deref(), Some("b3"));
    assert_eq!(probe.best_grade, Grade::Healthy);
    device.disconnects().await;
    world.stop().await;
}

#[tokio::test]
async fn a_failing_health_check_is_told() {
    let world = World::start().await;
    let device = world.booted("b1", None).await;
    let sick = json!({ "healthy": false, "message": "the pump does not turn" });
    device.says("health", sick).await;
    world
        .until_health(Health::Unhealthy("the pump does not turn".into()))
        .await;
    world.stop().await;
}
