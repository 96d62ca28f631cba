//! A machine whose logind cannot be asked, and the machines where it could be.

use super::*;
use crate::{driver::tests::rehearsal, host::last_resort::tests::Machine};

/// A driver that finds a bus there or not, on a machine where systemctl does as told.
struct Stranded {
    world: World,
    machine: Machine,
}

impl Stranded {
    async fn start(systemctl: &str) -> Self {
        let mut world = World::start("yes").await;
        let nowhere = world.bus.dir.path().join("nowhere");
        world.config.bus_address = Some(format!("unix:path={}", nowhere.display()));
        Self {
            world,
            machine: Machine::with_systemd(systemctl),
        }
    }

    /// The same with logind within reach.
    async fn with_logind() -> Self {
        let mut this = Self::start("exit 0").await;
        this.world.config.bus_address = Some(this.world.bus.address.clone());
        this
    }

    fn driver(&self) -> HostDriver {
        HostDriver {
            last_resort: self.machine.last_resort(),
            ..self.world.driver()
        }
    }
}

const ASKED: [&str; 1] = ["reboot --no-wall --no-ask-password"];

#[tokio::test]
async fn systemctl_reboots_where_logind_is_not_there() {
    let stranded = Stranded::start("exit 0").await;
    let driver = stranded.driver();
    assert!(driver.probe().await.unwrap().restarts_gateway);
    assert!(driver.blockers(Mode::Graceful).await.unwrap().is_empty());
    assert_eq!(stranded.machine.asked(), [""; 0]);
    let triggered = driver.trigger(&order(Mode::Graceful)).await.unwrap();
    assert_eq!(triggered, Triggered::Acknowledged);
    assert_eq!(stranded.machine.asked(), ASKED);
}

#[tokio::test]
async fn a_bus_without_logind_counts_as_none() {
    let stranded = Stranded::with_logind().await;
    let bus = &stranded.world.bus;
    // It goes away for good with the first question.
    bus.method("CanReboot", "", "os._exit(0)").await;
    let driver = stranded.driver();
    assert!(driver.trigger(&order(Mode::Graceful)).await.is_err());
    assert_eq!(stranded.machine.asked(), [""; 0]);
    let triggered = driver.trigger(&order(Mode::Graceful)).await.unwrap();
    assert_eq!(triggered, Triggered::Acknowledged);
    assert_eq!(stranded.machine.asked(), ASKED);
}

#[tokio::test]
async fn a_rehearsal_without_logind_asks_nobody() {
    let stranded = Stranded::start("exit 0").await;
    let rehearsal = rehearsal(Mode::Graceful);
    let triggered = stranded.driver().trigger(&rehearsal).await.unwrap();
    assert_eq!(triggered, Triggered::Rehearsed);
    assert_eq!(stranded.machine.asked(), [""; 0]);
}

#[tokio::test]
async fn nobody_else_is_asked_when_logind_said_no_or_may_have_done_it() {
    let denied = "raise dbus.exceptions.DBusException('not today', \
                  name='org.freedesktop.DBus.Error.AccessDenied')";
    for (code, expected) in [
        ("", Ok(Triggered::Acknowledged)),
        (denied, Err(DriverError::Refused("not today".into()))),
        ("os._exit(0)", Ok(Triggered::Unacknowledged)),
    ] {
        let stranded = Stranded::with_logind().await;
        let bus = &stranded.world.bus;
        bus.method("ScheduleShutdown", "st", code).await;
        assert_eq!(
            stranded.driver().trigger(&order(Mode::Graceful)).await,
            expected
        );
        assert_eq!(stranded.machine.asked(), [""; 0], "{code}");
    }
    for answer in ["no", "challenge", "na"] {
        let mut stranded = Stranded::start("exit 0").await;
        stranded.world = World::start(answer).await;
        let unsupported = stranded.driver().trigger(&order(Mode::Graceful)).await;
        assert!(matches!(unsupported, Err(DriverError::Unsupported(_))));
        assert_eq!(stranded.machine.asked(), [""; 0], "{answer}");
    }
}

#[tokio::test]
async fn a_machine_that_is_told_to_have_no_last_resort_has_none() {
    let mut stranded = Stranded::start("exit 0").await;
    stranded.world.config.fallback = false;
    let driver = stranded.driver();
    assert!(matches!(
        driver.probe().await,
        Err(DriverError::Unreachable(_))
    ));
    assert!(matches!(
        driver.trigger(&order(Mode::Graceful)).await,
        Err(DriverError::Unreachable(_))
    ));
    assert_eq!(stranded.machine.asked(), [""; 0]);
}

#[tokio::test]
async fn the_first_process_is_signalled_only_after_systemctl_reached_nobody() {
    for (systemctl, expected) in [
        ("kill -KILL $$", Ok(Triggered::Unacknowledged)),
        (
            "echo 'Failed to start reboot.target: Access denied' >&2; exit 1",
            Err(DriverError::Refused(
                "Failed to start reboot.target: Access denied".into(),
            )),
        ),
        (
            "echo 'Unit reboot.target is masked.' >&2; exit 1",
            Err(DriverError::Failed {
                doing: "reboot without systemd-logind",
                message: "Unit reboot.target is masked.".into(),
            }),
        ),
    ] {
        let stranded = Stranded::start(systemctl).await;
        assert_eq!(
            stranded.driver().trigger(&order(Mode::Graceful)).await,
            expected
        );
    }
    let stranded = Stranded::start("echo 'Failed to connect to bus: x' >&2; exit 1").await;
    // There is no such process, and the shell that was to signal it says so.
    match stranded.driver().trigger(&order(Mode::Graceful)).await {
        Err(DriverError::Refused(why)) => assert!(why.contains("kill"), "{why}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}
