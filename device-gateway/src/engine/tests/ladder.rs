//! From a command to a stronger one: only by consent, only where it cannot be a second reboot, and
//! each at most once.

use std::time::Duration;

use iot_hub::reboot::{Grade, Mode, State};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::sim::{Behavior, Crash, ID, Sim, seconds};
use crate::engine::Rung;

const ALL: [Mode; 3] = Mode::ALL;

/// A device whose policy lists these steps.
fn device(behavior: Behavior, policy: &[Mode]) -> Sim {
    let mut sim = Sim::new(behavior);
    sim.offers = ALL.to_vec();
    let rung = |mode: &Mode| Rung {
        mode: *mode,
        go_down_limit: None,
        return_limit: None,
    };
    sim.change(|settings| settings.escalation = policy.iter().map(rung).collect());
    sim
}

/// A graceful request that agrees to so much.
fn up_to(most: Option<Mode>) -> Value {
    let mut request = json!({ "requestId": ID.to_string(), "deadline": "2026-01-01T03:00:00Z" });
    if let Some(most) = most {
        request["escalateTo"] = json!(most.name());
    }
    request
}

#[track_caller]
fn check(sim: &Sim, modes: &[Mode], state: State, error: Option<&str>, grade: Option<Grade>) {
    assert_eq!(sim.modes, modes);
    assert_eq!(sim.verdict(), (state, error.map(str::to_owned), grade));
}

#[test]
fn a_device_that_obeys_force_alone_is_forced_and_each_step_has_its_evidence() {
    let sim = device(Behavior::HeedsForce, &ALL).reboot(up_to(Some(Mode::PowerCycle)));
    let modes = [Mode::Graceful, Mode::Forced];
    check(&sim, &modes, State::Succeeded, None, Some(Grade::Healthy));
    let attempt = sim.engine.report().attempt.unwrap();
    let steps: Vec<_> = attempt.steps.iter().collect();
    let [(Mode::Graceful, graceful), (Mode::Forced, forced)] = steps[..] else {
        panic!("{steps:?}");
    };
    assert_eq!(graceful.error.as_ref().unwrap().code.name(), "NO_SHUTDOWN");
    let claim = graceful.evidence.as_ref().unwrap();
    assert_eq!(
        (claim.grade, claim.after.as_str()),
        (Grade::Claimed, "boot-0")
    );
    assert_eq!((&forced.error, &forced.evidence), (&None, &None));
    assert_eq!(attempt.timeline[&State::Rebooting], forced.time);
    assert!(forced.time.duration_since(graceful.time).as_secs() >= 120);
    assert_eq!(sim.engine.report().started_reboot_time, Some(graceful.time));
    assert_eq!(sim.engine.report().counters.total, 1);
}

#[test]
fn power_is_taken_away_when_nothing_else_helped() {
    let sim = device(Behavior::HeedsPower, &ALL).reboot(up_to(Some(Mode::PowerCycle)));
    check(&sim, &ALL, State::Succeeded, None, Some(Grade::Healthy));
}

#[test]
fn nothing_is_escalated_without_the_callers_consent() {
    for most in [None, Some(Mode::Graceful)] {
        let sim = device(Behavior::HeedsForce, &ALL).reboot(up_to(most));
        let claimed = Some(Grade::Claimed);
        let error = Some("NO_SHUTDOWN");
        check(&sim, &[Mode::Graceful], State::Failed, error, claimed);
    }
}

#[test]
fn nothing_is_escalated_beyond_consent_or_policy_or_what_the_device_offers() {
    let claimed = Some(Grade::Claimed);
    let two = [Mode::Graceful, Mode::Forced];
    let check = |sim: &Sim, modes: &[Mode]| {
        check(sim, modes, State::Failed, Some("NO_SHUTDOWN"), claimed);
    };
    let all = Some(Mode::PowerCycle);
    check(
        &device(Behavior::HeedsPower, &ALL).reboot(up_to(Some(Mode::Forced))),
        &two,
    );
    check(&device(Behavior::HeedsPower, &two).reboot(up_to(all)), &two);
    check(
        &device(Behavior::HeedsPower, &[]).reboot(up_to(all)),
        &two[..1],
    );
    let mut sim = device(Behavior::HeedsPower, &ALL);
    sim.offers = two.to_vec();
    sim.restart();
    check(&sim.reboot(up_to(all)), &two);
}

#[test]
fn a_step_that_the_policy_leaves_out_is_left_out() {
    let policy = [Mode::Graceful, Mode::PowerCycle];
    let sim = device(Behavior::HeedsPower, &policy).reboot(up_to(Some(Mode::PowerCycle)));
    check(&sim, &policy, State::Succeeded, None, Some(Grade::Healthy));
}

