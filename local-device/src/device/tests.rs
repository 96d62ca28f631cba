//! Each behaviour as a value: a command in, the exact list of outputs out.

use serde_json::json;

use super::*;
use crate::flash::POWER_ON;

const COMMAND: &str = r#"{"v":1,"id":"c1","mode":"graceful","reason":"test"}"#;
const FORCED: &str = r#"{"v":1,"id":"c1","mode":"forced"}"#;

fn device(behavior: Behavior) -> Device {
    Device::new(behavior, Flash::new())
}

/// The device after it went down by itself and was started again.
fn booted_again(device: &Device) -> Device {
    let mut flash = device.flash().clone();
    flash.boot(device.behavior.keeps_boot());
    Device::new(device.behavior, flash)
}

/// The outputs as words: a topic and what matters of its payload.
fn words(outputs: &[Output]) -> Vec<String> {
    outputs
        .iter()
        .map(|output| match output {
            Output::Publish {
                topic,
                payload,
                retain,
            } => {
                let value: Value = serde_json::from_str(payload).unwrap_or(json!(payload));
                let word = match topic {
                    Topic::Ack => format!("ack {}", value["accepted"]),
                    Topic::Health => format!("health {}", value["healthy"]),
                    Topic::Birth => format!("birth {}", value["causeId"]),
                    Topic::Status => payload.clone(),
                    Topic::RebootCommand | Topic::BirthCommand => {
                        panic!("a device commands nobody")
                    }
                };
                assert_eq!(*retain, *topic != Topic::Ack);
                word
            }
            Output::WriteFlash => "flash".to_owned(),
            Output::Leave(leave) => format!("leave {leave:?}"),
        })
        .collect()
}

#[track_caller]
fn check(behavior: Behavior, command: &str, expected: &[&str], then: &[&str]) {
    let mut device = device(behavior);
    assert_eq!(
        words(&device.on_connected()),
        ["birth null", "online", "health true"]
    );
    assert_eq!(words(&device.on_command(command.as_bytes())), expected);
    if device.leaving {
        let next = booted_again(&device);
        assert_eq!(words(&next.on_connected()), then);
        let same = next.flash().boot_id == device.flash().boot_id;
        assert_eq!(same, behavior == Behavior::RestartSameBoot);
    } else {
        assert!(then.is_empty());
    }
}

#[test]
fn a_birth_that_is_asked_for_is_told_again_until_the_device_goes_down() {
    let mut device = device(Behavior::WellBehaved);
    let hello = ["birth null", "online", "health true"];
    assert_eq!(words(&device.on_asked_for_birth()), hello);
    device.on_command(COMMAND.as_bytes());
    assert!(device.on_asked_for_birth().is_empty());
}

const GOODBYE: [&str; 4] = ["flash", "ack true", "offline", "leave Gracefully"];
const HELLO: [&str; 3] = [r#"birth "c1""#, "online", "health true"];

#[test]
fn each_behavior_does_what_its_name_says() {
    check(Behavior::WellBehaved, COMMAND, &GOODBYE, &HELLO);
    check(Behavior::Instant, COMMAND, &GOODBYE, &HELLO);
    check(Behavior::NeverReturns, COMMAND, &GOODBYE, &HELLO);
    check(Behavior::RestartSameBoot, COMMAND, &GOODBYE, &HELLO);
    check(Behavior::Twice, COMMAND, &GOODBYE, &HELLO);
    check(Behavior::AckAndNothing, COMMAND, &["ack true"], &[]);
    check(Behavior::Refuses, COMMAND, &["ack false"], &[]);
    check(Behavior::HeedsForce, COMMAND, &["ack true"], &[]);
    check(
        Behavior::HeedsForce,
        FORCED,
        &["flash", "ack true", "leave Abruptly"],
        &HELLO,
    );
    check(Behavior::NoAck, COMMAND, &["flash", "leave AtOnce"], &HELLO);
    check(
        Behavior::StaleOnline,
        COMMAND,
        &["flash", "ack true", "leave Gracefully"],
        &["online"],
    );
    check(
        Behavior::Unhealthy,
        COMMAND,
        &GOODBYE,
        &[r#"birth "c1""#, "online", "health false"],
    );
    check(
        Behavior::WellBehaved,
        FORCED,
        &["flash", "ack true", "leave Abruptly"],
        &HELLO,
    );
}

#[test]
fn a_command_is_done_once_also_after_the_reboot() {
    let mut device = device(Behavior::WellBehaved);
    device.on_command(COMMAND.as_bytes());
    assert_eq!(
        device.on_command(COMMAND.as_bytes()),
        [],
        "it is going down"
    );
    let mut next = booted_again(&device);
    assert_eq!(words(&next.on_command(COMMAND.as_bytes())), ["ack true"]);
    let other = COMMAND.replace("c1", "c2");
    assert_eq!(words(&next.on_command(other.as_bytes())), GOODBYE);
}

#[test]
fn the_watchdog_bites_once_per_command() {
    let mut device = device(Behavior::Twice);
    assert_eq!(device.watchdog(), None);
    device.on_command(COMMAND.as_bytes());
    let mut second = booted_again(&device);
    assert!(second.watchdog().is_some());
    assert_eq!(words(&second.on_watchdog()), ["flash", "leave AtOnce"]);
    let third = booted_again(&second);
    assert_eq!(third.watchdog(), None);
    assert_eq!(third.flash().reset_reason, "watchdog");
    assert_eq!(third.flash().cause_id, None);
    assert_ne!(third.flash().boot_id, second.flash().boot_id);
}

#[test]
fn a_power_cut_names_no_cause() {
    let next = booted_again(&device(Behavior::WellBehaved));
    assert_eq!(next.flash().reset_reason, POWER_ON);
    assert_eq!(next.flash().cause_id, None);
}

#[test]
fn a_bad_command_is_refused_when_it_has_an_id_and_ignored_otherwise() {
    let mut device = device(Behavior::WellBehaved);
    for ignored in ["", "reboot", "[]", "{}", r#"{"id":7}"#] {
        assert_eq!(device.on_command(ignored.as_bytes()), [], "{ignored}");
    }
    let outputs = device.on_command(br#"{"id":"c1","mode":"sideways"}"#);
    assert_eq!(words(&outputs), ["ack false"]);
    assert_eq!(device.flash().pending, None);
}
