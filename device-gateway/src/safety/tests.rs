//! Interlocks and hooks that say yes, say no, break or hang; and the order of host and devices.

use std::time::Instant;

use bytes::Bytes;
use iot_hub::reboot::State;
use rumqttc::QoS;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::local_mqtt::Elsewhere;
use crate::{
    config::{CommandLine, InterlockConfig, QuestionConfig},
    driver::tests::{self, ID},
    local_mqtt::{
        LocalMqtt,
        test_device::{TestDevice, soon},
    },
};

fn shell(script: &str) -> CommandLine {
    CommandLine {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
    }
}

fn interlock(command: CommandLine, timeout: Duration) -> InterlockConfig {
    InterlockConfig {
        name: "line stopped".into(),
        question: QuestionConfig::Command { command, timeout },
        absolute: false,
    }
}

fn safety(interlocks: Vec<InterlockConfig>, prepare: Option<HookConfig>) -> Safety {
    let config = SafetyConfig {
        interlocks,
        prepare,
    };
    let member = Family::default().member("d1".parse().unwrap(), false);
    Safety::new(config, None, member)
}

const LONG: Duration = Duration::from_secs(30);

fn order() -> Order {
    Order {
        reason: "two\nlines".into(),
        ..tests::order(Mode::Graceful)
    }
}

#[tokio::test]
async fn an_interlock_says_yes_by_its_exit_status_alone() {
    for (script, why) in [
        ("exit 0", None),
        ("echo yes; exit 3", Some("exit status 3")),
        ("echo the press moves >&2; exit 1", Some("the press moves")),
        ("kill -9 $$", Some("killed by signal 9")),
    ] {
        let safety = safety(vec![interlock(shell(script), LONG)], None);
        let blockers = safety.blockers().await;
        let said = blockers.get("interlock-line-stopped");
        assert_eq!(said.map(|blocker| blocker.why.as_str()), why, "{script}");
        assert_eq!(blockers.len(), usize::from(why.is_some()));
    }
    let missing = CommandLine {
        program: "/nowhere/at/all".into(),
        arguments: Vec::new(),
    };
    let safety = safety(vec![interlock(missing, LONG)], None);
    assert!(!safety.blockers().await.is_empty());
}

#[tokio::test]
async fn an_interlock_that_hangs_is_a_no_within_its_limit() {
    let began = Instant::now();
    let limit = Duration::from_millis(100);
    let safety = safety(vec![interlock(shell("sleep 600"), limit)], None);
    let blockers = safety.blockers().await;
    assert_eq!(blockers["interlock-line-stopped"].why, "it took too long");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn a_value_counts_on_the_connection_it_was_said_on() {
    let loopback = "127.0.0.1:0".parse().unwrap();
    let endpoint = LocalMqtt::bind(loopback, []).await.unwrap();
    let accounts = endpoint.accounts();
    let address = endpoint.local_addr();
    let question = |device: &str| InterlockConfig {
        name: "idle".into(),
        question: QuestionConfig::Value {
            device: device.into(),
            topic: "state/idle".into(),
            yes: "yes".into(),
        },
        absolute: false,
    };
    let nobody = Interlock::new(question("press-2"), Some(&accounts));
    let interlock = Interlock::new(question("press-1"), Some(&accounts));
    let mut told = interlock.told.clone().unwrap();
    // It is let in after its interlock began to listen.
    drop(
        accounts
            .admit("press-1", Some("secret".into()), Elsewhere::default())
            .unwrap(),
    );
    tokio::spawn(endpoint.serve(CancellationToken::new()));
    assert!(interlock.ask().await.is_some(), "it was never said");

    let press = TestDevice::connect(address, "press-1", "secret").await;
    for (payload, yes) in [("yes", true), ("yes.", false), ("yes", true)] {
        press
            .publishes("dm/press-1/state/idle", QoS::AtLeastOnce, true, payload)
            .await;
        let wanted = Some(Bytes::from(payload));
        soon(told.wait_for(|told| *told == wanted)).await.unwrap();
        assert_eq!(interlock.ask().await.is_none(), yes);
    }
    press.dies().await;
    soon(told.wait_for(Option::is_none)).await.unwrap();
    // What is retained of the earlier connection is old.
    let press = TestDevice::connect(address, "press-1", "secret").await;
    press.says("state/other", "yes").await;
    press.says("state/idle", "no").await;
    let no = Some(Bytes::from("no"));
    soon(told.wait_for(|told| told.is_none() || *told == no))
        .await
        .unwrap();
    assert!(interlock.ask().await.is_some());
    assert!(nobody.ask().await.is_some());

    // One that may sign in by another password is heard, too, and what it said before is old.
    let admitted = accounts.admit("press-1", Some("newer".into()), Elsewhere::default());
    drop(admitted.unwrap());
    soon(told.wait_for(Option::is_none)).await.unwrap();
    let press = TestDevice::connect(address, "press-1", "newer").await;
    press.says("state/idle", "yes").await;
    let yes = Some(Bytes::from("yes"));
    soon(told.wait_for(|told| *told == yes)).await.unwrap();
    assert!(interlock.ask().await.is_none());
}

#[tokio::test]
async fn a_hook_prepares_and_its_failure_is_a_blocker() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let script = |end: &str| {
        let words = "$DM_REQUEST_ID $DM_MODE $DM_REASON $DM_DRY_RUN";
        shell(&format!("echo {words} > {}; {end}", seen.display()))
    };
    let hook = |end: &str| HookConfig {
        command: script(end),
        timeout: Duration::from_millis(500),
    };
    let well = safety(Vec::new(), Some(hook("exit 0")));
    assert!(well.prepare(&order()).await.is_empty());
    let words = std::fs::read_to_string(&seen).unwrap();
    assert_eq!(words.trim(), format!("{ID} graceful two lines 0"));

    for (end, why) in [
        ("echo busy >&2; exit 1", "busy"),
        ("sleep 600", "it took too long"),
    ] {
        let ill = safety(Vec::new(), Some(hook(end)));
        assert_eq!(ill.prepare(&order()).await["prepare"].why, why);
    }

    // At once is at once.
    std::fs::remove_file(&seen).unwrap();
    let ill = safety(Vec::new(), Some(hook("exit 1")));
    let forced = Order {
        mode: Mode::Forced,
        ..order()
    };
    assert!(ill.prepare(&forced).await.is_empty());
    assert!(!seen.exists());
}

