//! A device whose gateway cannot write, and one whose hub is slow.

use std::sync::atomic::{AtomicBool, Ordering};

use iot_hub::reboot::{Grade, Mode};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::{
    driver::{Baseline, DriverError, Health, Observation, Order, Probe, Triggered},
    hub_link::tests::LooseLink,
    storage::tests::on_disk,
};

/// A device that does nothing but pass on its commands.
#[derive(Debug)]
struct Idle {
    orders: mpsc::UnboundedSender<Order>,
}

impl Driver for Idle {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            Ok(Probe {
                modes: vec![Mode::Graceful],
                best_grade: Grade::Healthy,
                required_grade: Grade::BootChanged,
                boot_id: Some("boot-0".into()),
                typical_duration: None,
                restarts_gateway: false,
            })
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async { Ok(Baseline::default()) })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        self.orders.send(order.clone()).unwrap();
        Box::pin(async { Ok(Triggered::Acknowledged) })
    }

    fn observe<'a>(&'a self, _: &'a Baseline) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            Ok(Observation {
                present: true,
                was_absent: false,
                boot_id: None,
                uptime: None,
                boot_count: None,
                caused_by: None,
                method: "test",
                detail: String::new(),
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async { Ok(Health::Unknown) })
    }
}

struct World {
    full: Arc<AtomicBool>,
    link: LooseLink,
    orders: mpsc::UnboundedReceiver<Order>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let full = Arc::new(AtomicBool::new(false));
        let storage = on_disk(folder.path(), &full);
        let (link, handle) = LooseLink::new();
        let (orders_in, orders) = mpsc::unbounded_channel();
        let id: DeviceId = "d1".parse().unwrap();
        let parts = Parts {
            settings: Settings {
                answer_grace: Duration::ZERO,
                ack_limit: Duration::from_millis(20),
                ..Settings::default()
            },
            driver: Arc::new(Idle { orders: orders_in }),
            kept: storage.load(&id).await.unwrap(),
            storage,
            link: handle,
            gateway: GatewayInfo::default(),
            report_delay: Duration::ZERO,
            retry: Duration::from_millis(20),
            id,
        };
        let device = Device::start(parts).await.unwrap();
        tokio::spawn(device.run(CancellationToken::new()));
        Self {
            full,
            link,
            orders,
            _folder: folder,
        }
    }

    /// Says that the device is connected and its twin empty; returns the first patch.
    async fn connect(&mut self) -> Map<String, Value> {
        let twin = LinkEvent::Twin {
            reported: Map::new(),
            desired: Map::new(),
        };
        self.link.events.send(LinkEvent::Up(1)).await.unwrap();
        self.link.events.send(twin).await.unwrap();
        self.link.patch().await
    }
}

#[tokio::test]
async fn a_gateway_that_cannot_write_begins_nothing_and_recovers() {
    let mut world = World::start().await;
    world.connect().await;
    world.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let (status, body) = world.link.call("reboot", json!(null)).await;
        assert_eq!((status, &body["error"]["code"]), (500, &json!("INTERNAL")));
    }
    assert!(world.orders.try_recv().is_err());

    world.full.store(false, Ordering::SeqCst);
    let (status, body) = loop {
        let answer = world.link.call("reboot", json!(null)).await;
        if answer.0 != 500 {
            break answer;
        }
    };
    assert_eq!((status, &body["state"]), (200, &json!("ACCEPTED")));
    let ordered = time::timeout(Duration::from_secs(30), world.orders.recv()).await;
    assert!(matches!(ordered, Ok(Some(_))), "{ordered:?}");
}

#[tokio::test]
async fn a_patch_without_an_answer_is_sent_again() {
    let mut world = World::start().await;
    let first = world.connect().await;
    world
        .link
        .events
        .send(LinkEvent::PatchUnanswered)
        .await
        .unwrap();
    assert_eq!(world.link.patch().await, first);
}

#[tokio::test]
async fn a_patch_that_the_hub_will_never_take_is_sent_once() {
    let mut world = World::start().await;
    world.connect().await;
    let refused = LinkEvent::PatchRefused {
        status: 400,
        message: "no".into(),
    };
    world.link.events.send(refused).await.unwrap();
    // The next patch is that of another report.
    let (status, _) = world.link.call("reboot", json!({ "delaySec": 60 })).await;
    assert_eq!(status, 200);
    let patch = world.link.patch().await;
    assert_eq!(patch["iothubDM"]["reboot"]["state"], "SCHEDULED");
}

#[tokio::test]
async fn a_queued_request_is_checked_once_more_when_the_hub_has_the_report() {
    let mut world = World::start().await;
    let deadline = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let id = Uuid::from_u128(7).to_string();
    let request = json!({ "requestId": id, "deadline": deadline.to_string() });
    let desired = |version: u64| {
        let desired = json!({ "iothubDM": { "reboot": request }, "$version": version });
        desired.as_object().unwrap().clone()
    };
    world.link.events.send(LinkEvent::Up(1)).await.unwrap();
    let twin = LinkEvent::Twin {
        reported: Map::new(),
        desired: desired(2),
    };
    world.link.events.send(twin).await.unwrap();
    while world.link.patch().await["iothubDM"]["reboot"]["state"] != "ACCEPTED" {
        let applied = LinkEvent::PatchApplied;
        world.link.events.send(applied).await.unwrap();
    }
    let applied = LinkEvent::PatchApplied;
    world.link.events.send(applied).await.unwrap();
    let number = world.link.check().await;
    assert!(world.orders.try_recv().is_err(), "before the answer");
    let desired = desired(2);
    let checked = LinkEvent::Checked { number, desired };
    world.link.events.send(checked).await.unwrap();
    let ordered = time::timeout(Duration::from_secs(30), world.orders.recv()).await;
    assert!(matches!(ordered, Ok(Some(order)) if order.id.to_string() == id));
}
