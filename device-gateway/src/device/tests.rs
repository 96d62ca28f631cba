//! A device whose gateway cannot write, and one whose hub is slow.

mod watches;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use iot_hub::reboot::{Grade, Mode};
use rumqttc::Packet;
use serde_json::{Map, Value, json};
use tokio::{net::unix::pipe, sync::mpsc, task::JoinHandle};

use super::*;
use crate::{
    driver::{Baseline, DriverError, Health, Observation, Order, Probe, Triggered},
    hub_link::tests::LooseLink,
    local_mqtt::{Accounts, Elsewhere, LocalMqtt, test_device::TestDevice},
    outbox::Outbox,
    storage::tests::{damage, on_disk},
};

/// A device that does nothing but pass on its commands.
#[derive(Debug)]
struct Idle {
    orders: mpsc::UnboundedSender<Order>,
    notices: Mutex<Option<mpsc::Receiver<Notice>>>,
    /// This disk is full once the device has got its command.
    fills: Option<Arc<AtomicBool>>,
}

impl Driver for Idle {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            Ok(Probe {
                modes: vec![Mode::Graceful],
                best_grade: Grade::Healthy,
                required_grade: Grade::BootChanged,
                boot_id: Some("boot-0".into()),
                restarts_gateway: false,
            })
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async { Ok(Baseline::default()) })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        if let Some(full) = &self.fills {
            full.store(true, Ordering::SeqCst);
        }
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

    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        self.notices.lock().unwrap().take()
    }
}

/// A disk that can be full, and what is on it.
struct Disk {
    full: Arc<AtomicBool>,
    storage: Storage,
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let full = Arc::new(AtomicBool::new(false));
        Self {
            storage: on_disk(folder.path(), &full),
            full,
            folder,
        }
    }
}

struct World {
    full: Arc<AtomicBool>,
    link: LooseLink,
    orders: mpsc::UnboundedReceiver<Order>,
    notices: mpsc::Sender<Notice>,
    storage: Storage,
    stop: Stop,
    device: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        Self::with(None, false, Settings::default().farewell)
    }

    /// The same with a device on the local endpoint, which is there.
    async fn bridging() -> (Self, SocketAddr) {
        let accounts = [("d1".to_owned(), "secret".into())];
        let endpoint = LocalMqtt::bind(([127, 0, 0, 1], 0).into(), accounts);
        let endpoint = endpoint.await.unwrap();
        let address = endpoint.local_addr();
        let world = Self::with(endpoint.device("d1"), false, Settings::default().farewell);
        tokio::spawn(endpoint.serve(CancellationToken::new()));
        (world, address)
    }

    /// The same on a disk that is full from the start.
    fn on_full_disk() -> Self {
        Self::with(None, true, Settings::default().farewell)
    }

    fn with(local: Option<LocalDevice>, is_full: bool, farewell: Duration) -> Self {
        let disk = Disk::new();
        disk.full.store(is_full, Ordering::SeqCst);
        Self::on(disk, local, farewell)
    }

    fn on(disk: Disk, local: Option<LocalDevice>, farewell: Duration) -> Self {
        let settings = Settings {
            farewell,
            ..Settings::default()
        };
        Self::of(disk, local, settings, false)
    }

    fn of(disk: Disk, local: Option<LocalDevice>, settings: Settings, fills: bool) -> Self {
        let Disk {
            full,
            storage,
            folder,
        } = disk;
        let (link, handle) = LooseLink::new();
        let (orders_in, orders) = mpsc::unbounded_channel();
        let (notices, notices_out) = mpsc::channel(1);
        let id: DeviceId = "d1".parse().unwrap();
        let parts = Parts {
            settings: Arc::new(Settings {
                answer_grace: Duration::ZERO,
                ack_limit: Duration::from_millis(20),
                ..settings
            }),
            driver: Arc::new(Idle {
                orders: orders_in,
                notices: Mutex::new(Some(notices_out)),
                fills: fills.then(|| full.clone()),
            }),
            safety: Arc::new(Safety::alone()),
            bridged: local.map(|local| (local, Bounds::default())),
            storage: storage.clone(),
            link: handle,
            gateway: GatewayInfo::default(),
            report_delay: Duration::ZERO,
            retry: Duration::from_millis(20),
            pulse: Pulse::unwatched(),
            desk: Desk::unseen(&id),
            began: Instant::now(),
            id,
        };
        let stop = Stop::default();
        let told = stop.clone();
        let device = tokio::spawn(async move {
            let started = Device::start(Box::new(parts)).await;
            let device = Device::when_possible(started, &told).await;
            device.expect("a device").run(&told).await;
        });
        Self {
            full,
            link,
            orders,
            notices,
            storage,
            stop,
            device,
            _folder: folder,
        }
    }

    /// Calls `reboot` until it is not refused for the sake of the disk.
    async fn accepted(&mut self) -> (i32, Value) {
        loop {
            let answer = self.link.call("reboot", json!(null)).await;
            if answer.0 != 500 {
                return answer;
            }
        }
    }

    /// The link tells the device something.
    async fn hears(&self, event: LinkEvent) {
        self.link.events.send(event).await.unwrap();
    }

    /// Says that the device is connected and its twin empty; returns the first patch.
    async fn connect(&mut self) -> Map<String, Value> {
        let twin = LinkEvent::Twin {
            reported: Map::new(),
            desired: Map::new(),
        };
        self.hears(LinkEvent::Up(1)).await;
        self.hears(twin).await;
        self.link.patch().await
    }

    /// Announces that the device goes down; what is returned shows whether it is still held up.
    async fn announce(&self) -> Held {
        let (reader, writer) = io::pipe().unwrap();
        let delay = Delay::of(Some(writer.into()));
        self.notices
            .send(Notice::ShutdownBegins(delay))
            .await
            .unwrap();
        Held(pipe::Receiver::from_owned_fd(reader.into()).unwrap())
    }
}

