//! One attempt through the real engine: what it asks of the driver is carried out, and a hub that
//! acknowledges everything at once stands on its other side.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use iot_hub::reboot::{Grade, Mode, Report, State, method};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Behavior, FakeDevice, clock::FastClock};
use crate::{
    device::{at, drive::drive, hinted},
    driver::{Driver, tests::ID},
    engine::{Call, DriverStep, Engine, Input, Now, Settings, Step},
    journal::{Journal, Record, Remembered},
    safety::Safety,
};

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) error: Option<String>,
    /// What is proved. That the device said so is no proof.
    pub(super) proved: Option<Grade>,
    /// Boots that nobody asked for.
    pub(super) unexpected: u64,
}

impl Verdict {
    /// What a report says of the newest attempt.
    fn of(report: Report) -> Option<Self> {
        let attempt = report.attempt?;
        Some(Self {
            state: attempt.state,
            error: attempt.error.map(|error| error.code.to_string()),
            proved: attempt
                .evidence
                .map(|evidence| evidence.grade)
                .filter(|grade| *grade > Grade::Claimed),
            unexpected: report.counters.unexpected,
        })
    }
}

/// Limits that are short only where the expected verdict is that they have passed: on a busy machine
/// they pass while a device does all that it should.
fn settings(expected: Option<&str>) -> Settings {
    let seconds = Duration::from_secs;
    let short_for = |errors: &[&str]| match expected {
        Some(error) if errors.contains(&error) => seconds(20),
        Some(_) | None => seconds(1_000),
    };
    Settings {
        // Longer than uptimes may be off, so that a reboot shows in them.
        answer_grace: seconds(3),
        settle: seconds(3),
        go_down_limit: short_for(&["NO_SHUTDOWN", "AGENT_RESTARTED"]),
        return_limit: short_for(&["NO_RETURN"]),
        verify_limit: short_for(&["UNHEALTHY"]),
        prepare_limit: seconds(1_000),
        survey_limit: seconds(1_000),
        ..Settings::default()
    }
}

/// When the process of the gateway ends without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dies {
    Never,
    /// It runs on the device.
    WithTheDevice,
}

/// Has the device rebooted once, of which that error is expected, and returns the verdict.
pub(super) async fn attempt(
    driver: Arc<dyn Driver>,
    mode: Mode,
    device: &FakeDevice,
    dies: Dies,
    expected: Option<&str>,
    clock: FastClock,
) -> Verdict {
    let behavior = device.behavior();
    let settings = Arc::new(settings(expected));
    let began = Timestamp::now();
    let now = |process_began: Duration| {
        let time = clock.now();
        let wall = SignedDuration::try_from(time).expect("a short time");
        Now::new(began + wall, time - process_began)
    };
    let mut process_began = Duration::ZERO;
    let mut boots = 0;
    let mut disk = Record {
        journal: Journal::default(),
        ended: Vec::new(),
    };
    let mut hints = driver.hints();
    let mut inputs = VecDeque::from([Input::Call(Call {
        rid: "r1".into(),
        method: method::REBOOT.into(),
        payload: json!({ "v": 1, "requestId": ID, "mode": mode }),
        fresh: ID,
    })]);
    let safety = Arc::new(Safety::alone());
    let mut driving = FuturesUnordered::new();
    let mut commanding = None;
    let (mut engine, mut step) = Engine::start(
        settings.clone(),
        Journal::default(),
        Remembered::default(),
        now(process_began),
    );
    loop {
        let Step {
            persist,
            answers,
            report,
            drive: asked,
            ..
        } = step;
        if let Some(record) = persist {
            disk.journal = record.journal;
            disk.ended.extend(record.ended);
        }
        for answer in answers {
            assert_eq!(answer.status, 202, "{behavior:?}: {}", answer.payload);
            inputs.push_back(Input::AnswerAcked(answer.rid));
        }
        inputs.extend(report.map(|reporting| Input::ReportAcked(reporting.report.seq)));
        for (ticket, step) in asked {
            if matches!(step, DriverStep::Trigger(_)) {
                commanding = Some(ticket);
            }
            driving.push(drive(driver.clone(), safety.clone(), ticket, step));
        }
        if engine.open().is_none()
            && let Some(verdict) = Verdict::of(engine.report())
        {
            return verdict;
        }
        let input = match inputs.pop_front() {
            Some(input) => input,
            None => {
                let wake = clock.shows(process_began.saturating_add(engine.wake_at()));
                tokio::select! {
                    () = device.goes_down(boots), if dies == Dies::WithTheDevice => {
                        driving.clear();
                        commanding = None;
                        if behavior == Behavior::NeverReturns {
                            return Verdict::of(engine.report()).expect("an attempt");
                        }
                        boots = device.is_back().await;
                        process_began = clock.now();
                        let remembered = disk.ended.iter().cloned().collect();
                        (engine, step) = Engine::start(
                            settings.clone(),
                            disk.journal.clone(),
                            remembered,
                            now(process_began),
                        );
                        continue;
                    }
                    Some((ticket, outcome)) = driving.next() => {
                        commanding.take_if(|commanding| *commanding == ticket);
                        Input::Driven(ticket, outcome)
                    }
                    // On a slow machine a limit may pass before the command has arrived.
                    () = hinted(&mut hints), if commanding.is_none() => Input::Hint,
                    () = at(wake), if commanding.is_none() => Input::Tick,
                }
            }
        };
        step = engine.step(now(process_began), input);
    }
}
