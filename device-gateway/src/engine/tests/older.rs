//! Journals that are older than what the hub was told.

use std::cell::RefCell;

use iot_hub::reboot::{Report, State};
use serde_json::json;

use super::sim::{Behavior, ID, Sim, queued_request, request, seconds};
use crate::{
    engine::{Input, older::missed},
    journal::{Ended, Journal, Remembered},
};

/// What is on disk after each write of an attempt, and the world at its end.
fn attempt(behavior: Behavior) -> (Vec<(Journal, Vec<Ended>)>, Sim) {
    let mut sim = Sim::new(behavior);
    let disks = RefCell::new(vec![(Journal::default(), Vec::new())]);
    let note = |sim: &Sim| {
        disks
            .borrow_mut()
            .push((sim.disk.clone(), sim.ended.clone()))
    };
    sim.call("reboot", request());
    sim.run_until(|sim| {
        note(sim);
        sim.engine.open().is_none() && !sim.answers.is_empty()
    });
    let mut disks = disks.into_inner();
    disks.dedup();
    (disks, sim)
}

/// A gateway on a disk of before, which has read the twin.
fn restored(behavior: Behavior, disk: &(Journal, Vec<Ended>), told: &Report) -> Sim {
    let mut sim = Sim::new(behavior);
    (sim.disk, sim.ended) = disk.clone();
    sim.restart();
    sim.feed(Input::Reported(Box::new(told.clone())));
    sim
}

#[test]
fn a_request_that_the_twin_tells_of_is_not_begun_by_any_journal_of_before() {
    for behavior in [Behavior::Reboots, Behavior::Lies, Behavior::NeverReturns] {
        let (disks, honest) = attempt(behavior);
        let told = honest.engine.report();
        let (_, kept) = disks.split_last().unwrap();
        assert!(kept.len() > 4, "{behavior:?}");
        for disk in kept {
            let mut sim = restored(behavior, disk, &told);
            let state = disk.0.open.as_ref().map(|open| open.report.state);
            sim.call("reboot", request());
            sim.queue(Some(queued_request()));
            let until = sim.time + seconds(3_600);
            sim.run_until(|sim| sim.time >= until);
            assert_eq!(sim.triggers, [], "{behavior:?} {state:?}");
            assert_eq!(sim.verdict(), honest.verdict(), "{behavior:?} {state:?}");
            let answer = sim.answers.last().unwrap();
            assert_eq!(answer.payload["duplicate"], true);
            assert_eq!(answer.payload["state"], json!(honest.verdict().0));
            let report = sim.engine.report();
            assert!(report.seq > told.seq);
            assert_eq!(report.counters.total, told.counters.total);
            let entry = |id| move |entry: &&iot_hub::reboot::HistoryEntry| entry.id == Some(id);
            assert_eq!(report.history.iter().filter(entry(ID)).count(), 1);
            // That is on disk, too.
            assert_eq!(sim.ended.iter().filter(|ended| ended.id == ID).count(), 1);
        }
    }
}

#[test]
fn an_attempt_that_had_not_ended_when_its_journal_was_lost_is_lost() {
    let (disks, honest) = attempt(Behavior::Reboots);
    for told in &honest.reports {
        let Some(attempt) = &told.attempt else {
            continue;
        };
        if attempt.state.is_terminal() {
            continue;
        }
        // Of nothing, and of any journal that is older.
        for disk in disks.iter().filter(|(journal, _)| journal.seq < told.seq) {
            let mut sim = restored(Behavior::Reboots, disk, told);
            sim.call("reboot", request());
            let until = sim.time + seconds(3_600);
            sim.run_until(|sim| sim.time >= until);
            assert_eq!(sim.triggers, []);
            let code = Some("JOURNAL_RESTORED".to_owned());
            let (state, error, _) = sim.verdict();
            assert_eq!((state, error), (State::Lost, code), "{}", attempt.state);
        }
    }
}

#[test]
fn what_was_open_before_others_began_has_ended() {
    let (disks, _) = attempt(Behavior::Reboots);
    let mut later = Sim::new(Behavior::Reboots);
    let other = "22222222-2222-4222-8222-222222222222";
    later.call("reboot", json!({ "requestId": other }));
    later.run();
    let told = later.engine.report();
    for disk in disks.iter().filter(|(journal, _)| journal.open.is_some()) {
        let sim = restored(Behavior::Reboots, disk, &told);
        assert_eq!(sim.engine.open(), None);
        let states: Vec<_> = sim.ended.iter().map(|ended| ended.state).collect();
        assert_eq!(states, [State::Lost, State::Succeeded]);
        let newest = sim.engine.report().attempt.unwrap();
        assert_eq!(newest.request_id.to_string(), other);
    }
}

#[test]
fn a_journal_is_not_older_than_what_it_reported() {
    let (disks, honest) = attempt(Behavior::Reboots);
    let (journal, ended) = disks.last().unwrap();
    let remembered: Remembered = ended.iter().cloned().collect();
    for told in &honest.reports {
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(missed(journal, &remembered, told, now), []);
    }
    let mut sim = restored(
        Behavior::Reboots,
        disks.last().unwrap(),
        &honest.engine.report(),
    );
    let writes = sim.writes;
    sim.feed(Input::Reported(Box::new(honest.engine.report())));
    assert_eq!(sim.writes, writes, "nothing is news");
}

#[test]
fn an_attempt_of_an_earlier_process_does_not_begin_before_the_hub_has_its_report() {
    let (disks, _) = attempt(Behavior::Reboots);
    let mut found = 0;
    for (journal, ended) in disks {
        let Some(open) = &journal.open else { continue };
        if open.report.state.is_past_no_return() {
            continue;
        }
        found += 1;
        for hub_acknowledges in [false, true] {
            let mut sim = Sim::new(Behavior::Reboots);
            (sim.disk, sim.ended) = (journal.clone(), ended.clone());
            sim.hub_acknowledges = hub_acknowledges;
            sim.restart();
            sim.run();
            let (state, given) = match hub_acknowledges {
                true => (State::Succeeded, vec![ID]),
                false => (State::Expired, vec![]),
            };
            assert_eq!((sim.verdict().0, sim.triggers), (state, given));
        }
    }
    assert!(found > 1);
}
