//! Power that was taken away, and a gateway that does not live to see it given back.

use iot_hub::reboot::{Grade, Mode, State};
use serde_json::{Value, json};

use super::{
    sim::{Behavior, Crash, ID, Sim, request, seconds},
    verdicts::{check, with},
};

fn power_cycle() -> Value {
    with(request(), json!({ "mode": Mode::PowerCycle.name() }))
}

/// A device with an outlet.
fn device(behavior: Behavior) -> Sim {
    let mut sim = Sim::new(behavior);
    sim.offers = Mode::ALL.to_vec();
    sim.restart();
    sim
}

/// One that hangs until it has its power again, which nobody gives it back unless asked.
fn left_off() -> Sim {
    let mut sim = device(Behavior::HangsGoingDown);
    sim.stays_off = true;
    sim
}

#[test]
fn a_gateway_that_died_in_a_power_cycle_sees_to_the_power_before_anything_else() {
    let mut sim = left_off();
    sim.command_takes = seconds(30);
    sim.call("reboot", power_cycle());
    sim.run_until(|sim| !sim.triggers.is_empty());
    assert!(sim.disk.power_owed);
    assert_eq!(sim.restores, 0, "its own command is under way");
    let looks = sim.looks;
    sim.restart();
    assert_eq!((sim.restores, sim.looks), (1, looks + 1));
    sim.run();
    check(&sim, State::Succeeded, None, Some(Grade::Healthy));
    assert_eq!((sim.restores, sim.disk.power_owed), (1, false));
    assert_eq!(sim.triggers, [ID]);
}

#[test]
fn the_power_is_seen_to_though_the_attempt_has_ended() {
    let mut sim = left_off();
    sim.restores_fail = 200;
    sim.call("reboot", power_cycle());
    sim.run();
    check(&sim, State::Lost, Some("NO_RETURN"), Some(Grade::Claimed));
    let error = sim.engine.report().attempt.unwrap().error.unwrap();
    assert!(error.message.contains("power"), "{error:?}");
    let before = sim.restores;
    sim.restart();
    assert_eq!(sim.restores, before + 1);
    sim.restores_fail = sim.restores;
    sim.run_until(|sim| !sim.disk.power_owed);
    assert!(sim.restores > before + 1);
    sim.restart();
    sim.run_until(|sim| sim.disk.boot_id.as_deref() == Some("boot-1"));
    assert_eq!(sim.triggers, [ID]);
}

#[test]
fn a_crash_at_any_write_of_a_power_cycle_leaves_no_device_without_its_power() {
    let plain = left_off().reboot(power_cycle());
    assert_eq!((plain.triggers.len(), plain.restores), (1, 1));
    for write in 1..=plain.writes {
        for crash in [
            Crash::BeforeWrite(write),
            Crash::AfterWrite(write),
            Crash::AfterStep(write),
        ] {
            let mut sim = left_off();
            sim.crash = vec![crash];
            let mut sim = sim.reboot(power_cycle());
            sim.run_until(|sim| !sim.disk.power_owed);
            assert!(sim.triggers.len() <= 1, "{crash:?}");
            assert!(sim.triggers.is_empty() || sim.restores > 0, "{crash:?}");
        }
    }
}

#[test]
fn no_power_is_seen_to_that_was_not_taken_or_is_back() {
    let sim = device(Behavior::Reboots).reboot(request());
    assert_eq!((sim.restores, sim.disk.power_owed), (0, false));

    let mut seen = left_off();
    seen.stays_off = false;
    seen.sees_power = true;
    let seen = seen.reboot(power_cycle());
    check(&seen, State::Succeeded, None, Some(Grade::Healthy));
    assert_eq!((seen.restores, seen.disk.power_owed), (0, false));

    let refuses = device(Behavior::Refuses).reboot(power_cycle());
    check(&refuses, State::Failed, Some("TRIGGER_FAILED"), None);
    assert_eq!((refuses.restores, refuses.disk.power_owed), (0, false));

    let mut rehearsed = left_off();
    rehearsed.change(|settings| settings.dry_run = true);
    let rehearsed = rehearsed.reboot(power_cycle());
    assert_eq!((rehearsed.restores, rehearsed.disk.power_owed), (0, false));
}

#[test]
fn a_device_has_its_whole_time_to_return_from_when_it_has_its_power() {
    let mut sim = left_off();
    // It boots six seconds after that.
    sim.restore_takes = seconds(15 * 60 - 2);
    let sim = sim.reboot(power_cycle());
    check(&sim, State::Succeeded, None, Some(Grade::Healthy));
    assert!(sim.time > seconds(15 * 60), "{:?}", sim.time);
}