#[test]
fn a_device_that_refuses_is_forced_at_once() {
    let sim = device(Behavior::RefusesGrace, &ALL).reboot(up_to(Some(Mode::Forced)));
    let modes = [Mode::Graceful, Mode::Forced];
    check(&sim, &modes, State::Succeeded, None, Some(Grade::Healthy));
    assert!(sim.time < seconds(60), "{:?}", sim.time);
    let steps = sim.engine.report().attempt.unwrap().steps;
    let error = steps[&Mode::Graceful].error.as_ref().unwrap();
    assert_eq!(error.code.name(), "TRIGGER_FAILED");
    assert_eq!(steps[&Mode::Graceful].evidence, None, "it promised nothing");
}

#[test]
fn a_device_that_refuses_is_forced_at_once_though_a_look_is_lost() {
    let mut sim = device(Behavior::RefusesGrace, &ALL);
    sim.loses = vec![1];
    let sim = sim.reboot(up_to(Some(Mode::Forced)));
    let modes = [Mode::Graceful, Mode::Forced];
    check(&sim, &modes, State::Succeeded, None, Some(Grade::Healthy));
    assert!(sim.time < seconds(60), "{:?}", sim.time);
}

#[test]
fn a_device_that_hangs_on_its_way_down_is_told_nothing_more_and_loses_its_power() {
    let sim = device(Behavior::HangsGoingDown, &ALL).reboot(up_to(Some(Mode::PowerCycle)));
    let modes = [Mode::Graceful, Mode::PowerCycle];
    check(&sim, &modes, State::Succeeded, None, Some(Grade::Healthy));
    let steps = sim.engine.report().attempt.unwrap().steps;
    assert_eq!(
        steps[&Mode::Graceful].error.as_ref().unwrap().code.name(),
        "NO_RETURN"
    );

    let sim = device(Behavior::HangsGoingDown, &ALL).reboot(up_to(Some(Mode::Forced)));
    let claimed = Some(Grade::Claimed);
    check(
        &sim,
        &[Mode::Graceful],
        State::Lost,
        Some("NO_RETURN"),
        claimed,
    );
}

#[test]
fn a_device_that_rebooted_is_never_rebooted_again_whatever_it_is_like_afterwards() {
    for (behavior, error) in [
        (Behavior::Unhealthy, "UNHEALTHY"),
        (Behavior::NoIdentity, "PROOF_TOO_WEAK"),
    ] {
        let sim = device(behavior, &ALL).reboot(up_to(Some(Mode::PowerCycle)));
        assert_eq!(sim.modes, [Mode::Graceful]);
        assert_eq!(sim.verdict().1.as_deref(), Some(error));
    }
}

#[test]
fn a_device_that_goes_down_at_the_last_moment_is_left_alone() {
    let sim = device(Behavior::Dawdles, &ALL).reboot(up_to(Some(Mode::PowerCycle)));
    let graceful = [Mode::Graceful];
    check(
        &sim,
        &graceful,
        State::Succeeded,
        None,
        Some(Grade::Healthy),
    );
}

#[test]
fn a_look_that_began_before_the_doubt_decides_nothing() {
    // Each look takes so long that one which still shows the old boot is under way when the time to
    // go down passes, and ends after everybody has agreed to force and the device has gone down.
    for millis in (150..2_000).step_by(50) {
        let mut sim = device(Behavior::Dawdles, &ALL);
        sim.look_takes = Duration::from_millis(millis);
        let sim = sim.reboot(up_to(Some(Mode::PowerCycle)));
        assert_eq!(sim.modes, [Mode::Graceful], "looks that take {millis} ms");
        assert_eq!(sim.verdict().0, State::Succeeded);
    }
}

#[test]
fn a_stronger_command_waits_for_the_end_of_the_milder_one() {
    let mut sim = device(Behavior::HeedsForce, &ALL);
    sim.change(|settings| settings.go_down_limit = seconds(10));
    sim.command_takes = seconds(40);
    sim.call("reboot", up_to(Some(Mode::Forced)));
    sim.run_until(|sim| sim.modes.len() == 2);
    assert!(sim.time >= seconds(41), "{:?}", sim.time);
}

#[test]
fn nothing_is_escalated_over_an_absolute_objection() {
    for (absolute, modes) in [(true, &ALL[..1]), (false, &ALL[..2])] {
        let mut sim = device(Behavior::HeedsForce, &ALL);
        sim.change(|settings| {
            settings
                .absolute
                .extend(absolute.then(|| "prepare".to_owned()))
        });
        sim.call("reboot", up_to(Some(Mode::PowerCycle)));
        sim.run_until(|sim| sim.modes.len() == 1);
        sim.objects_until = seconds(100_000);
        sim.run();
        assert_eq!(sim.modes, modes, "absolute: {absolute}");
    }
}

