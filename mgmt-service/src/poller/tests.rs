//! The scheduler in virtual time: what it promises, and the figures it is known by.

use super::simulation::{Knowledge, Outcome, Scenario, run};

/// A hub's limit on twin reads in a second.
const S1: f64 = 100.0;
const S2_OF_20_UNITS: f64 = 200.0;
const S3: f64 = 500.0;

const LEARNED: Knowledge = Knowledge::Learned;

fn scenario(limit: f64, open: usize, spread: f64, knowledge: Knowledge) -> Scenario {
    // A few thousand ends: enough for a hundredth of them to say something.
    let seconds = match open {
        ..100 => 6_000.0,
        100..1_000 => 900.0,
        1_000..10_000 => 200.0,
        10_000.. => 60.0,
    };
    Scenario {
        limit,
        open,
        spread,
        knowledge,
        warm_up: 200.0,
        seconds,
    }
}

/// Runs a scenario and compares mean and 99th percentile, in seconds, with the figures that the
/// scheduler was designed to, which docs/performance.md lists.
#[track_caller]
fn check(scenario: Scenario, (mean, p99): (f64, f64)) -> Outcome {
    let outcome = run(&scenario);
    let near = |actual: f64, expected: f64| (actual / expected - 1.0).abs() <= 0.2;
    assert!(near(outcome.mean, mean), "{scenario:?}: {outcome:?}");
    assert!(near(outcome.p99, p99), "{scenario:?}: {outcome:?}");
    assert!(
        outcome.busiest_second <= scenario.limit as usize,
        "{outcome:?}"
    );
    outcome
}

#[test]
fn ten_reboots_are_seen_at_once_and_cost_little() {
    let outcome = check(scenario(S1, 10, 0.1, LEARNED), (0.53, 1.3));
    assert!(outcome.reads <= 26.0, "{outcome:?}");
}

#[test]
fn a_hundred_reboots_of_a_device_that_is_known_take_25_reads_each() {
    let outcome = check(scenario(S1, 100, 0.1, LEARNED), (0.53, 1.3));
    assert!(outcome.reads <= 25.0 && outcome.p99 <= 1.4, "{outcome:?}");
}

#[test]
fn a_hundred_reboots_of_a_fleet_that_is_known_take_48_reads_each() {
    let outcome = check(scenario(S1, 100, 0.3, LEARNED), (0.66, 1.6));
    assert!(outcome.reads <= 48.0 && outcome.p99 <= 1.7, "{outcome:?}");
}

#[test]
fn a_hundred_reboots_that_are_foretold_take_13_reads_each() {
    let outcome = check(scenario(S1, 100, 0.1, Knowledge::Eta), (0.41, 0.98));
    assert!(outcome.reads <= 13.0 && outcome.p99 <= 1.0, "{outcome:?}");
}

#[test]
fn a_thousand_reboots_on_the_smallest_hub_are_seen_within_four_seconds() {
    let outcome = check(scenario(S1, 1_000, 0.1, LEARNED), (1.4, 3.5));
    assert!(outcome.mean <= 1.6 && outcome.p99 <= 4.0, "{outcome:?}");
}

#[test]
fn a_thousand_reboots_of_a_fleet_that_is_known_are_seen_within_eight_seconds() {
    let outcome = check(scenario(S1, 1_000, 0.3, LEARNED), (3.2, 7.7));
    assert!(outcome.p99 <= 8.2, "{outcome:?}");
}

#[test]
fn a_thousand_reboots_that_are_foretold_are_seen_within_two_seconds() {
    let outcome = check(scenario(S1, 1_000, 0.1, Knowledge::Eta), (0.57, 1.43));
    assert!(outcome.p99 <= 1.7, "{outcome:?}");
}

#[test]
fn hints_help_where_little_is_known() {
    let hinted = Knowledge::Hinted { queries: 0.3 };
    check(scenario(S1, 1_000, 0.3, hinted), (2.5, 5.8));
}

#[test]
fn two_thousand_reboots_are_as_many_as_the_smallest_hub_can_report() {
    let outcome = check(scenario(S1, 2_000, 0.1, LEARNED), (3.4, 7.8));
    assert!(outcome.p99 <= 8.5, "{outcome:?}");
    check(scenario(S1, 2_000, 0.3, LEARNED), (6.7, 14.8));
}

#[test]
fn a_larger_hub_does_the_same_for_more_devices() {
    let outcome = check(scenario(S3, 10_000, 0.1, LEARNED), (3.4, 7.8));
    assert!(outcome.p99 <= 8.5, "{outcome:?}");
}

/// What knowing the durations is measured against.
#[test]
fn reading_in_turn_is_three_times_as_late() {
    check(scenario(S1, 1_000, 0.1, Knowledge::InTurn), (5.3, 10.5));
}

#[test]
fn the_quota_holds_for_any_number_of_reboots_on_any_tier() {
    for limit in [S1, S2_OF_20_UNITS, S3] {
        for open in [10, 100, 1_000, 10_000] {
            let scenario = Scenario {
                limit,
                open,
                spread: 0.2,
                knowledge: LEARNED,
                warm_up: 0.0,
                seconds: 150.0,
            };
            let outcome = run(&scenario);
            let busiest = outcome.busiest_second as f64;
            assert!(busiest <= limit, "{scenario:?}: {outcome:?}");
            // Where there is more to read than that, hardly any of it is left over.
            let saturated = open as f64 >= 10.0 * limit;
            assert!(
                !saturated || busiest >= 0.9 * limit,
                "{scenario:?}: {outcome:?}"
            );
        }
    }
}
