//! Requests that waited in the desired properties: carried out once, or certainly not.

use iot_hub::reboot::State;
use serde_json::json;

use super::sim::{Behavior, Crash, ID, Sim, queued_request, request, seconds};

#[test]
fn a_queued_request_is_carried_out_once() {
    let mut sim = Sim::new(Behavior::Reboots).reboot_queued(queued_request());
    assert_eq!(sim.verdict().0, State::Succeeded);
    assert!(sim.answers.is_empty());
    sim.restart();
    sim.queue(Some(queued_request()));
    sim.call("reboot", request());
    sim.run_until(|sim| sim.time > seconds(200));
    assert_eq!(sim.answers[0].payload["duplicate"], true);
    assert_eq!(sim.triggers, [ID]);
}

#[test]
fn a_call_and_a_queued_request_with_one_id_are_one() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.call("reboot", request());
    sim.queue(Some(queued_request()));
    sim.run();
    assert_eq!(sim.triggers, [ID]);

    // The call comes while the device is surveyed for the queued one: it is answered with that.
    let mut sim = Sim::new(Behavior::Reboots);
    sim.queue(Some(queued_request()));
    sim.call("reboot", request());
    // It was asked for directly as well, so its removal from the queue is no cancel.
    sim.queue(None);
    sim.run();
    assert_eq!(
        (sim.answers[0].status, sim.verdict().0),
        (202, State::Succeeded)
    );
    assert_eq!(sim.triggers, [ID]);
}

#[test]
fn a_queued_request_that_came_too_late_expires() {
    let mut late = queued_request();
    late["deadline"] = json!("2025-01-01T00:00:00Z");
    let sim = Sim::new(Behavior::Reboots).reboot_queued(late);
    assert_eq!(sim.verdict().0, State::Expired);
    assert!(sim.triggers.is_empty());
}

#[test]
fn a_queued_request_without_a_deadline_or_an_id_is_none() {
    for field in ["deadline", "requestId"] {
        let mut bad = queued_request();
        bad.as_object_mut().unwrap().remove(field);
        let mut sim = Sim::new(Behavior::Reboots);
        sim.queue(Some(bad));
        sim.run_until(|sim| sim.time > seconds(200));
        assert!(sim.triggers.is_empty() && sim.ended.is_empty(), "{field}");
    }
}

#[test]
fn a_queued_request_that_must_not_begin_is_rejected() {
    let mut other_boot = queued_request();
    other_boot["ifBootId"] = json!("boot-9");
    let sim = Sim::new(Behavior::Reboots).reboot_queued(other_boot);
    assert_eq!(
        sim.verdict(),
        (State::Rejected, Some("PRECONDITION".into()), None)
    );
}

#[test]
fn a_request_that_is_removed_before_its_command_is_withdrawn() {
    for (delay, reported) in [(0, State::Accepted), (300, State::Scheduled)] {
        let mut request = queued_request();
        request["delaySec"] = json!(delay);
        let mut sim = Sim::new(Behavior::Reboots);
        sim.queue(Some(request));
        sim.run_until(|sim| {
            sim.engine
                .open()
                .is_some_and(|(_, state)| state == reported)
        });
        sim.queue(None);
        assert_eq!(sim.verdict().0, State::Cancelled, "{reported}");
        sim.run_until(|sim| sim.time > seconds(600));
        assert!(sim.triggers.is_empty(), "{reported}");
    }
}

#[test]
fn a_removal_that_the_device_is_not_told_of_is_found_before_the_command() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.queue(Some(queued_request()));
    sim.run_until(|sim| sim.engine.open().is_some());
    sim.queue_unseen(None);
    sim.run();
    assert_eq!(sim.verdict().0, State::Cancelled);
    assert!(sim.triggers.is_empty());
}

#[test]
fn without_a_word_of_the_hub_nothing_queued_is_carried_out() {
    for (acknowledges, answers) in [(false, true), (true, false)] {
        let mut sim = Sim::new(Behavior::Reboots);
        sim.hub_acknowledges = acknowledges;
        sim.hub_answers_checks = answers;
        let sim = sim.reboot_queued(queued_request());
        assert_eq!(sim.verdict().0, State::Expired);
        assert!(sim.triggers.is_empty());
    }
}

#[test]
fn an_answer_to_an_earlier_check_says_nothing() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.hub_answers_checks = false;
    sim.queue(Some(queued_request()));
    sim.run_until(|sim| sim.time > seconds(100));
    let request = queued_request().as_object().cloned();
    sim.feed(crate::engine::Input::Checked(0, request));
    assert_eq!(sim.engine.open(), Some((ID, State::Accepted)));
    sim.hub_answers_checks = true;
    sim.run();
    assert_eq!(sim.verdict().0, State::Succeeded);
}

#[test]
fn another_queued_request_takes_the_place_of_the_one_before() {
    let mut sim = Sim::new(Behavior::Reboots);
    sim.queue(Some(queued_request()));
    let mut other = queued_request();
    other["requestId"] = json!("00000000-0000-0000-0000-000000000002");
    sim.queue(Some(other));
    sim.run_until(|sim| !sim.ended.is_empty());
    let ids: Vec<_> = sim.triggers.iter().map(ToString::to_string).collect();
    assert_eq!(ids, ["00000000-0000-0000-0000-000000000002"]);
}

#[test]
fn a_crash_at_any_write_gives_no_second_command_and_an_end() {
    let writes = Sim::new(Behavior::Reboots)
        .reboot_queued(queued_request())
        .writes;
    for write in 1..=writes {
        for crash in [
            Crash::BeforeWrite(write),
            Crash::AfterWrite(write),
            Crash::AfterStep(write),
        ] {
            let mut sim = Sim::new(Behavior::Reboots);
            sim.crash = vec![crash];
            let sim = sim.reboot_queued(queued_request());
            assert!(sim.triggers.len() <= 1, "{crash:?}: {:?}", sim.triggers);
            assert_eq!(sim.ended.len(), 1, "{crash:?}");
        }
    }
}
