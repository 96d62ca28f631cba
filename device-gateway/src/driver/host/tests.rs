//! The driver on a real bus with a mock of systemd-logind, which logs what it is asked.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

mod announcements;
mod misbehavior;
mod without_logind;

use super::*;
use crate::{driver::tests::order, host::test_bus::TestBus};

struct World {
    bus: TestBus,
    config: HostConfig,
}

impl World {
    async fn start(can_reboot: &str) -> Self {
        let bus = TestBus::start(can_reboot).await;
        let config = HostConfig {
            dry_run: false,
            method: HostMethod::Schedule,
            fallback: true,
            bus_address: Some(bus.address.clone()),
            boot_id_file: file(&bus, "boot_id", "b1\n"),
            uptime_file: file(&bus, "uptime", "1234.5 99.0\n"),
        };
        Self { bus, config }
    }

    fn driver(&self) -> HostDriver {
        HostDriver {
            // The whole machine's storage is not this test's business.
            sync: || {},
            ..HostDriver::new(self.config.clone())
        }
    }

    async fn trigger(&self, order: &Order) -> Result<Triggered, DriverError> {
        self.driver().trigger(order).await
    }
}

fn file(bus: &TestBus, name: &str, content: &str) -> PathBuf {
    let path = bus.dir.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// The one call that was made: its kind, and how far ahead it was scheduled.
#[track_caller]
fn scheduled(bus: &TestBus) -> (String, Duration) {
    let asked = bus.asked();
    let [call] = asked.as_slice() else {
        panic!("expected one call, got {asked:?}");
    };
    let words: Vec<_> = call.split(' ').collect();
    let ["ScheduleShutdown", kind, usec] = words.as_slice() else {
        panic!("expected ScheduleShutdown, got {call}");
    };
    let at = SystemTime::UNIX_EPOCH + Duration::from_micros(usec.parse().unwrap());
    // What is past by now was ahead by less than this.
    let ahead = at.duration_since(SystemTime::now()).unwrap_or_default();
    (kind.trim_matches('"').to_owned(), ahead)
}

#[tokio::test]
async fn a_reboot_is_scheduled_once_a_moment_ahead() {
    let world = World::start("yes").await;
    let triggered = world.trigger(&order(Mode::Graceful)).await.unwrap();
    assert_eq!(triggered, Triggered::Acknowledged);
    let (kind, ahead) = scheduled(&world.bus);
    assert_eq!(kind, "reboot");
    assert!(ahead <= SCHEDULE_AHEAD, "{ahead:?}");
}

#[tokio::test]
async fn a_reboot_at_once_asks_nobody_for_a_password() {
    let mut world = World::start("yes").await;
    world.config.method = HostMethod::Reboot;
    let triggered = world.trigger(&order(Mode::Graceful)).await.unwrap();
    assert_eq!(triggered, Triggered::Acknowledged);
    assert_eq!(world.bus.asked(), ["Reboot False"]);
}

#[tokio::test]
async fn a_rehearsal_never_asks_for_a_real_reboot() {
    for (configured, ordered, method) in [
        (true, false, HostMethod::Schedule),
        (true, false, HostMethod::Reboot),
        (false, true, HostMethod::Schedule),
        (false, true, HostMethod::Reboot),
    ] {
        let mut world = World::start("yes").await;
        world.config.dry_run = configured;
        world.config.method = method;
        let rehearsal = Order {
            dry_run: ordered,
            ..order(Mode::Graceful)
        };
        let triggered = world.trigger(&rehearsal).await.unwrap();
        assert_eq!(triggered, Triggered::Rehearsed);
        assert_eq!(scheduled(&world.bus).0, "dry-reboot");
    }
}

#[tokio::test]
async fn a_machine_that_may_not_be_rebooted_is_not_asked() {
    for (answer, words) in [
        ("no", "does not let this user"),
        ("challenge", "polkit has to allow"),
        ("na", "cannot be rebooted"),
        ("perhaps", "\"perhaps\""),
    ] {
        let world = World::start(answer).await;
        for error in [
            world.trigger(&order(Mode::Graceful)).await.unwrap_err(),
            world.driver().probe().await.unwrap_err(),
        ] {
            let DriverError::Unsupported(why) = error else {
                panic!("{answer}: {error}");
            };
            assert!(why.contains(words), "{why}");
        }
        assert_eq!(world.bus.asked(), [""; 0]);
    }
    let world = World::start("yes").await;
    let power_cycle = order(Mode::PowerCycle);
    let refused = world.trigger(&power_cycle).await;
    assert!(matches!(refused, Err(DriverError::Unsupported(_))));
    assert_eq!(world.bus.asked(), [""; 0]);
}

#[tokio::test]
async fn who_blocks_a_shutdown_is_named_and_obeyed_unless_forced() {
    let world = World::start("yes").await;
    let bus = &world.bus;
    let _delay = bus.inhibit("shutdown", "logger", "flush", "delay").await;
    let _sleep = bus.inhibit("sleep:idle", "player", "film", "block").await;
    let driver = world.driver();
    let none = driver.blockers(Mode::Graceful).await.unwrap();
    assert!(none.is_empty(), "{none:?}");

    let backup = "back.up $1";
    let _one = bus
        .inhibit("sleep:shutdown", backup, "writes a disk", "block")
        .await;
    let _two = bus
        .inhibit("shutdown", backup, "writes a tape", "block")
        .await;
    let blockers = driver.blockers(Mode::Graceful).await.unwrap();
    let told: Vec<_> = blockers
        .iter()
        .map(|(id, blocker)| (id.as_str(), blocker.who.as_str(), blocker.why.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("inhibitor-back-up--1", backup, "writes a disk"),
            ("inhibitor-back-up--1-2", backup, "writes a tape"),
        ]
    );
    match driver.trigger(&order(Mode::Graceful)).await {
        Err(DriverError::Refused(why)) => {
            assert_eq!(why, "back.up $1 forbids it: writes a disk");
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    assert_eq!(bus.asked(), [""; 0]);

    assert!(driver.blockers(Mode::Forced).await.unwrap().is_empty());
    let forced = Order {
        force: true,
        ..order(Mode::Graceful)
    };
    let triggered = driver.trigger(&forced).await.unwrap();
    assert_eq!(triggered, Triggered::Acknowledged);
    assert_eq!(scheduled(bus).0, "reboot");
}

#[tokio::test]
async fn a_refusal_is_told_in_its_own_words() {
    let world = World::start("yes").await;
    let code = "raise dbus.exceptions.DBusException('not today', \
                name='org.freedesktop.DBus.Error.AccessDenied')";
    world.bus.method("ScheduleShutdown", "st", code).await;
    match world.trigger(&order(Mode::Graceful)).await {
        Err(DriverError::Refused(why)) => assert_eq!(why, "not today"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn a_machine_that_goes_down_before_it_answers_is_no_error() {
    let world = World::start("yes").await;
    world
        .bus
        .method("ScheduleShutdown", "st", "os._exit(0)")
        .await;
    let triggered = world.trigger(&order(Mode::Graceful)).await.unwrap();
    assert_eq!(triggered, Triggered::Unacknowledged);
    let nobody = world.trigger(&order(Mode::Graceful)).await;
    assert!(
        matches!(nobody, Err(DriverError::Unsupported(_))),
        "{nobody:?}"
    );

    let world = World::start("yes").await;
    world
        .bus
        .method("ScheduleShutdown", "st", "time.sleep(1000)")
        .await;
    let mut driver = world.driver();
    driver.logind = driver.logind.with_limit(Duration::from_secs(2));
    let triggered = driver.trigger(&order(Mode::Graceful)).await.unwrap();
    assert_eq!(triggered, Triggered::Unacknowledged);
}

#[tokio::test]
async fn a_test_cannot_reach_the_bus_of_its_machine() {
    let mut world = World::start("yes").await;
    world.config.bus_address = None;
    let unreachable = world.trigger(&order(Mode::Graceful)).await.unwrap_err();
    assert_eq!(
        unreachable.to_string(),
        "reach the device: no connection to the system bus: a test has to name its bus"
    );
    let nowhere = world.bus.dir.path().join("nowhere");
    world.config.bus_address = Some(format!("unix:path={}", nowhere.display()));
    let unreachable = world.driver().probe().await;
    assert!(matches!(unreachable, Err(DriverError::Unreachable(_))));
    world.config.bus_address = Some("nonsense".into());
    let unreachable = world.driver().blockers(Mode::Graceful).await;
    assert!(matches!(unreachable, Err(DriverError::Unreachable(_))));
}

#[tokio::test]
async fn the_kernels_boot_id_is_the_evidence() {
    let world = World::start("yes").await;
    let driver = world.driver();
    let probe = driver.probe().await.unwrap();
    assert!(probe.restarts_gateway);
    assert_eq!(probe.boot_id.as_deref(), Some("b1"));
    let baseline = driver.baseline().await.unwrap();
    assert_eq!(baseline.boot_id.as_deref(), Some("b1"));
    assert_eq!(baseline.uptime, Some(Duration::from_millis(1_234_500)));
    assert_eq!(baseline.detail, "boot b1, up 1234 s");

    // A command that was taken and changed nothing shows nothing.
    driver.trigger(&order(Mode::Graceful)).await.unwrap();
    let seen = driver.observe(&baseline).await.unwrap();
    assert_eq!(seen.boot_id, baseline.boot_id);
    assert!(seen.present && !seen.was_absent);

    // What the next process sees after a reboot.
    fs::write(&world.config.boot_id_file, "b2\n").unwrap();
    fs::write(&world.config.uptime_file, "3.25 1.0\n").unwrap();
    let seen = world.driver().observe(&baseline).await.unwrap();
    assert_eq!(seen.boot_id.as_deref(), Some("b2"));
    assert_eq!(seen.uptime, Some(Duration::from_millis(3250)));
    assert_eq!(seen.method, "linux-boot-id");
    assert_eq!(seen.caused_by, None);

    fs::remove_file(&world.config.boot_id_file).unwrap();
    let failed = driver.observe(&baseline).await.unwrap_err().to_string();
    assert!(failed.starts_with("read the boot id: /"), "{failed}");
}

#[tokio::test]
async fn storage_is_synced_first_and_never_for_ever() {
    static SYNCED: AtomicUsize = AtomicUsize::new(0);
    let world = World::start("yes").await;
    let driver = HostDriver {
        sync: || {
            SYNCED.fetch_add(1, Ordering::SeqCst);
        },
        ..world.driver()
    };
    driver.trigger(&order(Mode::Graceful)).await.unwrap();
    assert_eq!(SYNCED.load(Ordering::SeqCst), 1);

    let world = World::start("yes").await;
    let driver = HostDriver {
        sync: || thread::sleep(Duration::from_secs(3)),
        sync_limit: Duration::from_millis(50),
        ..world.driver()
    };
    let triggered = driver.trigger(&order(Mode::Graceful)).await.unwrap();
    assert_eq!(triggered, Triggered::Acknowledged);
    assert_eq!(scheduled(&world.bus).0, "reboot");
}
