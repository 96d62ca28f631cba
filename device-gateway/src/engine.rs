//! The gateway's half of an attempt, for one device: what happened goes in, what to do comes out.
//!
//! ```text
//!            call          start time, no blockers     acknowledged, ≥ answer_grace
//!   (survey) ───► SCHEDULED ───► BLOCKED ───► ACCEPTED ───► PREPARING
//!                                                               │ still the boot of the baseline
//!                                                               ▼
//!      SUCCEEDED ◄─── VERIFYING ◄─── DOWN ◄──────────────── REBOOTING: journal, then the command
//!                         ▲     new boot                        │
//!                         └─────────────────────────────────────┘
//! ```
//!
//! It does no I/O and reads no clock. What it asks for is carried out in a fixed order: first the
//! journal is written and synced, and only then anything of the same step leaves. A process that
//! dies in between begins again from the journal, so:
//!
//! - **No command twice.** A command is part of the one step that journals it, with REBOOTING. An
//!   attempt that is found in that state, or a later one, is only observed. Where caller and policy
//!   agree to more than one command, each of them is given at most once (`ladder`).
//! - **No forgotten command.** What the twin tells of and the journal does not know is taken over as
//!   ended (`older`), and an attempt that is found before its command waits until that is known.
//! - **Asked last.** Who must say yes is asked again in PREPARING; an objection leads back to BLOCKED.
//! - **Always an end.** Every state has a limit, and the limits go on over a restart.

mod clock;
mod copy_on_write;
mod desired;
mod finish;
mod going_down;
mod intake;
mod ladder;
mod live;
mod methods;
mod older;
mod phases;
mod power;
mod prepare;
mod settings;
mod silence;
mod start;
mod survey;
#[cfg(test)]
mod tests;
mod verify;
mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use clock::Now;
use copy_on_write::CopyOnWrite;
use desired::Desired;
use iot_hub::reboot::{Blocker, Mode, Refusal, RefusalCode, Report, RequestId, State, TraceParent};
use live::Live;
use power::Restoring;
use serde_json::{Map, Value};
pub use settings::{Rung, Settings};
use survey::Survey;

use crate::{
    driver::{Baseline, DriverError, Health, Observation, Order, Probe, Triggered},
    journal::{Ended, Journal, Record, Remembered},
};

/// The gateway's half of one device's attempts.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) settings: Arc<Settings>,
    journal: CopyOnWrite<Journal>,
    remembered: Arc<Remembered>,
    /// The newest successful probe of this process.
    probe: Option<Probe>,
    probing: Option<Ticket>,
    next_probe: Duration,
    /// A look at the device that has to end before an attempt begins.
    survey: Option<Box<Survey>>,
    /// What is done about power that is owed.
    restoring: Option<Box<Restoring>>,
    /// What of the open attempt is not on disk.
    live: Option<Box<Live>>,
    /// The queued request that has not become an attempt.
    desired: Option<Box<Desired>>,
    /// An earlier process journalled that the device goes down, and which boot it is in now is not
    /// known yet.
    announced_before: bool,
    /// The newest moment it was told of.
    now: Now,
    tickets: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A direct method was called.
    Call(Call),
    /// The hub's desired properties hold this request, or no longer one.
    Desired(Option<Map<String, Value>>),
    /// The answer to the check of this number: what the desired properties hold.
    Checked(u64, Option<Map<String, Value>>),
    /// What the twin says of the device's reboots, read when the device connected.
    Reported(Box<Report>),
    /// The hub acknowledged an answer.
    AnswerAcked(String),
    /// The hub acknowledged a report of at least this number.
    ReportAcked(u64),
    /// The driver carried out a step.
    Driven(Ticket, Outcome),
    /// The driver says that it is worth looking now.
    Hint,
    /// The device announces that it goes down, whoever asked for that.
    GoingDown,
    /// It does not, after all.
    StayingUp,
    /// Time passed.
    Tick,
}

/// A direct method.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The hub's name for the call.
    pub rid: String,
    /// Its name.
    pub method: String,
    /// What was sent with it.
    pub payload: Value,
    /// The id for a caller that sent none.
    pub fresh: RequestId,
}

/// Names one step that a driver was asked for, so that a late result is told from a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What the driver is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverStep {
    /// See [`crate::driver::Driver::probe`].
    Probe,
    /// See [`crate::driver::Driver::blockers`].
    CheckBlockers(Mode),
    /// See [`crate::driver::Driver::baseline`].
    TakeBaseline,
    /// Prepare the device for the command of this order, and ask whoever must say yes once more.
    Prepare(Order),
    /// See [`crate::driver::Driver::trigger`].
    Trigger(Order),
    /// See [`crate::driver::Driver::restore_power`].
    RestorePower,
    /// See [`crate::driver::Driver::observe`].
    Observe(Baseline),
    /// See [`crate::driver::Driver::health`].
    CheckHealth,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`DriverStep::Probe`].
    Probed(Result<Probe, DriverError>),
    /// Of [`DriverStep::CheckBlockers`].
    Blockers(Result<BTreeMap<String, Blocker>, DriverError>),
    /// Of [`DriverStep::TakeBaseline`].
    BaselineTaken(Result<Baseline, DriverError>),
    /// Of [`DriverStep::Prepare`]: who objects.
    Prepared(BTreeMap<String, Blocker>),
    /// Of [`DriverStep::Trigger`].
    Triggered(Result<Triggered, DriverError>),
    /// Of [`DriverStep::RestorePower`].
    PowerRestored(Result<(), DriverError>),
    /// Of [`DriverStep::Observe`].
    Observed(Result<Observation, DriverError>),
    /// Of [`DriverStep::CheckHealth`].
    HealthChecked(Result<Health, DriverError>),
}

