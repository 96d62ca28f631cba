//! Every scenario, with the process dying at every write of the journal.

use iot_hub::reboot::State;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use super::sim::{Behavior, Crash, ID, Sim, request, seconds};

type Scenario = (&'static str, fn() -> Sim);

fn scenarios() -> Vec<Scenario> {
    vec![
        ("reboots", || Sim::new(Behavior::Reboots)),
        ("instant", || Sim::new(Behavior::Instant)),
        ("twice", || Sim::new(Behavior::Twice)),
        ("no identity", || Sim::new(Behavior::NoIdentity)),
        ("lies", || Sim::new(Behavior::Lies)),
        ("same boot", || Sim::new(Behavior::SameBoot)),
        ("refuses", || Sim::new(Behavior::Refuses)),
        ("never returns", || Sim::new(Behavior::NeverReturns)),
        ("unhealthy", || Sim::new(Behavior::Unhealthy)),
        ("boots early", || Sim::new(Behavior::BootsEarly)),
        ("blocked", || {
            let mut sim = Sim::new(Behavior::Reboots);
            sim.blocked_until = seconds(45);
            sim
        }),
        ("objected to", || {
            let mut sim = Sim::new(Behavior::Reboots);
            sim.objects_until = seconds(45);
            sim
        }),
        ("deaf hub", || {
            let mut sim = Sim::new(Behavior::Reboots);
            sim.hub_acknowledges = false;
            sim
        }),
        ("host reboots", || Sim::on_host(Behavior::Reboots)),
        ("host stays", || Sim::on_host(Behavior::Lies)),
    ]
}

#[test]
fn a_crash_at_any_write_gives_no_second_command_and_an_end() {
    for (name, sim) in scenarios() {
        for payload in [
            request(),
            json!({ "requestId": ID.to_string(), "delaySec": 30, "deadline": "2026-01-01T02:00:00Z" }),
        ] {
            let plain = sim().reboot(payload.clone());
            let honest = plain.verdict().0;
            for write in 1..=plain.writes {
                for crash in [
                    Crash::BeforeWrite(write),
                    Crash::AfterWrite(write),
                    Crash::AfterStep(write),
                ] {
                    let mut sim = sim();
                    sim.crash = vec![crash];
                    let sim = sim.reboot(payload.clone());
                    let label = format!("{name}, {crash:?}: {:?}", sim.verdict());
                    assert!(sim.triggers.len() <= 1, "{label}: {:?}", sim.triggers);
                    assert!(sim.verdict().0.is_terminal(), "{label}");
                    // A crash may cost a success, never invent one.
                    let success = sim.verdict().0 == State::Succeeded;
                    assert!(!success || honest == State::Succeeded, "{label}");
                    assert!(!success || sim.triggers.len() == 1, "{label}");
                    assert_eq!(sim.ended.len(), 1, "{label}");
                }
            }
        }
    }
}

/// The process is killed up to three times in a run, wherever that may be.
#[test]
fn a_thousand_random_kills_give_no_second_command_and_an_end() {
    let mut random = StdRng::seed_from_u64(7);
    let scenarios = scenarios();
    for run in 0..1_000 {
        let (name, sim) = scenarios[random.random_range(0..scenarios.len())];
        let honest = sim().reboot(request());
        let mut killed = sim();
        killed.crash = (0..random.random_range(1..=3))
            .map(|_| {
                let write = random.random_range(1..=honest.writes + 1);
                match random.random_range(0..3) {
                    0 => Crash::BeforeWrite(write),
                    1 => Crash::AfterWrite(write),
                    _ => Crash::AfterStep(write),
                }
            })
            .collect();
        let label = format!("run {run}, {name}, {:?}", killed.crash);
        let killed = killed.reboot(request());
        assert!(killed.verdict().0.is_terminal(), "{label}");
        assert_eq!(killed.ended.len(), 1, "{label}");
        let commands = honest.triggers.len().max(1);
        assert!(
            killed.triggers.len() <= commands,
            "{label}: {:?}",
            killed.triggers
        );
        let success = killed.verdict().0 == State::Succeeded;
        let earned = honest.verdict().0 == State::Succeeded && !killed.triggers.is_empty();
        assert!(!success || earned, "{label}: {:?}", killed.verdict());
    }
}

#[test]
fn a_repeated_request_is_told_how_the_first_one_ended() {
    let mut sim = Sim::new(Behavior::Reboots).reboot(request());
    sim.restart();
    sim.call(
        "reboot",
        json!({ "requestId": ID.to_string(), "mode": "forced" }),
    );
    let answer = sim.answers.last().unwrap();
    assert_eq!(answer.status, 202);
    assert_eq!(answer.payload["state"], "SUCCEEDED");
    assert_eq!(answer.payload["duplicate"], true);
    assert_eq!(sim.triggers, [ID]);
}
