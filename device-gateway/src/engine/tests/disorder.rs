//! Inputs in any order, with results that never come, come late or make no sense.

use std::collections::BTreeMap;

use iot_hub::reboot::{Blocker, Grade, Mode, Origin, Report, RequestId, State};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::sim::seconds;
use crate::{
    driver::{Baseline, DriverError, Health, Observation, Probe, Triggered},
    engine::{
        Call, DriverStep, Engine, Input, Now, Outcome, Settings, Step, Ticket, older::missed,
    },
    journal::{Ended, Journal, Remembered},
};

/// One thing that happens to the engine.
#[derive(Debug, Clone)]
enum Happening {
    Call {
        id: u8,
        delay: u8,
        dry_run: bool,
    },
    Cancel {
        id: u8,
    },
    Queued {
        id: u8,
    },
    /// The queued request is removed.
    Unqueued,
    /// The hub answers the newest check.
    Checked,
    /// The oldest outstanding step of the driver ends like this.
    Driven(u8),
    /// It ends so that whoever asked does not wait for it any more.
    Stale(u8),
    Acked,
    Hint,
    GoingDown,
    StayingUp,
    Wait(u16),
    Crash,
    /// The disk is as it was so many writes before, and the hub says what it was told.
    RolledBack(u8),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    prop::collection::vec(
        prop_oneof![
            2 => (0..3_u8, 0..3_u8, any::<bool>())
                .prop_map(|(id, delay, dry_run)| Happening::Call { id, delay, dry_run }),
            1 => (0..3_u8).prop_map(|id| Happening::Cancel { id }),
            1 => (0..3_u8).prop_map(|id| Happening::Queued { id }),
            1 => Just(Happening::Unqueued),
            3 => Just(Happening::Checked),
            12 => any::<u8>().prop_map(Happening::Driven),
            1 => any::<u8>().prop_map(Happening::Stale),
            4 => Just(Happening::Acked),
            1 => Just(Happening::Hint),
            1 => Just(Happening::GoingDown),
            1 => Just(Happening::StayingUp),
            6 => (0..200_u16).prop_map(Happening::Wait),
            1 => Just(Happening::Crash),
            1 => (0..12_u8).prop_map(Happening::RolledBack),
        ],
        0..150,
    )
}

struct World {
    engine: Engine,
    disk: Journal,
    ended: Vec<Ended>,
    /// What was on disk before: the journal, and how many had ended.
    before: Vec<(Journal, usize)>,
    /// What the hub was told last.
    told: Option<Report>,
    time: u64,
    began: u64,
    outstanding: Vec<(Ticket, DriverStep)>,
    triggers: BTreeMap<RequestId, u32>,
    states: BTreeMap<RequestId, State>,
    seq: u64,
    rids: Vec<String>,
    queued: Option<serde_json::Value>,
    check: Option<u64>,
}

impl World {
    fn start() -> Self {
        let (engine, step) = Engine::start(
            Settings::default().into(),
            Journal::default(),
            Remembered::default(),
            moment(0, 0),
        );
        let mut world = Self {
            engine,
            disk: Journal::default(),
            ended: Vec::new(),
            before: Vec::new(),
            told: None,
            time: 0,
            began: 0,
            outstanding: Vec::new(),
            triggers: BTreeMap::new(),
            states: BTreeMap::new(),
            seq: 0,
            rids: Vec::new(),
            queued: None,
            check: None,
        };
        world.take(step);
        world
    }

    fn feed(&mut self, input: Input) {
        let step = self.engine.step(moment(self.time, self.began), input);
        self.take(step);
    }