/// What to do, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use]
pub struct Step {
    /// Write this and sync it. Nothing else of the step may happen before, or when it fails.
    pub persist: Option<Box<Record>>,
    /// Answer these calls.
    pub answers: Vec<Answer>,
    /// Let the hub know.
    pub report: Option<Box<Reporting>>,
    /// Read the desired properties anew; ends in [`Input::Checked`] with this number.
    pub check: Option<u64>,
    /// Ask the driver for these.
    pub drive: Vec<(Ticket, DriverStep)>,
}

/// The answer to a direct method.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The hub's name for the call.
    pub rid: String,
    /// The method status.
    pub status: i32,
    /// What is sent with it.
    pub payload: Value,
}

/// A report for the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reporting {
    /// The report.
    pub report: Report,
    /// Somebody waits for it; otherwise it may be held back for a moment, so that a phase that is
    /// over at once costs no update of the twin.
    pub urgent: bool,
}

/// What a step gathers while it is computed.
#[derive(Debug, Default)]
struct Out {
    answers: Vec<Answer>,
    check: Option<u64>,
    drive: Vec<(Ticket, DriverStep)>,
    ended: Vec<Ended>,
}

impl Engine {
    /// Goes on where the journal ends.
    pub fn start(
        settings: Arc<Settings>,
        journal: Journal,
        remembered: Remembered,
        now: Now,
    ) -> (Self, Step) {
        let announced_before = journal.going_down.is_some();
        let mut engine = Self {
            live: journal
                .open
                .as_ref()
                .map(|attempt| Box::new(Live::resume(attempt, journal.seq, now))),
            settings,
            journal: journal.into(),
            remembered: Arc::new(remembered),
            probe: None,
            probing: None,
            next_probe: now.mono,
            survey: None,
            restoring: None,
            desired: None,
            announced_before,
            now,
            tickets: 0,
        };
        let mut step = engine.step(now, Input::Tick);
        // The hub may have missed the newest report of the process before.
        step.report.get_or_insert_with(|| {
            Box::new(Reporting {
                report: engine.report(),
                urgent: true,
            })
        });
        (engine, step)
    }

    /// Takes in what happened.
    pub fn step(&mut self, now: Now, input: Input) -> Step {
        let before = self.journal.clone();
        let mut out = Out::default();
        self.now = now;
        self.mend_boots();
        match input {
            Input::Call(call) => self.on_call(call, &mut out),
            Input::Desired(request) => self.on_desired(request.as_ref(), &mut out),
            Input::Checked(number, request) => self.on_checked(number, request.as_ref(), &mut out),
            Input::Reported(told) => self.on_reported(&told, &mut out),
            Input::AnswerAcked(rid) => {
                if let Some(live) = &mut self.live {
                    live.on_answer_acked(&rid);
                }
            }
            Input::ReportAcked(seq) => {
                if let Some(live) = &mut self.live {
                    live.on_report_acked(seq);
                }
            }
            Input::Driven(ticket, outcome) => self.on_driven(ticket, outcome, &mut out),
            Input::Hint => self.on_hint(),
            Input::GoingDown => self.on_going_down(),
            Input::StayingUp => self.on_staying_up(),
            Input::Tick => {}
        }
        self.advance(&mut out);
        self.close(&before, out)
    }

    /// Gives up the request that is not an attempt yet, because nothing can be written: whoever
    /// waits for an answer gets one, and nothing begins later that was refused.
    pub fn abandon(&mut self, why: &str) -> Vec<Answer> {
        self.abandon_intake(&Refusal::new(RefusalCode::Internal, why))
    }

    /// Goes on after a time in which nothing could be written, and so nothing could be taken in. The limits
    /// of what the device is given time for are as far away as before it; a deadline is where it was.
    pub fn leave_out(&mut self, time: Duration) {
        if let Some(live) = &mut self.live {
            live.leave_out(time);
        }
    }

    /// Returns when it wants to be told the time, on the monotonic clock.
    pub fn wake_at(&self) -> Duration {
        let mut at = Duration::MAX;
        if self.probing.is_none() && self.may_probe() {
            at = self.next_probe;
        }
        if let Some(survey) = &self.survey {
            at = at.min(survey.since + self.settings.survey_limit);
        }
        if let Some(desired) = &self.desired {
            at = at.min(desired.retry_at);
        }
        at = at.min(self.power_wakes_at());
        if let (Some(live), Some(attempt)) = (&self.live, &self.journal.open) {
            at = at.min(self.phase_wakes_at(live, attempt));
        }
        at
    }

