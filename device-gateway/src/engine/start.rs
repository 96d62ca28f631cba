//! An attempt from its acceptance to the command.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::reboot::{Blocker, FailureCode, Grade, Mode, State, Step};

use super::{
    DriverStep, Engine, Out, Ticket,
    clock::Stopwatch,
    finish::failure,
    ladder::Shown,
    live::{Age, Unreported},
    prepare::order_of,
    silence::Silence,
    survey::{Findings, Purpose},
};
use crate::{
    driver::{DriverError, Triggered},
    evidence::Sign,
};

/// How often it is told anew what the same blockers say.
const WORDS_EVERY: Duration = Duration::from_secs(60);

impl Engine {
    /// Journals the baseline; the command waits for the acknowledgements.
    pub(super) fn accept(&mut self, findings: Findings, rids: Vec<String>) {
        let now = self.now;
        let on_host = self
            .probe
            .as_ref()
            .is_some_and(|probe| probe.restarts_gateway);
        if let Some(attempt) = &mut self.journal.open {
            attempt.baseline = Some(findings.baseline);
            attempt.baseline_time = Some(findings.taken.wall);
            attempt.on_host = on_host;
            attempt.report.blockers.clear();
        }
        if let Some(live) = &mut self.live {
            live.baseline = Age::Known(findings.taken.mono);
            live.unanswered = rids;
            live.unreported = Unreported::Coming;
        }
        self.enter(State::Accepted, now);
    }

    pub(super) fn conclude_start(
        &mut self,
        findings: Result<Findings, DriverError>,
        out: &mut Out,
    ) {
        let Some(attempt) = &self.journal.open else {
            return;
        };
        let retry_at = self.now.mono + self.settings.block_interval;
        match findings {
            // It may come back before it is too late to begin.
            Err(
                DriverError::Unreachable(_) | DriverError::Absent(_) | DriverError::Failed { .. },
            ) => {}
            Err(error @ (DriverError::Refused(_) | DriverError::Unsupported(_))) => {
                let error = failure(FailureCode::PrepareFailed, error.to_string(), false);
                return self.finish(State::Failed, Some(error), out);
            }
            Ok(findings) => match self.objects(&attempt.call, &findings) {
                None => return self.accept(findings, Vec::new()),
                Some(refusal) if !refusal.blockers.is_empty() => {
                    if attempt.report.state != State::Blocked {
                        self.enter(State::Blocked, self.now);
                    }
                    self.set_blockers(refusal.blockers);
                }
                Some(refusal) => {
                    let code = FailureCode::from(refusal.code.name().to_owned());
                    let error = failure(code, refusal.message, false);
                    return self.finish(State::Failed, Some(error), out);
                }
            },
        }
        if let Some(live) = &mut self.live {
            live.next_look = retry_at;
        }
    }

    /// Names who forbids the attempt for now. What the same ones say is told anew only now and then: it
    /// may be another word at each look, and each word would cost an update of the twin.
    pub(super) fn set_blockers(&mut self, blockers: BTreeMap<String, Blocker>) {
        let now = self.now.mono;
        let (Some(attempt), Some(live)) = (&mut self.journal.open, &mut self.live) else {
            return;
        };
        live.next_look = now + self.settings.block_interval;
        let known = &mut attempt.report.blockers;
        let same = known.keys().eq(blockers.keys());
        if !same || live.words_told.is_none_or(|told| told + WORDS_EVERY <= now) {
            *known = blockers;
            live.words_told = Some(now);
        }
    }

    pub(super) fn advance_waiting(&mut self, out: &mut Out) {
        if self.expires(out) {
            return;
        }
        let (Some(attempt), Some(live)) = (&self.journal.open, &self.live) else {
            return;
        };
        let begins = match live.begins_at {
            Some(at) => at <= self.now.mono,
            None => attempt.start_at <= self.now.wall,
        };
        let due = begins && live.next_look <= self.now.mono;
        if due && self.survey.is_none() {
            let mode = attempt.call.mode;
            self.begin_survey(Purpose::Start, mode, out);
        }
    }

    pub(super) fn advance_accepted(&mut self, out: &mut Out) {
        if self.expires(out) {
            return;
        }
        let Some(live) = &self.live else { return };
        let passed = |limit| live.phase.has_passed(limit, self.now);
        let graced = passed(self.settings.answer_grace);
        let ready = if self.comes_from_queue() {
            // Nobody waits for it, so it waits until the hub has the report, however long that takes.
            live.is_acknowledged() && self.still_queued(out)
        } else {
            // One of an earlier process may have ended since its journal was copied: the hub has to say.
            let limit = !live.inherited && passed(self.settings.ack_limit);
            live.is_acknowledged() || limit
        };
        if graced && ready {
            self.enter(State::Preparing, self.now);
            self.advance_preparing(out);
        }
    }

    pub(super) fn advance_preparing(&mut self, out: &mut Out) {
        if self.expires(out) {
            return;
        }
        let Some(live) = &self.live else { return };
        if live.inherited && !live.is_acknowledged() {
            return;
        }
        // Only a rehearsal waits for its command here.
        let rehearsing = live.triggering.is_some();
        if live.phase.has_passed(self.settings.prepare_limit, self.now) {
            let seen = match &live.sign {
                Some(Sign::Absent) | None => "the device cannot be reached",
                Some(Sign::Silent | Sign::SameBoot | Sign::Rebooted(_)) => {
                    "preparing took too long"
                }
            };
            let error = failure(FailureCode::PrepareTimeout, seen, true);
            return self.finish(State::Failed, Some(error), out);
        }
        if !rehearsing && self.is_prepared(out) {
            self.look_when_due(out);
        }
    }

