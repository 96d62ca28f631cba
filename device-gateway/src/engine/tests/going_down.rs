//! A device that announces that it goes down, or that it does not after all.

use iot_hub::reboot::{HistoryEntry, Origin, State};

use super::sim::{Behavior, Sim, request};
use crate::engine::Input;

/// A machine whose first boot has been seen.
fn machine(behavior: Behavior) -> Sim {
    let mut sim = Sim::on_host(behavior);
    sim.run_until(|sim| sim.disk.boot_id.is_some());
    sim
}

#[track_caller]
fn newest(sim: &Sim) -> (State, Option<Origin>, usize) {
    let history: Vec<HistoryEntry> = sim.reports.last().expect("a report").history.clone();
    let entry = history.first().expect("an entry");
    assert_eq!(entry.id, None);
    (entry.state, entry.origin, history.len())
}

#[test]
fn a_reboot_by_others_is_on_disk_and_reported_before_and_named_after() {
    let mut sim = machine(Behavior::BootsEarly);
    sim.feed(Input::GoingDown);
    // Told twice, it is still one.
    sim.feed(Input::GoingDown);
    assert!(sim.disk.going_down.is_some());
    assert_eq!(newest(&sim), (State::Rebooting, Some(Origin::Local), 1));

    sim.restart();
    sim.run_until(|sim| sim.disk.counters.unexpected == 1);
    assert_eq!(newest(&sim), (State::Succeeded, Some(Origin::Local), 1));
    assert_eq!(sim.disk.going_down, None);
    assert_eq!(sim.disk.last_reboot, None);
}

#[test]
fn one_that_was_not_announced_came_from_nobody_we_know() {
    let mut sim = machine(Behavior::BootsEarly);
    sim.restart();
    sim.run_until(|sim| sim.disk.counters.unexpected == 1);
    assert_eq!(
        newest(&sim),
        (State::Succeeded, Some(Origin::Unexpected), 1)
    );
}

#[test]
fn one_that_is_called_off_is_no_boot() {
    let mut sim = machine(Behavior::Lies);
    sim.feed(Input::StayingUp);
    assert!(sim.disk.history.is_empty());
    sim.feed(Input::GoingDown);
    sim.feed(Input::StayingUp);
    assert_eq!(newest(&sim), (State::Cancelled, Some(Origin::Local), 1));
    assert_eq!(sim.disk.counters.unexpected, 0);
    assert_eq!(sim.disk.going_down, None);
}

#[test]
fn an_announcement_without_a_boot_is_forgotten_by_the_next_process() {
    let mut sim = machine(Behavior::Lies);
    sim.feed(Input::GoingDown);
    sim.restart();
    sim.run_until(|sim| sim.disk.going_down.is_none());
    assert_eq!(newest(&sim), (State::Cancelled, Some(Origin::Local), 1));
    assert_eq!(sim.disk.counters.unexpected, 0);
}

#[test]
fn our_own_reboot_is_not_somebody_elses() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.call("reboot", request());
    sim.run_until(|sim| matches!(sim.engine.open(), Some((_, State::Rebooting))));
    sim.feed(Input::GoingDown);
    assert_eq!(sim.disk.going_down, None);
    sim.run();
    assert_eq!(sim.verdict().0, State::Succeeded);
    assert_eq!(sim.disk.counters.unexpected, 0);
    assert_eq!(sim.disk.history.len(), 1);
}

#[test]
fn a_device_that_goes_down_by_itself_is_given_no_command() {
    let mut sim = machine(Behavior::Lies);
    sim.call("reboot", request());
    sim.run_until(|sim| matches!(sim.engine.open(), Some((_, State::Accepted))));
    sim.feed(Input::GoingDown);
    sim.run();
    assert!(sim.triggers.is_empty());
    assert_eq!(
        sim.verdict(),
        (State::Failed, Some("PREPARE_TIMEOUT".into()), None)
    );

    // One that stays up after all is.
    let mut sim = machine(Behavior::Lies);
    sim.call("reboot", request());
    sim.run_until(|sim| matches!(sim.engine.open(), Some((_, State::Accepted))));
    sim.feed(Input::GoingDown);
    sim.feed(Input::StayingUp);
    sim.run();
    assert_eq!(sim.triggers.len(), 1);
}