    /// What the twin should say.
    pub fn report(&self) -> Report {
        report_of(&self.journal)
    }

    /// The attempt that has not ended.
    pub fn open(&self) -> Option<(RequestId, State)> {
        let report = &self.journal.open.as_ref()?.report;
        Some((report.request_id, report.state))
    }

    /// The place of the open attempt in its caller's trace.
    pub fn trace(&self) -> Option<TraceParent> {
        self.journal.open.as_ref()?.call.traceparent
    }

    fn close(&mut self, before: &CopyOnWrite<Journal>, out: Out) -> Step {
        let mut step = Step {
            answers: out.answers,
            check: out.check,
            drive: out.drive,
            ..Step::default()
        };
        if self.journal == *before && out.ended.is_empty() {
            return step;
        }
        if report_of(before) != self.report() {
            self.journal.seq += 1;
            if let Some(live) = &mut self.live {
                live.on_reporting(self.journal.seq);
            }
            step.report = Some(Box::new(Reporting {
                report: self.report(),
                urgent: !self.open().is_some_and(|(_, state)| {
                    matches!(state, State::Preparing | State::Down | State::Verifying)
                }),
            }));
        }
        step.persist = Some(Box::new(Record {
            journal: Journal::clone(&self.journal),
            ended: out.ended,
        }));
        step
    }

    fn on_driven(&mut self, ticket: Ticket, outcome: Outcome, out: &mut Out) {
        match outcome {
            Outcome::Probed(result) => self.on_probed(ticket, result),
            Outcome::Blockers(result) => {
                if let Some(survey) = &mut self.survey {
                    survey.on_blockers(ticket, result);
                }
            }
            Outcome::BaselineTaken(result) => {
                if let Some(survey) = &mut self.survey {
                    survey.on_baseline(ticket, result, self.now);
                }
            }
            Outcome::Prepared(objections) => {
                self.on_stronger_prepared(ticket, &objections);
                self.on_preparation(ticket, objections);
            }
            Outcome::Triggered(result) => self.on_triggered(ticket, result, out),
            Outcome::PowerRestored(result) => self.on_power_restored(ticket, &result),
            Outcome::Observed(result) => self.on_observed(ticket, result, out),
            Outcome::HealthChecked(result) => self.on_health(ticket, result),
        }
    }

    fn on_probed(&mut self, ticket: Ticket, result: Result<Probe, DriverError>) {
        if self.probing != Some(ticket) {
            return;
        }
        self.probing = None;
        match result {
            Ok(probe) => {
                self.next_probe = self.now.mono + self.settings.probe_interval;
                let mut capabilities = self.settings.capabilities(&probe);
                self.forget_announcement(probe.boot_id.as_ref());
                if self.may_notice_boots() {
                    self.notice_boot(probe.boot_id.clone());
                }
                self.probe = Some(probe);
                capabilities.typical_duration_sec = self.expected_duration();
                // It is the same nearly every time, and then the journal need not be copied.
                let capabilities = Some(capabilities);
                if self.journal.capabilities != capabilities {
                    self.journal.capabilities = capabilities;
                }
            }
            Err(error) => {
                let wait = self
                    .settings
                    .probe_interval
                    .min(self.settings.block_interval);
                self.next_probe = self.now.mono + wait;
                if let Some(survey) = &mut self.survey {
                    survey.on_probe_failed(error);
                }
            }
        }
    }

    fn on_hint(&mut self) {
        self.next_probe = self.now.mono;
        if let Some(live) = &mut self.live {
            live.look_now(self.now);
        }
    }

    fn ask(&mut self, step: DriverStep, out: &mut Out) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        out.drive.push((ticket, step));
        ticket
    }

    /// Does what the time is ripe for.
    fn advance(&mut self, out: &mut Out) {
        self.advance_power(out);
        self.advance_survey(out);
        self.advance_attempt(out);
        self.advance_desired(out);
        if self.probing.is_none() && self.may_probe() && self.next_probe <= self.now.mono {
            self.probing = Some(self.ask(DriverStep::Probe, out));
            self.next_probe = self.now.mono + self.settings.probe_interval;
        }
    }

    /// An attempt under way looks at the device itself.
    fn may_probe(&self) -> bool {
        self.may_notice_boots() || self.probe.is_none()
    }

    /// Once the baseline is taken a boot is the attempt's business.
    fn may_notice_boots(&self) -> bool {
        self.open()
            .is_none_or(|(_, state)| matches!(state, State::Scheduled | State::Blocked))
    }
}

fn report_of(journal: &Journal) -> Report {
    let open = journal.open.as_ref().map(|attempt| &attempt.report);
    Report {
        seq: journal.seq,
        last_reboot: journal.last_reboot,
        started_reboot_time: journal.started_reboot_time,
        boot_id: journal.boot_id.clone(),
        attempt: open.or(journal.newest.as_deref()).cloned(),
        counters: journal.counters,
        history: journal.history.clone(),
        capabilities: journal.capabilities.clone(),
    }
}
