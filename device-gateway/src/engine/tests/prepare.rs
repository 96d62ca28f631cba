//! Objections at the last moment, and absences that are not the device's.

use iot_hub::reboot::{Grade, State};
use serde_json::json;

use super::sim::{Behavior, ID, Sim, request, seconds};

fn blocked_by(sim: &Sim, name: &str) -> bool {
    sim.reports.iter().any(|report| {
        let attempt = report.attempt.as_ref();
        attempt.is_some_and(|attempt| {
            attempt.state == State::Blocked && attempt.blockers.contains_key(name)
        })
    })
}

#[test]
fn an_objection_at_the_last_moment_holds_the_command_back_and_is_named() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.objects_until = seconds(45);
    let sim = sim.reboot(request());
    assert!(blocked_by(&sim, "prepare"));
    assert_eq!(sim.verdict().0, State::Succeeded);
    assert_eq!(sim.triggers, [ID]);
    assert!(sim.time > seconds(45));
}

#[test]
fn an_objection_that_stays_ends_without_a_command_and_is_asked_less_and_less() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.objects_until = seconds(1_000_000);
    let sim = sim.reboot(request());
    assert_eq!(sim.verdict().0, State::Expired);
    assert!(sim.triggers.is_empty());
    assert!((4..=12).contains(&sim.preparations), "{}", sim.preparations);
}

#[test]
fn force_goes_on_over_objections_but_not_over_absolute_ones() {
    for (payload, absolute, state) in [
        (json!({ "force": true }), false, State::Succeeded),
        (json!({ "mode": "forced" }), false, State::Succeeded),
        (json!({ "force": true }), true, State::Expired),
        (json!({ "mode": "forced" }), true, State::Expired),
    ] {
        for name in ["prepare", "b1"] {
            let mut sim = Sim::new(Behavior::Reboots);
            let until = seconds(1_000_000);
            match name {
                "b1" => sim.blocked_until = until,
                _ => sim.objects_until = until,
            }
            if absolute {
                sim.settings.absolute.insert(name.to_owned());
                sim.restart();
            }
            let mut call = request();
            call.as_object_mut()
                .unwrap()
                .append(&mut payload.as_object().unwrap().clone());
            let sim = sim.reboot(call);
            assert_eq!(sim.verdict().0, state, "{payload} {absolute} {name}");
            assert_eq!(sim.triggers.len(), usize::from(!absolute));
        }
    }
}

/// The device stays up and has no identity. The gateway dies after the command, with its host say, and
/// the device is not connected yet when the gateway is back.
#[test]
fn an_absence_that_our_own_restart_explains_is_no_return() {
    let mut sim = Sim::new(Behavior::ConnectsLate);
    let honest = Sim::new(Behavior::NoIdentity).reboot(returned_is_enough());
    assert_eq!(honest.verdict().2, Some(Grade::Returned));

    sim.call("reboot", returned_is_enough());
    sim.run_until(|sim| !sim.triggers.is_empty());
    sim.restart();
    sim.run();
    assert_ne!(sim.verdict().0, State::Succeeded, "{:?}", sim.verdict());
}

fn returned_is_enough() -> serde_json::Value {
    json!({ "v": 1, "requestId": ID.to_string(), "requiredGrade": 1 })
}
