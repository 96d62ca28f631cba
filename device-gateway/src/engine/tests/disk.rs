//! A disk that nothing can be written to for a while.

use std::time::Duration;

use iot_hub::reboot::{Grade, State};
use proptest::prelude::*;
use serde_json::json;

use super::{
    sim::{Behavior, Sim, request, seconds},
    verdicts::{check, with},
};

/// Longer than any limit of an attempt.
const LONG: Duration = Duration::from_secs(3_600);

#[test]
fn a_disk_that_fails_for_longer_than_every_limit_makes_no_good_reboot_a_failure() {
    for began in 1..30 {
        let mut sim = Sim::new(Behavior::Reboots);
        let began = seconds(began);
        sim.call("reboot", request());
        sim.run_until(|sim| !sim.triggers.is_empty());
        sim.disk_fails = began..began + LONG;
        sim.run();
        check(&sim, State::Succeeded, None, Some(Grade::Healthy));
        assert_eq!(sim.triggers.len(), 1, "{began:?}");
    }
}

#[test]
fn a_disk_that_fails_changes_no_verdict_and_puts_it_off_by_no_more_than_its_own_time() {
    let behaviors = [
        Behavior::Lies,
        Behavior::SameBoot,
        Behavior::Unhealthy,
        Behavior::NeverReturns,
        Behavior::NoIdentity,
    ];
    for behavior in behaviors {
        let plain = Sim::new(behavior).reboot(request());
        for began in [3, 5, 9, 60, 119, 200, 899] {
            let mut sim = Sim::new(behavior);
            let began = seconds(began);
            sim.disk_fails = began..began + LONG;
            let sim = sim.reboot(request());
            let label = format!("{behavior:?} from {began:?}");
            assert_eq!(sim.verdict(), plain.verdict(), "{label}");
            assert!(
                sim.time <= plain.time + LONG + seconds(30),
                "{label}: {:?}",
                sim.time
            );
        }
    }
}

#[test]
fn a_deadline_is_where_it_was() {
    let mut sim = Sim::new(Behavior::NeverReturns);
    sim.disk_fails = seconds(60)..seconds(600);
    let call = with(request(), json!({ "deadline": "2026-01-01T00:05:00Z" }));
    let sim = sim.reboot(call);
    check(
        &sim,
        State::Lost,
        Some("DEADLINE_EXCEEDED"),
        Some(Grade::Claimed),
    );
    assert!(sim.time < seconds(610), "{:?}", sim.time);
}

proptest! {
    /// However often it fails, once it does not the attempt ends.
    #[test]
    fn there_is_an_end_once_the_disk_can_be_written(
        behavior in prop::sample::select(vec![
            Behavior::Reboots,
            Behavior::Lies,
            Behavior::NeverReturns,
            Behavior::Unhealthy,
        ]),
        failures in prop::collection::vec((0_u64..900, 1_u64..2_000), 0..4),
    ) {
        let plain = Sim::new(behavior).reboot(request()).verdict();
        let mut sim = Sim::new(behavior);
        sim.call("reboot", request());
        for (pause, length) in failures {
            let from = sim.time + seconds(pause);
            sim.disk_fails = from..from + seconds(length);
            sim.run_until(|sim| sim.time >= sim.disk_fails.end || !sim.ended.is_empty());
        }
        sim.run();
        prop_assert!(sim.triggers.len() <= 1);
        if sim.triggers.len() == 1 {
            prop_assert_eq!(sim.verdict(), plain);
        }
    }
}