    fn take(&mut self, step: Step) {
        if let Some(record) = step.persist {
            assert!(record.journal.seq >= self.disk.seq);
            self.before.push((self.disk.clone(), self.ended.len()));
            self.disk = record.journal;
            self.ended.extend(record.ended);
        }
        self.rids
            .extend(step.answers.into_iter().map(|answer| answer.rid));
        if let Some(reporting) = step.report {
            assert_eq!(
                reporting.report.seq, self.disk.seq,
                "reported before it was on disk"
            );
            assert!(reporting.report.seq >= self.seq);
            self.seq = reporting.report.seq;
            self.told = Some(reporting.report.clone());
            if let Some(attempt) = reporting.report.attempt {
                let before = self.states.insert(attempt.request_id, attempt.state);
                assert!(
                    before.is_none_or(|state| !state.is_terminal() || state == attempt.state),
                    "{before:?} was left for {}",
                    attempt.state
                );
            }
        }
        if let Some(told) = &self.told {
            let remembered: Remembered = self.ended.iter().cloned().collect();
            let now = moment(self.time, 0).wall;
            let missed = missed(&self.disk, &remembered, told, now);
            assert_eq!(missed, [], "a journal knows what it reported");
        }
        self.check = step.check.or(self.check);
        for (ticket, asked) in step.drive {
            if let DriverStep::Trigger(order) = &asked
                && !order.dry_run
            {
                let open = self
                    .disk
                    .open
                    .as_ref()
                    .expect("a command without a journal");
                assert_eq!(
                    (open.report.request_id, open.report.state),
                    (order.id, State::Rebooting)
                );
                *self.triggers.entry(order.id).or_default() += 1;
            }
            self.outstanding.push((ticket, asked));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Call { id, delay, dry_run } => self.feed(call(
                "reboot",
                json!({ "requestId": request(id).to_string(), "delaySec": u32::from(delay) * 40, "dryRun": dry_run }),
            )),
            Happening::Cancel { id } => self.feed(call(
                "cancelReboot",
                json!({ "requestId": request(id).to_string() }),
            )),
            Happening::Queued { id } => {
                let deadline = moment(self.time + 600, 0).wall.to_string();
                let queued = json!({ "requestId": request(id).to_string(), "deadline": deadline });
                self.queued = Some(queued);
                self.feed(Input::Desired(self.queued()));
            }
            Happening::Unqueued => {
                self.queued = None;
                self.feed(Input::Desired(None));
                let open = self.disk.open.as_ref();
                assert!(
                    open.is_none_or(|open| open.report.origin != Origin::Desired
                        || open.report.state.is_past_no_return()),
                    "{open:?} is open and was withdrawn"
                );
            }
            Happening::Checked => {
                if let Some(number) = self.check.take() {
                    self.feed(Input::Checked(number, self.queued()));
                }
            }
            Happening::Driven(how) => {
                if !self.outstanding.is_empty() {
                    let (ticket, step) = self.outstanding.remove(0);
                    let outcome = self.outcome(&step, how);
                    self.feed(Input::Driven(ticket, outcome));
                }
            }
            Happening::Stale(how) => {
                let step = DriverStep::Observe(Baseline::default());
                let outcome = self.outcome(&step, how);
                self.feed(Input::Driven(Ticket(u64::from(how) + 1_000_000), outcome));
            }
            Happening::Acked => {
                let seq = self.seq;
                for rid in std::mem::take(&mut self.rids) {
                    self.feed(Input::AnswerAcked(rid));
                }
                self.feed(Input::ReportAcked(seq));
            }
            Happening::Hint => self.feed(Input::Hint),
            Happening::GoingDown => self.feed(Input::GoingDown),
            Happening::StayingUp => self.feed(Input::StayingUp),
            Happening::Wait(by) => {
                self.time += u64::from(by);
                self.feed(Input::Tick);
            }
            Happening::Crash => {
                let step = self.restart();
                self.take(step);
            }
            Happening::RolledBack(writes) => self.roll_back(writes.into()),
        }
    }

    fn restart(&mut self) -> Step {
        self.time += 3;
        self.began = self.time;
        self.outstanding.clear();
        let remembered: Remembered = self.ended.iter().cloned().collect();
        let (engine, step) = Engine::start(
            Settings::default().into(),
            self.disk.clone(),
            remembered,
            moment(self.time, self.began),
        );
        self.engine = engine;
        step
    }

    /// A twin tells of the newest few attempts alone: where one that was given its command is not among
    /// those, nobody can know.
    fn roll_back(&mut self, writes: usize) {
        let Some(told) = self.told.clone() else {
            return;
        };
        let Some(at) = self.before.len().checked_sub(writes + 1) else {
            return;
        };
        let (journal, ended) = self.before[at].clone();
        let attempts = told.attempt.iter().map(|attempt| attempt.request_id);
        let history = told.history.iter().filter_map(|entry| entry.id);
        let kept = self.ended[..ended].iter().map(|ended| ended.id);
        let known: Vec<_> = attempts.chain(history).chain(kept).collect();
        let mut given = self.triggers.keys();
        if !given.all(|id| known.contains(id)) {
            return;
        }
        // What nobody knows of any more may begin anew, and what is open may end by itself before the twin
        // is read.
        let open = journal.open.as_ref().map(|open| open.report.request_id);
        self.states
            .retain(|id, _| known.contains(id) && Some(*id) != open);
        self.before.truncate(at);
        self.disk = journal;
        self.ended.truncate(ended);
        let mut step = self.restart();
        // It does not leave before the twin was read.
        step.report = None;
        let reported = Input::Reported(Box::new(told.clone()));
        let then = self.engine.step(moment(self.time, self.began), reported);
        self.told = None;
        for mut step in [step, then] {
            if let Some(record) = step.persist.take() {
                self.disk = record.journal;
                self.ended.extend(record.ended);
            }
            self.take(step);
        }
        self.told.get_or_insert(told);
    }

