//! Real processes against the gateway's real endpoint: what its driver sees of each behaviour.

use std::{
    fs, io,
    net::Ipv4Addr,
    process::Stdio,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use device_gateway::{
    driver::{
        Baseline, Driver as _, DriverError, Health, Observation, Order, Triggered, mqtt::MqttDriver,
    },
    local_mqtt::LocalMqtt,
};
use iot_hub::reboot::{Mode, RequestId};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long anything may take, on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(30);

const FIRST: RequestId = RequestId(Uuid::from_u128(1));
const SECOND: RequestId = RequestId(Uuid::from_u128(2));

/// A device and the gateway's side of it.
struct World {
    driver: MqttDriver,
    supervisor: Child,
    endpoint: Endpoint,
}

struct Endpoint {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl World {
    /// Starts both, and waits for the device's first birth.
    async fn start(behavior: &str) -> Self {
        let (endpoint, driver) = Endpoint::start((own_loopback(), 0).into()).await;
        let supervisor = Command::new(env!("CARGO_BIN_EXE_local-device"))
            .args(["--id", "d1", "--password", "secret"])
            .args(["--broker", &endpoint.address.to_string()])
            .args(["--behavior", behavior, "--boot-time", "100ms"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("start the device");
        let world = Self {
            driver,
            supervisor,
            endpoint,
        };
        world.until(|seen| seen.boot_id.is_some()).await;
        world
    }

    async fn boot_id(&self) -> String {
        let seen = self.until(|seen| seen.boot_id.is_some()).await;
        seen.boot_id.expect("a boot id")
    }

    async fn trigger(&self, id: RequestId) -> Result<Triggered, DriverError> {
        let order = Order {
            id,
            mode: Mode::Graceful,
            force: false,
            dry_run: false,
            reason: "test".into(),
        };
        soon(self.driver.trigger(&order)).await
    }

    /// Observes at every hint until it has come to that.
    async fn until(&self, reached: impl Fn(&Observation) -> bool) -> Observation {
        let mut hints = self.driver.hints().expect("hints");
        soon(async {
            loop {
                let seen = self.driver.observe(&Baseline::default()).await;
                let seen = seen.expect("observe");
                if reached(&seen) {
                    return seen;
                }
                hints.next().await;
            }
        })
        .await
    }

    /// Waits for a boot that is not this one.
    async fn until_boot_after(&self, before: &str) -> Observation {
        let another = |id: &String| id != before;
        self.until(|seen| seen.boot_id.as_ref().is_some_and(another))
            .await
    }

    async fn until_health(&self, expected: Health) {
        let mut hints = self.driver.hints().expect("hints");
        soon(async {
            while self.driver.health().await.ok() != Some(expected.clone()) {
                hints.next().await;
            }
        })
        .await;
    }

    fn pid(&self) -> u32 {
        self.supervisor.id().expect("the supervisor runs")
    }

    async fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(soon(sent).await.expect("run kill").success());
    }

    /// Switches the device off, and sees both of its processes end.
    async fn stop(mut self) {
        let device = child_of(self.pid());
        self.signal("TERM").await;
        let status = soon(self.supervisor.wait()).await.expect("wait");
        assert!(status.success(), "{status}");
        if let Some(device) = device {
            until_gone(device).await;
        }
        self.endpoint.stop().await;
    }
}

impl Endpoint {
    async fn start(address: std::net::SocketAddr) -> (Self, MqttDriver) {
        let accounts = [("d1".to_owned(), "secret".into())];
        let endpoint = LocalMqtt::bind(address, accounts).await.expect("listen");
        let device = endpoint.device("d1").expect("the account");
        let driver = MqttDriver::start(device, LIMIT);
        let shutdown = CancellationToken::new();
        let this = Self {
            address: endpoint.local_addr(),
            task: tokio::spawn(endpoint.serve(shutdown.clone())),
            shutdown,
        };
        (this, driver)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.expect("the endpoint ends");
    }
}

/// A loopback address that nobody else uses. A port that is given back and taken again stays free on
/// it: no other process is given one there, and a device that dials it cannot meet itself.
fn own_loopback() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits for what has to come.
async fn soon<F: Future>(future: F) -> F::Output {
    time::timeout(LIMIT, future).await.expect("in time")
}

/// The child of that process, if it has one at the moment.
fn child_of(parent: u32) -> Option<u32> {
    fs::read_dir("/proc")
        .expect("list processes")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|pid| parent_of(*pid).ok() == Some(parent))
}

fn parent_of(pid: u32) -> io::Result<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything; after its last bracket come the state and the parent.
    let parent = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    parent.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Waits for a process that is not our child, which can only be asked after.
async fn until_gone(pid: u32) {
    soon(async {
        // A zombie that its new parent has not collected counts as gone.
        while fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn well_behaved_boots_once_per_command_and_names_it() {
    let world = World::start("well-behaved").await;
    world.until_health(Health::Healthy).await;
    let before = world.boot_id().await;
    let triggered = world.trigger(FIRST).await;
    assert_eq!(triggered.expect("triggered"), Triggered::Acknowledged);
    let seen = world.until_boot_after(&before).await;
    assert!(seen.was_absent);
    assert_eq!(seen.caused_by, Some(FIRST));
    assert!(seen.uptime < Some(LIMIT));
    world.until_health(Health::Healthy).await;

    // The same command again is answered and not carried out.
    let second = world.boot_id().await;
    let again = world.trigger(FIRST).await;
    assert_eq!(again.expect("triggered"), Triggered::Acknowledged);
    let next = world.trigger(SECOND).await;
    assert_eq!(next.expect("triggered"), Triggered::Acknowledged);
    let seen = world.until_boot_after(&second).await;
    assert_eq!(seen.caused_by, Some(SECOND));
    world.stop().await;
}

#[tokio::test]
async fn ack_and_nothing_stays_in_its_boot() {
    let world = World::start("ack-and-nothing").await;
    let before = world.boot_id().await;
    for id in [FIRST, SECOND] {
        let triggered = world.trigger(id).await;
        assert_eq!(triggered.expect("triggered"), Triggered::Acknowledged);
        let seen = world.until(|seen| seen.present).await;
        assert_eq!(seen.boot_id.as_ref(), Some(&before));
        assert!(!seen.was_absent);
    }
    world.stop().await;
}

#[tokio::test]
async fn no_ack_boots_without_a_word() {
    let world = World::start("no-ack").await;
    let before = world.boot_id().await;
    let triggered = world.trigger(FIRST).await;
    assert_eq!(triggered.expect("triggered"), Triggered::Unacknowledged);
    let seen = world.until_boot_after(&before).await;
    assert_eq!(seen.caused_by, Some(FIRST));
    world.stop().await;
}

#[tokio::test]
async fn twice_boots_again_for_no_cause() {
    let world = World::start("twice").await;
    let before = world.boot_id().await;
    world.trigger(FIRST).await.expect("triggered");
    let caused = world.until_boot_after(&before).await;
    assert_eq!(caused.caused_by, Some(FIRST));
    let first = caused.boot_id.expect("a boot id");
    let seen = world.until_boot_after(&first).await;
    assert_eq!(seen.caused_by, None);
    assert_ne!(seen.boot_id, Some(before));
    world.stop().await;
}

#[tokio::test]
async fn stale_online_is_back_and_shows_no_boot() {
    let world = World::start("stale-online").await;
    let triggered = world.trigger(FIRST).await;
    assert_eq!(triggered.expect("triggered"), Triggered::Acknowledged);
    let seen = world.until(|seen| seen.present && seen.was_absent).await;
    assert_eq!(seen.boot_id, None);
    // It can be asked again, and is none the wiser.
    assert!(matches!(
        world.trigger(SECOND).await,
        Err(DriverError::Unreachable(_))
    ));
    world.stop().await;
}

#[tokio::test]
async fn unhealthy_is_well_before_and_ill_after() {
    let world = World::start("unhealthy").await;
    world.until_health(Health::Healthy).await;
    let before = world.boot_id().await;
    world.trigger(FIRST).await.expect("triggered");
    world.until_boot_after(&before).await;
    let fault = "the pump does not turn".to_owned();
    world.until_health(Health::Unhealthy(fault)).await;
    world.stop().await;
}

#[tokio::test]
async fn never_returns_needs_its_reset_button() {
    let world = World::start("never-returns").await;
    let before = world.boot_id().await;
    let triggered = world.trigger(FIRST).await;
    assert_eq!(triggered.expect("triggered"), Triggered::Acknowledged);
    world.until(|seen| !seen.present).await;
    soon(async {
        while child_of(world.pid()).is_some() {
            time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    world.signal("USR1").await;
    world.until_boot_after(&before).await;
    world.stop().await;
}

#[tokio::test]
async fn instant_is_back_in_another_boot() {
    let world = World::start("instant").await;
    let before = world.boot_id().await;
    world.trigger(FIRST).await.expect("triggered");
    let seen = world.until_boot_after(&before).await;
    assert_eq!(seen.caused_by, Some(FIRST));
    world.stop().await;
}

#[tokio::test]
async fn restart_same_boot_claims_a_cause_in_its_old_boot() {
    let world = World::start("restart-same-boot").await;
    let before = world.boot_id().await;
    world.trigger(FIRST).await.expect("triggered");
    let seen = world.until(|seen| seen.caused_by.is_some()).await;
    assert!(seen.was_absent);
    assert_eq!(seen.boot_id, Some(before));
    world.stop().await;
}

#[tokio::test]
async fn refuses_says_so_and_stays() {
    let world = World::start("refuses").await;
    let before = world.boot_id().await;
    match world.trigger(FIRST).await {
        Err(DriverError::Refused(message)) => assert_eq!(message, "busy"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    assert_eq!(world.boot_id().await, before);
    world.stop().await;
}

#[tokio::test]
async fn the_reset_button_boots_it_for_no_cause() {
    let world = World::start("well-behaved").await;
    let before = world.boot_id().await;
    world.signal("USR1").await;
    let seen = world.until_boot_after(&before).await;
    assert_eq!(seen.caused_by, None);
    world.stop().await;
}

#[tokio::test]
async fn a_broker_that_comes_back_finds_it_in_the_same_boot() {
    let mut world = World::start("well-behaved").await;
    let before = world.boot_id().await;
    let address = world.endpoint.address;
    world.endpoint.stop().await;
    (world.endpoint, world.driver) = Endpoint::start(address).await;
    assert_eq!(world.boot_id().await, before);
    world.stop().await;
}

#[tokio::test]
async fn a_supervisor_that_is_killed_leaves_no_orphan() {
    let mut world = World::start("well-behaved").await;
    let device = child_of(world.pid()).expect("the device runs");
    soon(world.supervisor.kill()).await.expect("kill");
    until_gone(device).await;
    world.until(|seen| !seen.present).await;
    world.endpoint.stop().await;
}
