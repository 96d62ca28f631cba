//! The wall clock is set while an attempt is under way, or is not there at all after a boot.

use iot_hub::reboot::{Grade, RefusalCode, State};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    sim::{Behavior, ID, Shows, Sim, request, seconds},
    verdicts::with,
};

const BEHAVIORS: [Behavior; 8] = [
    Behavior::Reboots,
    Behavior::Instant,
    Behavior::NoIdentity,
    Behavior::Lies,
    Behavior::SameBoot,
    Behavior::Refuses,
    Behavior::NeverReturns,
    Behavior::Unhealthy,
];

/// Hours and days both ways, and a machine that believes that it is 1970.
fn jumps() -> Vec<SignedDuration> {
    let hours = [-720, -3, 3, 720].map(SignedDuration::from_hours);
    let began: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let to_1970 = Timestamp::UNIX_EPOCH.duration_since(began);
    hours.into_iter().chain([to_1970]).collect()
}

fn by_half_past() -> Value {
    json!({ "requestId": ID.to_string(), "deadline": "2026-01-01T00:30:00Z" })
}

/// The world of a request whose clock is set after so long.
fn jumping(behavior: Behavior, at: u64, jump: SignedDuration, restarts: bool) -> Sim {
    let mut sim = Sim::new(behavior);
    sim.call("reboot", by_half_past());
    sim.run_until(|sim| sim.time >= seconds(at) || !sim.ended.is_empty());
    sim.skew = jump;
    if restarts {
        sim.restart();
    }
    sim.run();
    sim
}