    fn queued(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        self.queued.as_ref()?.as_object().cloned()
    }

    fn outcome(&self, step: &DriverStep, how: u8) -> Outcome {
        let boot_id = Some(format!("boot-{}", how % 4));
        let failed = match how % 11 {
            0 => Some(DriverError::Unreachable("away".into())),
            1 => Some(DriverError::Failed {
                doing: "ask",
                message: "broken".into(),
            }),
            2 if how > 128 => Some(DriverError::Refused("no".into())),
            _ => None,
        };
        fn or<T>(failed: Option<DriverError>, value: T) -> Result<T, DriverError> {
            failed.map_or(Ok(value), Err)
        }
        match step {
            DriverStep::Probe => Outcome::Probed(or(
                failed,
                Probe {
                    modes: Mode::ALL.to_vec(),
                    best_grade: Grade::Healthy,
                    required_grade: Grade::BootChanged,
                    boot_id,
                    restarts_gateway: how.is_multiple_of(5),
                },
            )),
            DriverStep::CheckBlockers(_) => Outcome::Blockers(or(failed, blockers(how))),
            DriverStep::Prepare(_) => Outcome::Prepared(blockers(how)),
            DriverStep::TakeBaseline => {
                let baseline = Baseline {
                    boot_id,
                    ..Baseline::default()
                };
                Outcome::BaselineTaken(or(failed, baseline))
            }
            DriverStep::Trigger(_) => Outcome::Triggered(or(
                failed,
                [
                    Triggered::Acknowledged,
                    Triggered::Unacknowledged,
                    Triggered::Rehearsed,
                ][usize::from(how % 3)]
                .clone(),
            )),
            DriverStep::Observe(_) => Outcome::Observed(or(
                failed,
                Observation {
                    present: !how.is_multiple_of(5),
                    was_absent: how.is_multiple_of(2),
                    boot_id: boot_id.filter(|_| !how.is_multiple_of(7)),
                    uptime: Some(seconds(u64::from(how))).filter(|_| !how.is_multiple_of(6)),
                    boot_count: None,
                    caused_by: Some(request(how % 3)),
                    method: "test",
                    detail: String::new(),
                },
            )),
            DriverStep::RestorePower => Outcome::PowerRestored(or(failed, ())),
            DriverStep::CheckHealth => Outcome::HealthChecked(or(
                failed,
                [
                    Health::Healthy,
                    Health::Unhealthy("ill".into()),
                    Health::Unknown,
                ][usize::from(how % 3)]
                .clone(),
            )),
        }
    }
}

fn blockers(how: u8) -> BTreeMap<String, Blocker> {
    let blocker = Blocker {
        who: "w".into(),
        why: "y".into(),
        until: None,
    };
    let blockers = (how.is_multiple_of(3)).then(|| ("b".to_owned(), blocker));
    blockers.into_iter().collect()
}

fn request(id: u8) -> RequestId {
    RequestId(Uuid::from_u128(u128::from(id) + 1))
}

fn call(method: &str, payload: serde_json::Value) -> Input {
    Input::Call(Call {
        rid: format!("{method} {payload}"),
        method: method.to_owned(),
        payload,
        fresh: request(77),
    })
}

fn moment(time: u64, began: u64) -> Now {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let wall = start + SignedDuration::from_secs(i64::try_from(time).expect("a short time"));
    Now::new(wall, seconds(time - began))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_no_second_command_and_an_end(happenings in happenings()) {
        let mut world = World::start();
        for happening in happenings {
            world.happen(happening);
            prop_assert!(world.triggers.values().all(|times| *times == 1), "{:?}", world.triggers);
        }
        // From here on nobody answers and time goes by.
        world.feed(Input::Desired(None));
        for _ in 0..2_000 {
            if world.engine.open().is_none() {
                break;
            }
            let wake = world.began + world.engine.wake_at().as_secs() + 1;
            world.time = world.time.max(wake);
            world.feed(Input::Tick);
        }
        prop_assert_eq!(world.engine.open(), None);
        prop_assert!(world.triggers.values().all(|times| *times == 1), "{:?}", world.triggers);
    }
}