/// The other end of a [`Delay`].
struct Held(pipe::Receiver);

impl Held {
    fn is_held(&self) -> bool {
        let read = self.0.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    async fn until_let_go(&self) {
        let readable = time::timeout(Duration::from_secs(30), self.0.readable()).await;
        readable.expect("it is let go in time").unwrap();
        assert!(!self.is_held());
    }
}

#[tokio::test]
async fn a_device_that_goes_down_is_held_up_until_the_hub_knows() {
    let mut world = World::start();
    world.connect().await;
    world.hears(LinkEvent::PatchApplied).await;

    let held = world.announce().await;
    let patch = world.link.patch().await;
    let newest = &patch["iothubDM"]["reboot"]["history"]["h0"];
    assert_eq!(newest["state"], "REBOOTING");
    assert_eq!(newest["origin"], "LOCAL");
    assert!(held.is_held());
    world.hears(LinkEvent::PatchApplied).await;
    held.until_let_go().await;

    // It stays up, and goes down after all; this time the hub does not answer.
    let called_off = Notice::ShutdownCalledOff;
    world.notices.send(called_off).await.unwrap();
    let patch = world.link.patch().await;
    let newest = &patch["iothubDM"]["reboot"]["history"]["h0"];
    assert_eq!(newest["state"], "CANCELLED");
    world.announce().await.until_let_go().await;
}

#[tokio::test]
async fn a_device_that_goes_down_without_a_hub_is_not_held_up() {
    let an_hour = Duration::from_secs(3600);
    let world = World::with(None, false, an_hour);
    world.announce().await.until_let_go().await;
}

#[tokio::test]
async fn a_gateway_that_cannot_write_begins_nothing_and_recovers() {
    let mut world = World::start();
    world.connect().await;
    world.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let (status, body) = world.link.call("reboot", json!(null)).await;
        assert_eq!((status, &body["error"]["code"]), (500, &json!("INTERNAL")));
    }
    assert!(world.orders.try_recv().is_err());
    // The hub is told, though that cannot be kept either.
    world.hears(LinkEvent::PatchApplied).await;
    let patch = world.link.patch().await;
    let trouble = &patch["iothubDM"]["gateway"]["trouble"];
    assert!(
        trouble.as_str().unwrap().contains("cannot be used"),
        "{trouble}"
    );
    world.hears(LinkEvent::PatchApplied).await;

