//! One scenario per way a device behaves, and the verdict that it gets.

use std::time::Duration;

use iot_hub::reboot::{Grade, Origin, State};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::sim::{Behavior, ID, Shows, Sim, request, seconds};
use crate::engine::Input;

#[track_caller]
pub(super) fn check(sim: &Sim, state: State, error: Option<&str>, grade: Option<Grade>) {
    assert_eq!(sim.verdict(), (state, error.map(str::to_owned), grade));
}

pub(super) fn with(mut base: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    base.as_object_mut().unwrap().extend(more);
    base
}

#[test]
fn a_device_that_reboots_succeeds_with_the_best_evidence() {
    let sim = Sim::new(Behavior::Reboots).reboot(request());
    check(&sim, State::Succeeded, None, Some(Grade::Healthy));
    let report = sim.engine.report();
    let attempt = report.attempt.unwrap();
    let states: Vec<_> = attempt.timeline.keys().copied().collect();
    assert_eq!(
        states,
        [
            State::Accepted,
            State::Preparing,
            State::Rebooting,
            State::Down,
            State::Verifying,
            State::Succeeded
        ]
    );
    assert_eq!(
        report.last_reboot,
        Some(attempt.timeline[&State::Verifying])
    );
    assert_eq!(
        report.started_reboot_time,
        Some(attempt.timeline[&State::Rebooting])
    );
    assert_eq!(report.boot_id.as_deref(), Some("boot-1"));
    assert_eq!((report.counters.total, report.counters.failed), (1, 0));
    assert_eq!(sim.answers[0].status, 202);
    assert_eq!(sim.answers[0].payload["state"], "ACCEPTED");
    assert_eq!(sim.answers[0].payload["bootId"], "boot-0");
}

#[test]
fn a_fast_reboot_needs_no_absence() {
    let sim = Sim::new(Behavior::Instant).reboot(request());
    check(&sim, State::Succeeded, None, Some(Grade::Healthy));
    assert!(
        !sim.engine
            .report()
            .attempt
            .unwrap()
            .timeline
            .contains_key(&State::Down)
    );
}

#[test]
fn a_device_that_only_says_so_fails() {
    let sim = Sim::new(Behavior::Lies).reboot(request());
    check(
        &sim,
        State::Failed,
        Some("NO_SHUTDOWN"),
        Some(Grade::Claimed),
    );
    assert_eq!(sim.engine.report().last_reboot, None);
    assert_eq!(sim.engine.report().counters.failed, 1);
}

#[test]
fn gone_and_back_in_the_same_boot_fails() {
    let sim = Sim::new(Behavior::SameBoot).reboot(request());
    check(
        &sim,
        State::Failed,
        Some("NO_SHUTDOWN"),
        Some(Grade::Claimed),
    );
}

#[test]
fn a_refused_command_fails_at_once() {
    let sim = Sim::new(Behavior::Refuses).reboot(request());
    check(&sim, State::Failed, Some("TRIGGER_FAILED"), None);
    assert!(sim.time < seconds(5));
}

#[test]
fn a_device_that_stays_away_is_lost() {
    let sim = Sim::new(Behavior::NeverReturns).reboot(request());
    check(&sim, State::Lost, Some("NO_RETURN"), Some(Grade::Claimed));
    assert!(sim.time >= seconds(15 * 60));
}

#[test]
fn an_unhealthy_device_fails() {
    let sim = Sim::new(Behavior::Unhealthy).reboot(request());
    check(&sim, State::Failed, Some("UNHEALTHY"), Some(Grade::Caused));
    let error = sim.engine.report().attempt.unwrap().error.unwrap();
    assert_eq!(error.message, "the pump is stuck");
}

#[test]
fn a_second_boot_restarts_the_settle_time_and_is_counted() {
    let sim = Sim::new(Behavior::Twice).reboot(request());
    check(&sim, State::Succeeded, None, Some(Grade::Healthy));
    assert_eq!(sim.engine.report().counters.unexpected, 1);
    assert_eq!(sim.engine.report().boot_id.as_deref(), Some("boot-2"));
    // Accepted, told a second later, the second boot 12 s after that, and then the settle time.
    assert!(sim.time >= seconds(1 + 12 + 10), "{:?}", sim.time);
}

