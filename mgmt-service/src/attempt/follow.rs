//! What the twin tells of an attempt.

use std::collections::BTreeMap;

use iot_hub::reboot::{
    AttemptReport, Dialect, Evidence, Failure, FailureCode, Grade, HistoryEntry, Mode, State,
};
use jiff::Timestamp;

use super::{
    Trouble,
    dispatch::Phase,
    reading::{Baseline, Reading},
    turn::Turn,
};

impl Turn<'_> {
    /// The twin was read.
    pub(super) fn read(&mut self, reading: &Reading) {
        self.note_entry(reading);
        self.estimate(reading);
        let id = self.attempt.view.id;
        if let Some(report) = reading.attempt(id) {
            self.adopt(report);
        } else if let Some(entry) = reading.history(id) {
            self.adopt_history(entry);
        } else {
            self.read_without_us(reading);
        }
        self.remove_entry(reading);
        if self.is_ended() {
            return;
        }
        let progress = &mut self.attempt.progress;
        if self.now >= self.attempt.view.deadline && !progress.entry.is_pending() {
            // This was the last look of a service that was down at the deadline.
            progress.overtime = None;
        }
        if self.attempt.view.cancel_requested && !progress.may_have_arrived() {
            let message = "cancelled before the device was told";
            self.end(State::Cancelled, self.now, None, message);
            return;
        }
        let may_ask = self
            .attempt
            .progress
            .cancel_next
            .is_none_or(|at| self.now >= at);
        if may_ask {
            self.ask_to_cancel();
        }
    }

    /// The twin could not be read.
    pub(super) fn not_read(&mut self, trouble: Trouble) {
        if matches!(self.attempt.progress.phase, Phase::Reading { .. }) {
            self.not_begun(trouble);
        }
    }

    fn read_without_us(&mut self, reading: &Reading) {
        match self.attempt.progress.phase {
            Phase::Reading { since } if reading.begun < since => self.ask_for_read(),
            Phase::Reading { .. } => self.begin(reading),
            Phase::Settling { since, next_try } => {
                self.learn_dialect(reading);
                if let Some(evidence) = self.claim(reading) {
                    self.claimed(evidence);
                } else if reading.begun >= since && self.now >= next_try && self.may_call_again() {
                    self.call();
                }
            }
            Phase::Queued => self.still_queued(),
            Phase::Following => {
                self.learn_dialect(reading);
                if let Some(evidence) = self.claim(reading) {
                    self.claimed(evidence);
                }
            }
            // It counts once the answer is there; another attempt's makes room for ours at once.
            Phase::Calling { .. } => self.pay(reading),
            Phase::Waiting { .. } | Phase::Retrying { .. } | Phase::Queueing | Phase::Ended => {}
        }
    }

    /// The twin as it is before the device is called.
    fn begin(&mut self, reading: &Reading) {
        self.attempt.view.dialect = reading.dialect;
        let again = self.attempt.progress.may_have_arrived;
        let known = self.attempt.progress.baseline.take().filter(|_| again);
        let present = reading.baseline();
        // What a call that may have arrived has changed is told from what was before it.
        self.attempt.progress.baseline = Some(match known {
            Some(before) => Baseline {
                etag: present.etag,
                ..before
            },
            None => present,
        });
        if self.goes_on_queued() {
            return;
        }
        if let Err(trouble) = reading.check(&self.attempt.asked) {
            self.not_begun(trouble);
            return;
        }
        if again && !self.may_call_again() {
            // The twin does not show any more that the device would recognise it.
            self.follow();
            return;
        }
        match self.attempt.view.not_before {
            Some(until) if self.now < until => {
                self.attempt.progress.caller_waits = false;
                self.attempt.progress.phase = Phase::Waiting { until };
            }
            Some(_) | None => self.call(),
        }
    }

    fn learn_dialect(&mut self, reading: &Reading) {
        if self.attempt.view.dialect.is_none() {
            self.attempt.view.dialect = reading.dialect;
        }
    }

    /// The device recognises the request if it has had it before, and nobody wants it undone.
    fn may_call_again(&self) -> bool {
        let view = &self.attempt.view;
        view.dialect.is_some_and(Dialect::dedupes)
            && !view.cancel_requested
            && self.now < view.deadline
    }

    /// Takes over what the gateway reports of this attempt.
    fn adopt(&mut self, report: &AttemptReport) {
        self.attempt.view.dialect = Some(Dialect::Native);
        self.attempt.progress.known = true;
        self.attempt.progress.caller_waits = false;
        self.attempt.progress.may_have_arrived = true;
        if !matches!(self.attempt.progress.phase, Phase::Calling { .. }) {
            self.attempt.progress.phase = Phase::Following;
        }
        let commands = report
            .steps
            .values()
            .map(|step| (State::Rebooting, step.time));
        let stages = report
            .timeline
            .iter()
            .map(|(state, time)| (*state, *time))
            .chain([(report.state, report.state_time)])
            .chain(commands);
        let stronger = self.stronger_commands(report);
        self.stages(stages, report.state, &stronger);
        self.attempt.view.blockers = match report.state {
            State::Blocked => report.blockers.clone(),
            State::Pending
            | State::Dispatching
            | State::Scheduled
            | State::Accepted
            | State::Preparing
            | State::Rebooting
            | State::Down
            | State::Verifying
            | State::Succeeded
            | State::Failed
            | State::Cancelled
            | State::Rejected
            | State::Expired
            | State::Lost => Default::default(),
        };
        self.attempt.view.evidence.clone_from(&report.evidence);
        self.attempt.view.steps.clone_from(&report.steps);
        if let Some(mut newest) = self.attempt.view.steps.last_entry() {
            let newest = newest.get_mut();
            newest.evidence.clone_from(&report.evidence);
            newest.error.clone_from(&report.error);
        }
        if report.state.is_terminal() {
            self.judge(report.state, report.state_time, report.error.clone());
        }
    }

    /// The commands after the first that were not told yet, by their time.
    fn stronger_commands(&self, report: &AttemptReport) -> BTreeMap<Timestamp, Mode> {
        let known = &self.attempt.view.steps;
        let after_first = report.steps.iter().skip(1);
        let fresh = after_first.filter(|(mode, _)| !known.contains_key(mode));
        fresh.map(|(mode, step)| (step.time, *mode)).collect()
    }

    /// The device has gone on to other attempts; only the outcome of this one is left.
    fn adopt_history(&mut self, entry: &HistoryEntry) {
        if !entry.state.is_terminal() {
            return;
        }
        self.attempt.view.dialect = Some(Dialect::Native);
        self.attempt.view.evidence = entry.grade.map(|grade| Evidence {
            grade,
            method: "history".to_owned(),
            before: String::new(),
            after: String::new(),
        });
        let error = (entry.state != State::Succeeded).then(|| Failure {
            code: FailureCode::Other("SEE_DEVICE".to_owned()),
            message: "the device's report of it was replaced by that of a newer attempt".to_owned(),
            retryable: false,
        });
        self.judge(entry.state, entry.time, error);
    }

    /// Ends the attempt as the gateway says, but for a success without the evidence required.
    pub(super) fn judge(&mut self, state: State, time: Timestamp, error: Option<Failure>) {
        let required = self.attempt.view.required_grade.unwrap_or(Grade::Claimed);
        let grade = self
            .attempt
            .view
            .evidence
            .as_ref()
            .map(|evidence| evidence.grade);
        if state != State::Succeeded {
            self.end(state, time, error, tell(state));
        } else if grade >= Some(required) {
            self.end(State::Succeeded, time, None, tell(state));
        } else {
            let given = grade.map_or("nothing", Grade::name);
            let message = format!(
                "the device reports success and proves {given}, and {required} is required"
            );
            let error = Failure {
                code: FailureCode::ProofTooWeak,
                message: message.clone(),
                retryable: false,
            };
            self.end(State::Failed, time, Some(error), &message);
        }
    }

    /// Tells the gateway's stages that were not told yet, oldest first and `newest` last. A command
    /// that is stronger than the one before is a stage of its own, although the state may be the same.
    pub(super) fn stages(
        &mut self,
        stages: impl IntoIterator<Item = (State, Timestamp)>,
        newest: State,
        stronger: &BTreeMap<Timestamp, Mode>,
    ) {
        let command = |state: State, time: &Timestamp| {
            stronger.get(time).filter(|_| state == State::Rebooting)
        };
        let stages: Vec<_> = stages
            .into_iter()
            .filter(|(state, _)| (State::Scheduled..=State::Verifying).contains(state))
            .collect();
        let told = &mut self.attempt.progress.told;
        let mut fresh: Vec<_> = stages
            .iter()
            .copied()
            .filter(|(state, time)| match told.get(state) {
                None => true,
                Some(_) if command(*state, time).is_some() => true,
                Some(before) => {
                    was_left_between(*before, *time, told.values())
                        || was_left_between(*before, *time, stages.iter().map(|(_, time)| time))
                }
            })
            .collect();
        // A device's clock may go back in the reboot: where it stands now is last all the same.
        fresh.sort_by_key(|(state, time)| (*state == newest, *time, *state));
        fresh.dedup();
        told.extend(fresh.iter().copied());
        for (state, time) in fresh {
            match command(state, &time) {
                Some(mode) => self.enter(state, time, &tell_again(*mode)),
                None => self.enter(state, time, tell(state)),
            }
        }
        let view = &self.attempt.view;
        if view.state != newest && (State::Scheduled..=State::Verifying).contains(&newest) {
            self.enter(newest, self.now, tell(newest));
        }
    }

    /// A lost attempt's device may have been seen again.
    pub(super) fn recover(&mut self, reading: &Reading) {
        if !self.attempt.awaits_return() {
            return;
        }
        let id = self.attempt.view.id;
        let reported = reading
            .attempt(id)
            .map(|report| (report.state, report.state_time))
            .or_else(|| reading.history(id).map(|entry| (entry.state, entry.time)))
            .filter(|(state, _)| {
                matches!(state, State::Verifying | State::Succeeded | State::Failed)
            });
        let boot_id = reading
            .report
            .as_ref()
            .and_then(|report| report.boot_id.as_ref());
        let old_boot_id = self
            .attempt
            .progress
            .baseline
            .as_ref()
            .and_then(|baseline| baseline.boot_id.as_ref());
        let other_boot = old_boot_id.is_some() && boot_id.is_some() && boot_id != old_boot_id;
        let claimed = self.claim(reading).is_some();
        self.attempt.view.recovered_time = match reported {
            Some((_, time)) => Some(time),
            None => (other_boot || claimed).then_some(self.now),
        };
    }
}

/// Says whether a stage told at `before` and now reported at `time` was left in between: then it
/// was entered again, and otherwise only its time is told differently.
fn was_left_between<'a>(
    before: Timestamp,
    time: Timestamp,
    mut others: impl Iterator<Item = &'a Timestamp>,
) -> bool {
    others.any(|other| before < *other && *other < time)
}

/// What a command after the first means, for a person.
fn tell_again(mode: Mode) -> String {
    format!("the command before was not enough; the next one is out: {mode}")
}

/// What a stage means, for a person.
fn tell(state: State) -> &'static str {
    match state {
        State::Pending => "the request is stored",
        State::Dispatching => "the request is being sent",
        State::Scheduled => "the gateway has it for later",
        State::Blocked => "something on the device forbids it for now",
        State::Accepted => "the gateway has journalled it",
        State::Preparing => "the device prepares",
        State::Rebooting => "the reboot command is out",
        State::Down => "the device is gone",
        State::Verifying => "the device is back; its evidence is being checked",
        State::Succeeded => "the device booted again",
        State::Failed => "the reboot failed",
        State::Cancelled => "cancelled before it began",
        State::Rejected => "the device refused",
        State::Expired => "it was never begun",
        State::Lost => "nobody came back in time",
    }
}