    world.full.store(false, Ordering::SeqCst);
    let patch = world.link.patch().await;
    assert_eq!(patch["iothubDM"]["gateway"], json!({ "trouble": null }));
    world.hears(LinkEvent::PatchApplied).await;
    let (status, body) = world.accepted().await;
    assert_eq!((status, &body["state"]), (200, &json!("ACCEPTED")));
    let ordered = time::timeout(Duration::from_secs(30), world.orders.recv()).await;
    assert!(matches!(ordered, Ok(Some(_))), "{ordered:?}");
}

#[tokio::test]
async fn time_in_which_nothing_can_be_written_does_not_count_against_the_device() {
    let limit = Duration::from_secs(3);
    let settings = Settings {
        go_down_limit: limit,
        ..Settings::default()
    };
    let mut world = World::of(Disk::new(), None, settings, true);
    world.connect().await;
    world.hears(LinkEvent::PatchApplied).await;
    world.accepted().await;
    let ordered = time::timeout(Duration::from_secs(30), world.orders.recv()).await;
    assert!(matches!(ordered, Ok(Some(_))), "{ordered:?}");
    // It lasts for as long as the device has to go down.
    time::sleep(limit).await;
    world.full.store(false, Ordering::SeqCst);
    let healed = Instant::now();
    let failed = async {
        loop {
            let patch = world.link.patch().await;
            world.hears(LinkEvent::PatchApplied).await;
            if patch["iothubDM"]["reboot"]["state"] == "FAILED" {
                break;
            }
        }
    };
    let verdict = time::timeout(Duration::from_secs(30), failed).await;
    assert!(verdict.is_ok(), "there is an end");
    assert!(healed.elapsed() > limit / 2, "{:?}", healed.elapsed());
}

#[tokio::test]
async fn a_gateway_whose_journal_cannot_be_used_from_the_start_says_so_and_goes_on_when_it_can_be()
{
    for answered in [true, false] {
        let mut world = World::on_full_disk();
        let patch = world.connect().await;
        let gateway = &patch["iothubDM"]["gateway"];
        assert!(
            gateway["trouble"]
                .as_str()
                .unwrap()
                .contains("cannot be used")
        );
        assert_eq!(patch["iothubDM"].as_object().unwrap().len(), 1, "{patch:?}");
        let (status, body) = world.link.call("reboot", json!(null)).await;
        assert_eq!((status, &body["error"]["code"]), (500, &json!("INTERNAL")));
        let fate = match answered {
            true => LinkEvent::PatchApplied,
            false => LinkEvent::PatchUnanswered,
        };
        world.hears(fate).await;

        world.full.store(false, Ordering::SeqCst);
        // The same is not said twice, and is taken back as soon as it is not true any more.
        let patch = world.link.patch().await;
        let gateway = &patch["iothubDM"]["gateway"];
        assert_eq!(gateway["trouble"], json!(null));
        assert_eq!(gateway["version"].is_null(), answered, "{patch:?}");
        assert!(patch["iothubDM"]["reboot"].is_object());
        world.hears(LinkEvent::PatchApplied).await;
        let (status, _) = world.accepted().await;
        assert_eq!(status, 200);
        let ordered = time::timeout(Duration::from_secs(30), world.orders.recv()).await;
        assert!(matches!(ordered, Ok(Some(_))), "{ordered:?}");
    }
}

#[tokio::test]
async fn a_damaged_journal_is_its_devices_own_trouble_and_a_full_disk_is_not() {
    for is_damaged in [true, false] {
        let accounts = Accounts::at_broker(Arc::default());
        let local = accounts.admit("d1", None, Elsewhere::default()).unwrap();
        let disk = Disk::new();
        if is_damaged {
            damage(&disk.storage, &"d1".parse().unwrap()).await;
        }
        disk.full.store(!is_damaged, Ordering::SeqCst);
        let farewell = Settings::default().farewell;
        let mut world = World::on(disk, Some(local.clone()), farewell);
        // It is asked only once it has found that it cannot go on.
        let (status, _) = world.link.call("reboot", json!(null)).await;
        assert_eq!((status, local.is_barred()), (500, is_damaged));
    }
}