#[test]
fn a_second_boot_is_counted_by_whatever_shows_it() {
    for (shows, grade) in [
        (Shows::Count, Grade::BootChanged),
        (Shows::Uptime, Grade::UptimeReset),
    ] {
        for (behavior, unexpected) in [(Behavior::Reboots, 0), (Behavior::Twice, 1)] {
            let mut sim = Sim::new(behavior);
            sim.shows = shows;
            let weak = with(request(), json!({ "requiredGrade": 2 }));
            let sim = sim.reboot(weak);
            assert_eq!(sim.verdict().0, State::Succeeded, "{shows:?}");
            let report = sim.engine.report();
            let counted = report.counters.unexpected;
            assert_eq!(counted, unexpected, "{shows:?} {behavior:?}");
            // The loop breaker sees each.
            let boots = u64::try_from(sim.disk.boots.len()).unwrap();
            assert_eq!(boots, 1 + unexpected, "{shows:?} {behavior:?}");
            if behavior == Behavior::Twice {
                let own = &report.history[1];
                assert_eq!(own.origin, Some(Origin::Unexpected));
                assert_eq!(own.grade, Some(grade));
                assert!(sim.time >= seconds(1 + 12 + 10), "{:?}", sim.time);
            }
        }
    }
}

#[test]
fn a_device_without_identity_is_returned_at_best() {
    let weak = with(request(), json!({ "requiredGrade": 1 }));
    let sim = Sim::new(Behavior::NoIdentity).reboot(weak);
    check(&sim, State::Succeeded, None, Some(Grade::Returned));

    let sim = Sim::new(Behavior::NoIdentity).reboot(request());
    check(
        &sim,
        State::Failed,
        Some("PROOF_TOO_WEAK"),
        Some(Grade::Returned),
    );
}

#[test]
fn no_command_leaves_before_the_device_has_said_that_it_is_in_the_boot_of_the_baseline() {
    let sim = Sim::new(Behavior::NamelessAtFirst).reboot(request());
    check(&sim, State::Succeeded, None, Some(Grade::Healthy));
    let timeline = sim.engine.report().attempt.unwrap().timeline;
    let waited = timeline[&State::Rebooting].duration_since(timeline[&State::Preparing]);
    assert!(waited.as_secs() >= 3, "{timeline:?}");
}

#[test]
fn a_boot_before_the_command_fails_the_attempt_without_a_command() {
    let sim = Sim::new(Behavior::BootsEarly).reboot(request());
    check(&sim, State::Failed, Some("UNEXPECTED_BOOT"), None);
    assert!(sim.triggers.is_empty());
    assert_eq!(sim.engine.report().counters.unexpected, 1);
}

#[test]
fn the_host_is_proved_by_the_journal_of_its_old_boot() {
    let sim = Sim::on_host(Behavior::Reboots).reboot(request());
    check(&sim, State::Succeeded, None, Some(Grade::Healthy));
    assert_eq!(sim.triggers, [ID]);
}

#[test]
fn a_restarted_daemon_on_a_host_that_stayed_up_fails() {
    let mut sim = Sim::on_host(Behavior::Lies);
    sim.call("reboot", request());
    sim.run_until(|sim| sim.engine.open() == Some((ID, State::Rebooting)));
    sim.restart();
    sim.run();
    check(&sim, State::Failed, Some("AGENT_RESTARTED"), None);
    assert_eq!(sim.triggers, [ID]);
    // The limit went on over the restart.
    assert!(sim.time < seconds(125), "{:?}", sim.time);
}

#[test]
fn a_device_that_is_there_is_not_lost_however_long_nobody_watched() {
    for shows in [Shows::Identity, Shows::Presence] {
        let mut sim = Sim::new(Behavior::Lies);
        sim.shows = shows;
        sim.call("reboot", with(request(), json!({ "requiredGrade": 1 })));
        sim.run_until(|sim| sim.engine.open() == Some((ID, State::Rebooting)));
        sim.time += seconds(3_600);
        sim.restart();
        let restarted = sim.time;
        sim.run();
        check(&sim, State::Failed, Some("NO_SHUTDOWN"), None);
        assert!(sim.time < restarted + seconds(40), "{:?}", sim.time);
    }
}

#[test]
fn a_blocked_reboot_waits_and_goes_on() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.blocked_until = seconds(45);
    let sim = sim.reboot(request());
    check(&sim, State::Succeeded, None, Some(Grade::Healthy));
    assert_eq!(sim.answers[0].payload["state"], "BLOCKED");
    let blocked = &sim.reports[sim.reports.len() - 6..];
    assert!(sim.reports.iter().any(|report| {
        report
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.blockers.contains_key("b1"))
    }));
    assert!(
        blocked
            .last()
            .unwrap()
            .attempt
            .as_ref()
            .unwrap()
            .blockers
            .is_empty()
    );
}