#[tokio::test]
async fn an_interlock_is_asked_again_after_the_hook() {
    let folder = tempfile::tempdir().unwrap();
    let stop = folder.path().join("stop");
    let stopped = shell(&format!("test ! -e {}", stop.display()));
    let hook = HookConfig {
        command: shell(&format!("touch {}", stop.display())),
        timeout: LONG,
    };
    let safety = safety(vec![interlock(stopped, LONG)], Some(hook));
    assert!(safety.blockers().await.is_empty());
    let objections = safety.prepare(&order()).await;
    assert!(objections.contains_key("interlock-line-stopped"));
}

/// A host with one device.
fn family() -> (Safety, Safety) {
    let family = Family::default();
    let safety = |id: &str, is_host| {
        let member = family.member(id.parse().unwrap(), is_host);
        Safety::new(SafetyConfig::default(), None, member)
    };
    (safety("edge-1", true), safety("pump.1", false))
}

#[tokio::test]
async fn devices_come_before_their_host() {
    let (host, device) = family();
    device.member().has_told();
    device.member().stands(Some((ID, State::Scheduled)));
    assert!(host.blockers().await.is_empty(), "it only waits: parked");
    for state in [
        State::Accepted,
        State::Preparing,
        State::Rebooting,
        State::Down,
        State::Verifying,
    ] {
        device.member().stands(Some((ID, state)));
        let blockers = host.blockers().await;
        assert_eq!(blockers["child-pump-1"].who, "pump.1");
        assert!(host.prepare(&order()).await.contains_key("child-pump-1"));
        assert!(device.blockers().await.is_empty(), "the host waits");
    }
    device.member().stands(None);
    assert!(host.blockers().await.is_empty());
}

#[tokio::test]
async fn while_the_host_may_go_down_no_devices_reboot_begins() {
    let (host, device) = family();
    let mut going_down = device.member().going_down().unwrap();
    let rehearsal = Order {
        dry_run: true,
        ..order()
    };
    assert!(host.prepare(&rehearsal).await.is_empty());
    assert!(device.blockers().await.is_empty(), "a rehearsal is none");

    host.member().stands(Some((ID, State::Preparing)));
    let told = async {
        going_down.changed().await.unwrap();
        device.member().has_told();
    };
    let order = order();
    let (objections, ()) = tokio::join!(host.prepare(&order), told);
    assert!(objections.is_empty() && going_down.borrow_and_update().is_some());
    for state in [State::Preparing, State::Rebooting, State::Down] {
        host.member().stands(Some((ID, state)));
        assert!(device.blockers().await.contains_key("parent-rebooting"));
        assert!(
            device
                .prepare(&order)
                .await
                .contains_key("parent-rebooting")
        );
    }
    assert!(!going_down.has_changed().unwrap());
    host.member().stands(None);
    assert!(device.blockers().await.is_empty());
    assert!(going_down.borrow_and_update().is_none());

    // So it is when somebody else takes the host down.
    host.member().announces(true);
    assert!(device.blockers().await.contains_key("parent-rebooting"));
    host.member().announces(false);
    assert!(device.blockers().await.is_empty());
}

#[tokio::test]
async fn the_host_waits_until_its_devices_have_told_the_hub_but_not_for_ever() {
    let (host, device) = family();
    let limit = Duration::from_millis(50);
    let began = Instant::now();
    assert!(host.member().claim(false, limit).await.is_empty());
    assert!(began.elapsed() >= limit);
    assert!(device.blockers().await.contains_key("parent-rebooting"));

    host.member().stands(None);
    let mut going_down = device.member().going_down().unwrap();
    let told = async {
        going_down.changed().await.unwrap();
        device.member().has_told();
    };
    let (objections, ()) = tokio::join!(host.member().claim(false, Duration::MAX), told);
    assert!(objections.is_empty());
}

#[tokio::test]
async fn a_device_that_is_gone_holds_up_nobody() {
    let (host, device) = family();
    device.member().stands(Some((ID, State::Rebooting)));
    assert!(!host.blockers().await.is_empty());
    drop(device);
    assert!(host.blockers().await.is_empty());
    let begun = Instant::now();
    assert!(host.prepare(&order()).await.is_empty());
    assert!(
        begun.elapsed() < TELL_LIMIT,
        "there is nobody to tell the hub"
    );
}
