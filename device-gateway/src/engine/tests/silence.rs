//! Looks that nobody answers, at a device that shows no more than its presence.

use std::time::Duration;

use iot_hub::reboot::{Grade, State};
use proptest::prelude::*;
use serde_json::json;

use super::{
    sim::{Behavior, Shows, Sim, request, seconds},
    verdicts::{check, with},
};
use crate::engine::Input;

/// A device that only its presence is seen of.
fn presence(behavior: Behavior) -> Sim {
    let mut sim = Sim::new(behavior);
    sim.shows = Shows::Presence;
    sim
}

fn reboot(sim: Sim) -> Sim {
    sim.reboot(with(request(), json!({ "requiredGrade": 1 })))
}

#[track_caller]
fn check_not_shown(sim: &Sim, words: &str) {
    let claimed = Some(Grade::Claimed);
    check(sim, State::Failed, Some("NO_SHUTDOWN"), claimed);
    let error = sim.engine.report().attempt.unwrap().error.unwrap();
    assert!(error.message.starts_with(words), "{error:?}");
}

#[test]
fn a_device_that_did_nothing_has_not_returned_because_one_look_was_lost() {
    let mut sim = presence(Behavior::Lies);
    sim.loses = vec![1];
    check_not_shown(&reboot(sim), "a look at the device was not answered");
    check_not_shown(
        &reboot(presence(Behavior::Lies)),
        "the device was not seen away",
    );
}

#[test]
fn a_device_that_says_nothing_while_it_is_away_has_returned() {
    let mut sim = presence(Behavior::Reboots);
    sim.silent = true;
    check(&reboot(sim), State::Succeeded, None, Some(Grade::Returned));
}

#[test]
fn a_silence_as_long_as_one_look_is_no_absence_and_a_longer_one_is() {
    // It is away from two seconds after the command until the sixth, and first looked at meanwhile.
    for (millis, returned) in [(1_000, true), (2_500, true), (5_000, false)] {
        let mut sim = presence(Behavior::Reboots);
        sim.change(|settings| settings.observe_interval = Duration::from_millis(2_200));
        sim.command_takes = seconds(20);
        sim.silent = true;
        sim.look_takes = Duration::from_millis(millis);
        let sim = reboot(sim);
        if returned {
            check(&sim, State::Succeeded, None, Some(Grade::Returned));
        } else {
            check_not_shown(&sim, "a look at the device was not answered");
        }
    }
}

#[test]
fn two_looks_at_nearly_the_same_time_are_one() {
    let mut sim = presence(Behavior::Lies);
    sim.change(|settings| settings.observe_interval = seconds(10));
    sim.loses = vec![1, 2];
    sim.call("reboot", with(request(), json!({ "requiredGrade": 1 })));
    sim.run_until(|sim| sim.looks_after == 1);
    sim.run_until(|sim| !sim.is_looked_at());
    // The driver knows of a reason to look again.
    sim.feed(Input::Hint);
    assert!(sim.is_looked_at());
    sim.run();
    check_not_shown(&sim, "a look at the device was not answered");
}

#[test]
fn a_silence_over_a_restart_of_the_gateway_is_not_the_devices() {
    let mut sim = presence(Behavior::Lies);
    sim.loses = (1..6).collect();
    sim.call("reboot", with(request(), json!({ "requiredGrade": 1 })));
    sim.run_until(|sim| sim.looks_after == 2);
    sim.restart();
    sim.run();
    assert_eq!(sim.verdict().0, State::Failed);
}

proptest! {
    /// As many looks as may be lost, as long as each is followed by one that is answered.
    #[test]
    fn looks_that_are_lost_one_by_one_never_make_a_success(
        gaps in prop::collection::vec(2_usize..6, 0..40),
        millis in 50_u64..20_000,
    ) {
        let mut sim = presence(Behavior::Lies);
        let mut next = 0;
        sim.loses = gaps.into_iter().map(|gap| { next += gap; next }).collect();
        sim.look_takes = Duration::from_millis(millis);
        let sim = reboot(sim);
        prop_assert_eq!(sim.verdict().0, State::Failed);
    }
}