#[test]
fn each_step_has_limits_of_its_own() {
    let mut sim = device(Behavior::HeedsPower, &ALL);
    sim.change(|settings| {
        settings.escalation[0].go_down_limit = Some(seconds(20));
        settings.escalation[1].go_down_limit = Some(seconds(300));
    });
    let sim = sim.reboot(up_to(Some(Mode::PowerCycle)));
    let steps = sim.engine.report().attempt.unwrap().steps;
    let times: Vec<_> = steps.values().map(|step| step.time).collect();
    let took = |from: usize| times[from + 1].duration_since(times[from]).as_secs();
    assert!((20..30).contains(&took(0)), "{}", took(0));
    assert!((300..320).contains(&took(1)), "{}", took(1));
}

#[test]
fn the_deadline_ends_a_ladder_too() {
    let mut request = up_to(Some(Mode::PowerCycle));
    request["deadline"] = json!("2026-01-01T00:03:00Z");
    let sim = device(Behavior::HeedsPower, &ALL).reboot(request);
    assert_eq!(sim.modes, [Mode::Graceful, Mode::Forced]);
    assert_eq!(sim.verdict().0, State::Lost);
    assert_eq!(sim.time.as_secs(), 180);
}

#[test]
fn a_rehearsal_goes_no_further_than_its_first_step() {
    let mut request = up_to(Some(Mode::PowerCycle));
    request["dryRun"] = json!(true);
    let sim = device(Behavior::HeedsForce, &ALL).reboot(request);
    assert_eq!((sim.modes.len(), sim.verdict().0), (0, State::Cancelled));
}

#[test]
fn a_restarted_gateway_goes_on_with_the_next_step() {
    let mut sim = device(Behavior::HeedsPower, &ALL);
    sim.call("reboot", up_to(Some(Mode::PowerCycle)));
    sim.run_until(|sim| sim.modes.len() == 2);
    sim.restart();
    sim.run();
    check(&sim, &ALL, State::Succeeded, None, Some(Grade::Healthy));
}

fn scenarios() -> Vec<Behavior> {
    vec![
        Behavior::HeedsForce,
        Behavior::HeedsPower,
        Behavior::RefusesGrace,
        Behavior::HangsGoingDown,
        Behavior::Dawdles,
        Behavior::SameBoot,
        Behavior::Refuses,
        Behavior::Lies,
        Behavior::NeverReturns,
        Behavior::NoIdentity,
    ]
}

#[test]
fn a_crash_at_any_write_gives_no_step_twice_and_an_end() {
    for behavior in scenarios() {
        let plain = device(behavior, &ALL).reboot(up_to(Some(Mode::PowerCycle)));
        for write in 1..=plain.writes {
            for crash in [
                Crash::BeforeWrite(write),
                Crash::AfterWrite(write),
                Crash::AfterStep(write),
            ] {
                let mut sim = device(behavior, &ALL);
                sim.crash = vec![crash];
                let sim = sim.reboot(up_to(Some(Mode::PowerCycle)));
                let label = format!("{behavior:?}, {crash:?}: {:?}", sim.verdict());
                let mut once = sim.modes.clone();
                once.sort();
                once.dedup();
                assert_eq!(sim.modes, once, "{label}");
                assert!(sim.verdict().0.is_terminal(), "{label}");
                assert_eq!(sim.ended.len(), 1, "{label}");
                let steps = sim.engine.report().attempt.unwrap().steps;
                let untold = sim.modes.iter().find(|mode| !steps.contains_key(mode));
                assert_eq!(untold, None, "{label}: each command is told");
                let success = sim.verdict().0 == State::Succeeded;
                assert!(!success || plain.verdict().0 == State::Succeeded, "{label}");
            }
        }
    }
}

proptest! {
    /// Whatever the device does, whoever dies when: commands only rise, and never beyond what
    /// caller and policy both agree to.
    #[test]
    fn commands_only_rise_and_stay_within_consent_and_policy(
        behavior in prop::sample::select(scenarios()),
        policy in prop::sample::subsequence(ALL.to_vec(), 0..=3),
        most in prop::option::of(prop::sample::select(ALL.to_vec())),
        crashes in prop::collection::vec(1_u64..2_000, 0..4),
    ) {
        let mut sim = device(behavior, &policy);
        sim.call("reboot", up_to(most));
        let mut crashes = crashes;
        crashes.sort_unstable();
        for at in crashes {
            sim.run_until(|sim| sim.engine.open().is_none() && !sim.answers.is_empty() || sim.time >= seconds(at));
            sim.restart();
        }
        sim.run();
        prop_assert!(sim.modes.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", sim.modes);
        let beyond = sim.modes.iter().skip(1).find(|mode| {
            !policy.contains(mode) || most.is_none_or(|most| **mode > most)
        });
        prop_assert_eq!(beyond, None);
        prop_assert!(sim.verdict().0.is_terminal());
    }
}