/// A twin that tells how this request ended.
fn twin_of(id: &str) -> LinkEvent {
    let at = "2026-01-01T00:00:00Z";
    let reported = json!({ "iothubDM": { "reboot": {
        "schema": 1, "seq": 40, "requestId": id, "state": "SUCCEEDED", "stateTime": at,
        "mode": "graceful", "origin": "METHOD", "timeline": { "REBOOTING": at },
    } } });
    LinkEvent::Twin {
        reported: reported.as_object().unwrap().clone(),
        desired: Map::new(),
    }
}

#[tokio::test]
async fn what_comes_before_the_twin_waits_for_it_and_is_not_done_twice() {
    let mut world = World::start();
    let id = Uuid::from_u128(7).to_string();
    world.hears(LinkEvent::Up(1)).await;
    world
        .link
        .deliver("reboot", json!({ "requestId": id }))
        .await;
    let (status, _) = world.link.call("format", json!(null)).await;
    assert_eq!(status, 404, "that begins nothing, and waits for nothing");
    // Without the connection it came by, it is nobody's.
    world.hears(LinkEvent::Down).await;
    world.hears(LinkEvent::Up(2)).await;
    world
        .link
        .deliver("reboot", json!({ "requestId": id }))
        .await;
    world.hears(twin_of(&id)).await;
    let (status, body) = world.link.answer().await;
    assert_eq!((status, &body["state"]), (202, &json!("SUCCEEDED")));
    assert_eq!(body["duplicate"], true);
    let patch = world.link.patch().await;
    assert_eq!(
        patch["iothubDM"]["reboot"].get("state"),
        None,
        "it is there"
    );
    assert!(world.orders.try_recv().is_err());
    // Another one is begun as ever.
    let (status, _) = world.link.call("reboot", json!(null)).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_patch_without_an_answer_is_sent_again() {
    let mut world = World::start();
    let first = world.connect().await;
    world.hears(LinkEvent::PatchUnanswered).await;
    assert_eq!(world.link.patch().await, first);
}

#[tokio::test]
async fn a_patch_that_the_hub_will_never_take_is_sent_once() {
    let mut world = World::start();
    world.connect().await;
    let refused = LinkEvent::PatchRefused {
        status: 400,
        message: "no".into(),
    };
    world.hears(refused).await;
    // The next patch is that of another report.
    let (status, _) = world.link.call("reboot", json!({ "delaySec": 60 })).await;
    assert_eq!(status, 200);
    let patch = world.link.patch().await;
    assert_eq!(patch["iothubDM"]["reboot"]["state"], "SCHEDULED");
}

#[tokio::test]
async fn a_queued_request_is_checked_once_more_when_the_hub_has_the_report() {
    let mut world = World::start();
    let deadline = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let id = Uuid::from_u128(7).to_string();
    let request = json!({ "requestId": id, "deadline": deadline.to_string() });
    let desired = |version: u64| {
        let desired = json!({ "iothubDM": { "reboot": request }, "$version": version });
        desired.as_object().unwrap().clone()
    };
    world.hears(LinkEvent::Up(1)).await;
    let twin = LinkEvent::Twin {
        reported: Map::new(),
        desired: desired(2),
    };
    world.hears(twin).await;
    while world.link.patch().await["iothubDM"]["reboot"]["state"] != "ACCEPTED" {
        world.hears(LinkEvent::PatchApplied).await;
    }
    world.hears(LinkEvent::PatchApplied).await;
    let number = world.link.check().await;
    assert!(world.orders.try_recv().is_err(), "before the answer");
    let desired = desired(2);
    let checked = LinkEvent::Checked { number, desired };
    world.hears(checked).await;
    let ordered = time::timeout(Duration::from_secs(30), world.orders.recv()).await;
    assert!(matches!(ordered, Ok(Some(order)) if order.id.to_string() == id));
}

#[tokio::test]
async fn telemetry_that_is_not_stored_is_not_acknowledged() {
    let (mut world, address) = World::bridging().await;
    world.connect().await;
    let mut device = TestDevice::connect(address, "d1", "secret").await;
    device.subscribes("dm/d1/bridge/refused").await;
    // The first look at the device is in the journal: nothing else uses the disk from here on.
    while world.link.call("capabilities", json!(null)).await.0 != 200 {}
    world.full.store(true, Ordering::SeqCst);
    device.says("telemetry", "not stored").await;
    // That is over once this is refused, for which it takes no disk.
    device.says("twin/reported", "no JSON").await;
    let mut acknowledged = Vec::new();
    while acknowledged.last() != Some(&4) {
        let packet = device.packet().await;
        if let Packet::PubAck(ack) = &packet {
            acknowledged.push(ack.pkid);
        }
        if let Packet::Publish(_) = &packet {
            world.full.store(false, Ordering::SeqCst);
            device.says("telemetry", "stored").await;
        }
    }
    assert_eq!(acknowledged, [3, 4], "not 2, which is not stored");
}

#[tokio::test]
async fn what_a_device_reported_while_the_hub_was_away_leaves_without_another_write() {
    let (mut world, address) = World::bridging().await;
    world.connect().await;
    world.hears(LinkEvent::PatchApplied).await;
    world.hears(LinkEvent::Down).await;
    let mut device = TestDevice::connect(address, "d1", "secret").await;
    device.says("twin/reported", r#"{"level":7}"#).await;
    while !matches!(device.packet().await, Packet::PubAck(_)) {}
    world.full.store(true, Ordering::SeqCst);
    let patch = world.connect().await;
    assert_eq!(patch["device"], json!({ "level": 7 }));
    assert!(patch["iothubDM"]["gateway"].get("trouble").is_none());
}

#[tokio::test]
async fn what_the_hub_has_is_on_disk_once_the_device_has_stopped() {
    let mut world = World::start();
    let mut patch = world.connect().await;
    let probed = |patch: &Map<String, Value>| {
        let own = &patch["iothubDM"];
        own.pointer("/reboot/capabilities").is_some()
    };
    while !probed(&patch) {
        world.hears(LinkEvent::PatchApplied).await;
        patch = world.link.patch().await;
    }
    world.hears(LinkEvent::PatchApplied).await;
    // That is answered after it.
    world.link.call("capabilities", json!(null)).await;
    world.stop.now.cancel();
    world.device.await.unwrap();
    let kept = world.storage.load(&"d1".parse().unwrap()).await.unwrap();
    assert!(kept.outbox.is_settled(), "{:?}", kept.outbox);
}

#[tokio::test]
async fn a_call_that_is_delivered_again_has_the_answer_of_the_first_time() {
    let mut world = World::start();
    world.connect().await;
    // The caller names no request, and the hub's name for the call is the same.
    for _ in 0..2 {
        world.link.deliver("reboot", json!(null)).await;
    }
    let (status, body) = world.link.answer().await;
    assert_eq!((status, &body["state"]), (200, &json!("ACCEPTED")));
    world.link.call("capabilities", json!(null)).await;
    assert!(!world.link.is_answered(), "once is enough");
}

#[test]
fn a_hub_that_has_too_much_to_do_is_asked_less_and_less() {
    let second = Duration::from_secs(1);
    let gateway = GatewayInfo::default();
    let mut mail = Mail::new(Outbox::default(), gateway, false, Duration::ZERO, second);
    mail.on_up(1);
    mail.on_twin(&Map::new());
    let mut check = |doublings: u32, applied: bool| {
        if applied {
            mail.on_applied();
        }
        let before = Instant::now();
        match doublings % 2 {
            0 => assert!(!mail.on_refused(429, "busy")),
            _ => mail.on_unanswered(),
        }
        let (due, least) = (mail.wakes_at().unwrap(), second * 2_u32.pow(doublings));
        assert!(due >= before + least && due <= Instant::now() + 2 * least);
    };
    for doublings in [0, 1, 2, 3, 4, 4, 4] {
        check(doublings, false);
    }
    check(0, true);
}