#[test]
fn blockers_that_say_something_else_at_each_look_cost_few_reports() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.blocked_until = seconds(1_200);
    sim.blocked_in_many_words = true;
    sim.blocked_by_two_from = seconds(605);
    sim.call("reboot", request());
    sim.run_until(|sim| sim.time >= seconds(1_190));
    let told: Vec<_> = sim
        .reports
        .iter()
        .filter_map(|report| report.attempt.as_ref())
        .collect();
    assert!((20..25).contains(&told.len()), "{}", told.len());
    // Who else blocks is told at once.
    let both = told
        .iter()
        .find(|attempt| attempt.blockers.len() == 2)
        .unwrap();
    let why = &both.blockers["b2"].why;
    assert!(
        ["605 writes", "610 writes", "615 writes"]
            .iter()
            .any(|said| why <= &(*said).to_owned()),
        "{why}"
    );
}

#[test]
fn a_blocked_reboot_expires_at_its_deadline() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.blocked_until = seconds(10_000);
    let call = with(request(), json!({ "deadline": "2026-01-01T00:05:00Z" }));
    let sim = sim.reboot(call);
    check(&sim, State::Expired, Some("DEADLINE_EXCEEDED"), None);
    assert_eq!(sim.time, seconds(300));
    assert!(sim.triggers.is_empty());
}

#[test]
fn a_deadline_after_the_command_loses_the_attempt() {
    let call = with(request(), json!({ "deadline": "2026-01-01T00:01:00Z" }));
    let sim = Sim::new(Behavior::Lies).reboot(call);
    check(
        &sim,
        State::Lost,
        Some("DEADLINE_EXCEEDED"),
        Some(Grade::Claimed),
    );
    assert_eq!(sim.time.as_secs(), 60);
}

#[test]
fn a_scheduled_reboot_waits_for_its_time() {
    let call = with(request(), json!({ "delaySec": 600 }));
    let sim = Sim::new(Behavior::Reboots).reboot(call);
    check(&sim, State::Succeeded, None, Some(Grade::Healthy));
    assert_eq!(sim.answers[0].payload["state"], "SCHEDULED");
    let timeline = sim.engine.report().attempt.unwrap().timeline;
    let waited = timeline[&State::Accepted].duration_since(timeline[&State::Scheduled]);
    assert!(waited.as_secs() >= 600);
}

#[test]
fn a_rehearsal_does_all_but_the_command_and_is_no_success() {
    let call = with(request(), json!({ "dryRun": true }));
    let sim = Sim::new(Behavior::Reboots).reboot(call);
    check(&sim, State::Cancelled, Some("REHEARSAL_PASSED"), None);
    assert!(sim.triggers.is_empty());
    assert_eq!(sim.engine.report().counters.total, 0);
}

#[test]
fn the_command_waits_for_the_acknowledgements_but_not_for_ever() {
    let mut sim = Sim::new(Behavior::Instant);
    sim.hub_acknowledges = false;
    sim.call("reboot", request());
    sim.run_until(|sim| !sim.triggers.is_empty());
    assert!(sim.time >= seconds(10), "{:?}", sim.time);

    let mut sim = Sim::new(Behavior::Instant);
    sim.call("reboot", request());
    sim.run_until(|sim| !sim.triggers.is_empty());
    assert!(
        (seconds(1)..seconds(2)).contains(&sim.time),
        "{:?}",
        sim.time
    );
}

#[test]
fn either_acknowledgement_alone_is_not_enough() {
    for acked in [Input::AnswerAcked("r1".into()), Input::ReportAcked(1_000)] {
        let mut sim = Sim::new(Behavior::Instant);
        sim.hub_acknowledges = false;
        sim.call("reboot", request());
        sim.run_until(|sim| !sim.answers.is_empty());
        sim.feed(acked);
        sim.run_until(|sim| !sim.triggers.is_empty());
        assert!(sim.time >= seconds(10), "{:?}", sim.time);
    }
}

#[test]
fn a_boot_that_nobody_asked_for_is_counted_and_proves_nothing() {
    let mut sim = Sim::new(Behavior::BootsEarly);
    sim.run_until(|sim| sim.disk.boot_id.is_some());
    sim.time = seconds(1);
    sim.feed(Input::Hint);
    sim.run_until(|sim| sim.disk.counters.unexpected == 1);
    let report = sim.engine.report();
    assert_eq!(report.last_reboot, None);
    assert_eq!(report.history[0].id, None);
    assert_eq!(report.attempt, None);
}