#[test]
fn a_clock_that_is_set_changes_no_verdict() {
    for behavior in BEHAVIORS {
        let plain = Sim::new(behavior).reboot(by_half_past());
        for jump in jumps() {
            for at in [0, 1, 2, 3, 5, 8, 12, 20, 100, 121, 600] {
                let sim = jumping(behavior, at, jump, false);
                let label = format!("{behavior:?}, {jump:#} after {at} s");
                if sim.verdict().0 == State::Expired {
                    // The deadline has passed, as far as anybody can tell, and nothing has happened.
                    assert!(sim.triggers.is_empty() && jump.is_positive(), "{label}");
                    continue;
                }
                assert_eq!(sim.verdict(), plain.verdict(), "{label}");
                assert!(
                    sim.time <= plain.time + seconds(11),
                    "{label}: {:?}",
                    sim.time
                );
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_while_the_gateway_is_restarted_makes_no_success_and_loses_no_device() {
    for behavior in BEHAVIORS {
        let plain = Sim::new(behavior).reboot(by_half_past()).verdict();
        for jump in jumps() {
            for at in [0, 1, 2, 3, 5, 8, 12, 100] {
                let sim = jumping(behavior, at, jump, true);
                let label = format!("{behavior:?}, {jump:#} after {at} s");
                assert!(sim.triggers.len() <= 1, "{label}");
                if sim.engine.report().attempt.is_none() {
                    // Whoever got no answer asked again, and the deadline had passed by then.
                    assert!(sim.triggers.is_empty() && jump.is_positive(), "{label}");
                    continue;
                }
                let (state, _, _) = sim.verdict();
                let label = format!("{label}: {:?}", sim.verdict());
                if plain.0 != State::Succeeded {
                    assert_ne!(state, State::Succeeded, "{label}");
                } else if state != State::Succeeded {
                    assert!(sim.triggers.is_empty(), "{label}");
                }
                // The whole of every limit, once more.
                assert!(sim.time < seconds(45 * 60), "{label}: {:?}", sim.time);
            }
        }
    }
}

#[test]
fn a_machine_that_was_off_for_days_and_has_no_clock_takes_no_device_for_one_that_stayed_up() {
    let two_days = SignedDuration::from_hours(48);
    let old_boot = "the device is still in the boot of before";
    for stood_still in [true, false] {
        for behavior in [Behavior::Reboots, Behavior::Lies] {
            let mut sim = Sim::new(behavior);
            sim.shows = Shows::Uptime;
            sim.call("reboot", with(request(), json!({ "requiredGrade": 2 })));
            // Where it goes down, it was seen so.
            sim.run_until(|sim| sim.looks_after == 4);
            sim.time += two_days.unsigned_abs();
            if stood_still {
                sim.skew = -two_days;
            }
            sim.restart();
            sim.run();
            let (state, error, grade) = sim.verdict();
            let words = sim.engine.report().attempt.unwrap().error.unwrap().message;
            let label = format!("{behavior:?}, {stood_still}: {words}");
            assert_eq!(state, State::Failed, "{label}");
            if behavior == Behavior::Reboots {
                // It was seen to go and to come back, and by now its uptime shows nothing more.
                assert_eq!(error.as_deref(), Some("PROOF_TOO_WEAK"), "{label}");
                assert_eq!(grade, Some(Grade::Returned), "{label}");
            } else {
                assert_eq!(error.as_deref(), Some("NO_SHUTDOWN"), "{label}");
                assert_eq!(words == old_boot, !stood_still, "{label}");
            }
        }
    }
}

#[test]
fn a_host_without_a_clock_at_boot_is_proved_all_the_same() {
    for jump in jumps() {
        let mut sim = Sim::on_host(Behavior::Reboots);
        sim.call("reboot", by_half_past());
        sim.run_until(|sim| !sim.triggers.is_empty());
        sim.skew = jump;
        sim.run();
        let verdict = (State::Succeeded, None, Some(Grade::Healthy));
        assert_eq!(sim.verdict(), verdict, "{jump:#}");
        // The time comes from the network a while after the next boot.
        sim.skew = SignedDuration::ZERO;
        sim.feed(crate::engine::Input::Tick);
        assert_eq!(sim.verdict(), verdict, "{jump:#}");
    }
}

#[test]
fn nothing_begins_after_its_deadline_though_the_clock_was_set_back() {
    for jump in jumps().into_iter().filter(|jump| jump.is_negative()) {
        let mut sim = Sim::new(Behavior::Reboots);
        sim.blocked_until = seconds(31 * 60);
        sim.call("reboot", by_half_past());
        sim.run_until(|sim| sim.time >= seconds(600));
        sim.skew = jump;
        sim.run();
        assert_eq!(sim.verdict().0, State::Expired, "{jump:#}");
        assert_eq!(sim.triggers, [], "{jump:#}");
        assert!(sim.time < seconds(31 * 60), "{jump:#}: {:?}", sim.time);
    }
}

#[test]
fn so_long_is_so_long_and_a_moment_is_by_the_clock_on_the_wall() {
    let two_hours = seconds(7_200);
    for jump in jumps() {
        let mut sim = Sim::new(Behavior::Reboots);
        sim.call(
            "reboot",
            json!({ "requestId": ID.to_string(), "delaySec": 7_200 }),
        );
        sim.run_until(|sim| sim.time >= seconds(60));
        sim.skew = jump;
        sim.run_until(|sim| !sim.triggers.is_empty() || sim.engine.open().is_none());
        let in_time = sim.time >= two_hours && sim.time < two_hours + seconds(60);
        assert!(
            in_time && sim.triggers.len() == 1,
            "{jump:#}: {:?}",
            sim.time
        );

        let mut sim = Sim::new(Behavior::Reboots);
        let request = json!({ "requestId": ID.to_string(), "notBefore": "2026-01-01T02:00:00Z" });
        sim.call("reboot", request);
        sim.run_until(|sim| sim.time >= seconds(60));
        sim.skew = SignedDuration::from_hours(1);
        sim.run_until(|sim| !sim.triggers.is_empty());
        let at = sim.time.as_secs();
        assert!((3_600..3_700).contains(&at), "{at}");
    }
}

#[test]
fn boots_that_a_wrong_clock_dated_ahead_forbid_reboots_no_longer_than_others() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.change(|settings| settings.cooldown = seconds(600));
    sim.skew = SignedDuration::from_hours(24 * 3_650);
    sim.call("reboot", json!(null));
    sim.run();
    sim.skew = SignedDuration::ZERO;
    let refusal = |sim: &mut Sim| {
        sim.call("reboot", json!({ "requestId": ID.to_string() }));
        let payload = &sim.answers.last().unwrap().payload;
        payload["error"]["code"].as_str().map(str::to_owned)
    };
    let cooldown = Some(RefusalCode::Cooldown.name().to_owned());
    assert_eq!(refusal(&mut sim), cooldown);
    sim.time += seconds(599);
    assert_eq!(refusal(&mut sim), cooldown);
    sim.time += seconds(2);
    sim.call("reboot", json!({ "requestId": ID.to_string() }));
    sim.run();
    assert_eq!(sim.triggers.len(), 2);
}

proptest! {
    /// However often it is set, and however often the gateway dies.
    #[test]
    fn there_is_an_end_and_one_command_whatever_the_clock_does(
        behavior in prop::sample::select(BEHAVIORS.to_vec()),
        sets in prop::collection::vec((1_u64..600, -1_000_i64..1_000, any::<bool>()), 0..6),
    ) {
        let mut sim = Sim::new(behavior);
        sim.call("reboot", by_half_past());
        let mut sets = sets;
        sets.sort_unstable();
        for (at, hours, restarts) in sets {
            sim.run_until(|sim| sim.time >= seconds(at) || !sim.ended.is_empty());
            sim.skew = SignedDuration::from_hours(hours);
            if restarts {
                sim.restart();
            }
        }
        sim.run();
        let (state, _, grade) = sim.verdict();
        prop_assert!(state.is_terminal());
        prop_assert!(sim.triggers.len() <= 1);
        prop_assert!(sim.time < seconds(2 * 3_600), "{:?}", sim.time);
        if state == State::Succeeded {
            prop_assert!(sim.triggers.len() == 1 && grade >= Some(Grade::BootChanged));
        }
    }
}