    /// The last look before the command.
    pub(super) fn on_prepared(&mut self, sign: Sign, boot_id: Option<String>, out: &mut Out) {
        match sign {
            Sign::Absent => {}
            Sign::Rebooted(
                proved @ (Grade::UptimeReset | Grade::BootChanged | Grade::Caused | Grade::Healthy),
            ) => {
                self.count_unexpected(boot_id, proved);
                let error = failure(
                    FailureCode::UnexpectedBoot,
                    "the device booted by itself before the command",
                    true,
                );
                self.finish(State::Failed, Some(error), out);
            }
            // It goes down by itself: the command would come too late, and claim what others did.
            Sign::Silent | Sign::SameBoot | Sign::Rebooted(Grade::Claimed | Grade::Returned)
                if self.journal.going_down.is_some() => {}
            Sign::Silent | Sign::SameBoot | Sign::Rebooted(Grade::Claimed | Grade::Returned) => {
                self.begin_command(out);
            }
        }
    }

    /// The point of no return.
    fn begin_command(&mut self, out: &mut Out) {
        // The look may have ended before anybody told the time.
        if self.expires(out) {
            return;
        }
        let Some(attempt) = &self.journal.open else {
            return;
        };
        let mode = attempt.call.mode;
        let deadline = attempt.call.deadline;
        if let (Some(live), Some(at)) = (&mut self.live, deadline) {
            // From here on no setting of the wall clock moves it.
            live.overdue_at = live.start_by.min(self.now.at(at, false));
        }
        if !attempt.call.dry_run {
            self.journal.started_reboot_time = Some(self.now.wall);
            self.journal.counters.total += 1;
        }
        self.command(mode, out);
    }

    /// Gives a command. The journal of this step says so before it leaves.
    pub(super) fn command(&mut self, mode: Mode, out: &mut Out) {
        let now = self.now;
        let Some(attempt) = &mut self.journal.open else {
            return;
        };
        let order = order_of(attempt, mode);
        if !order.dry_run {
            let step = Step {
                time: now.wall,
                error: None,
                evidence: None,
            };
            attempt.report.steps.insert(mode, step);
            self.enter(State::Rebooting, now);
            self.owe_power(mode);
        }
        let ticket = self.ask(DriverStep::Trigger(order), out);
        if let Some(live) = &mut self.live {
            live.triggering = Some(ticket);
            live.command = Some(Stopwatch::begin(now));
            live.sign = None;
            live.silence = Silence::default();
            live.doubt = None;
            live.next_look = now.mono + self.settings.observe_interval;
        }
    }

    pub(super) fn on_triggered(
        &mut self,
        ticket: Ticket,
        result: Result<Triggered, DriverError>,
        out: &mut Out,
    ) {
        let now = self.now;
        let Some(live) = self
            .live
            .as_mut()
            .filter(|live| live.triggering == Some(ticket))
        else {
            return;
        };
        live.triggering = None;
        live.next_look = now.mono;
        self.on_commanded(&result);
        let Some(attempt) = &mut self.journal.open else {
            return;
        };
        // Once the device went down the evidence knows better than the line it was told over.
        let undecided = matches!(attempt.report.state, State::Preparing | State::Rebooting);
        let refused = |error: String| failure(FailureCode::TriggerFailed, error, true);
        match result {
            Ok(_) if attempt.call.dry_run => self.end_rehearsal(out),
            Ok(Triggered::Acknowledged) => attempt.claimed = true,
            Ok(Triggered::Seen(what)) => {
                attempt.claimed = true;
                if let Some(evidence) = &mut attempt.report.evidence {
                    evidence.after = format!("{}; {what}", evidence.after);
                }
                attempt.command_seen = Some(what);
            }
            Ok(Triggered::Unacknowledged) => {}
            Ok(Triggered::Rehearsed) if undecided => {
                let error = refused("the driver only rehearsed it".into());
                self.step_failed(Shown::Refusal, error, out);
            }
            Err(DriverError::Failed { doing, message }) if !attempt.call.dry_run => {
                // It is not certain that the command did not arrive.
                attempt.trigger_problem = Some(format!("{doing}: {message}"));
            }
            Err(error) if undecided => {
                self.step_failed(Shown::Refusal, refused(error.to_string()), out);
            }
            Ok(Triggered::Rehearsed) | Err(_) => {}
        }
    }

    /// Ends an attempt that has certainly not begun when it must have.
    pub(super) fn expires(&mut self, out: &mut Out) -> bool {
        let (Some(attempt), Some(live)) = (&self.journal.open, &self.live) else {
            return false;
        };
        // Whichever clock says so: nothing has happened, so ending it is safe.
        let by_wall = attempt.names_a_moment() && attempt.start_by <= self.now.wall;
        let expired = by_wall || live.start_by <= self.now.mono;
        if expired {
            let error = failure(
                FailureCode::DeadlineExceeded,
                "the deadline passed before the reboot could begin",
                true,
            );
            self.finish(State::Expired, Some(error), out);
        }
        expired
    }
}