#[test]
fn a_device_that_returns_late_was_expected() {
    let mut sim = Sim::new(Behavior::NeverReturns);
    sim.call("reboot", request());
    sim.run();
    check(&sim, State::Lost, Some("NO_RETURN"), Some(Grade::Claimed));
    sim.behavior = Behavior::Reboots;
    sim.run_until(|sim| sim.disk.boot_id.as_deref() == Some("boot-1"));
    check(&sim, State::Lost, Some("NO_RETURN"), Some(Grade::Claimed));
    assert_eq!(sim.engine.report().counters.unexpected, 0);
}

#[test]
fn the_number_of_the_report_strictly_rises() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.call("reboot", request());
    sim.run_until(|sim| sim.engine.open() == Some((ID, State::Verifying)));
    sim.restart();
    sim.run();
    for pair in sim.reports.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        assert!(
            after.seq > before.seq || after == before,
            "{before:?} {after:?}"
        );
    }
}

#[test]
fn a_normal_reboot_costs_few_urgent_reports() {
    let sim = Sim::new(Behavior::Reboots).reboot(request());
    let states: Vec<_> = sim
        .reports
        .iter()
        .filter_map(|report| report.attempt.as_ref())
        .map(|attempt| attempt.state)
        .collect();
    assert!(states.len() <= 8, "{states:?}");
}

#[test]
fn what_a_reboot_took_is_expected_of_the_next_in_the_twin_and_in_the_answer() {
    let mut sim = Sim::new(Behavior::Reboots).reboot(request());
    let typical = |sim: &Sim| {
        let capabilities = sim.engine.report().capabilities.unwrap();
        capabilities.typical_duration_sec
    };
    let verdict = sim.reports.iter().find(|report| {
        let attempt = report.attempt.as_ref();
        attempt.is_some_and(|attempt| attempt.state == State::Succeeded)
    });
    let told = verdict.unwrap().capabilities.clone().unwrap();
    // Six seconds to the new boot, then the time to settle; the answer's grace before.
    assert!(
        (16..=20).contains(&told.typical_duration_sec.unwrap()),
        "{told:?}"
    );
    sim.restart();
    assert_eq!(typical(&sim), told.typical_duration_sec);
    sim.call("reboot", json!({ "delaySec": 60 }));
    sim.run_until(|sim| sim.answers.len() > 1);
    let answer = &sim.answers.last().unwrap().payload;
    assert_eq!(
        answer["expectedDurationSec"],
        json!(told.typical_duration_sec)
    );
}

#[test]
fn a_device_that_goes_down_in_time_is_not_judged_by_an_earlier_look() {
    for millis in [50, 1_000, 8_000, 30_000] {
        let mut sim = Sim::new(Behavior::Dawdles);
        // It goes down two minutes after the command.
        sim.change(|settings| settings.go_down_limit = seconds(121));
        sim.look_takes = Duration::from_millis(millis);
        let sim = sim.reboot(request());
        check(&sim, State::Succeeded, None, Some(Grade::Healthy));
    }
}

#[test]
fn an_uptime_counts_as_of_when_the_device_was_asked() {
    for millis in [50, 8_000, 30_000] {
        let mut sim = Sim::new(Behavior::Lies);
        sim.shows = Shows::Uptime;
        sim.up_before = seconds(3);
        sim.look_takes = Duration::from_millis(millis);
        let sim = sim.reboot(with(request(), json!({ "requiredGrade": 2 })));
        check(
            &sim,
            State::Failed,
            Some("NO_SHUTDOWN"),
            Some(Grade::Claimed),
        );
        assert_eq!(sim.engine.report().counters.unexpected, 0);
    }
}

#[test]
fn a_look_that_was_held_up_leads_to_no_command() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.look_takes = seconds(61);
    let sim = sim.reboot(request());
    check(&sim, State::Failed, Some("PREPARE_TIMEOUT"), None);
    assert_eq!(sim.triggers, []);
}

#[test]
fn no_command_leaves_after_the_deadline_though_the_last_look_comes_before_the_time_is_told() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.look_takes = seconds(10);
    sim.hub_acknowledges = false;
    sim.call(
        "reboot",
        with(request(), json!({ "deadline": "2026-01-01T00:30:00Z" })),
    );
    sim.run_until(|sim| sim.looks == 1);
    // The machine was asleep while the device was looked at.
    sim.skew = SignedDuration::from_hours(1);
    sim.run();
    check(&sim, State::Expired, Some("DEADLINE_EXCEEDED"), None);
    assert_eq!(sim.triggers, []);
}
