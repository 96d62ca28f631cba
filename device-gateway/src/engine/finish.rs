//! How attempts end, and what is kept of boots.

use std::{sync::Arc, time::Duration};

use iot_hub::reboot::{
    AttemptReport, Failure, FailureCode, Grade, HISTORY_LENGTH, HistoryEntry, Refusal, RequestId,
    State,
};
use jiff::Timestamp;

use super::{Engine, Out, survey::Purpose};
use crate::journal::Ended;

/// The code of a rehearsal that went well. A rehearsal never ends as SUCCEEDED, for that says that
/// a device rebooted: it ends as CANCELLED, with this in the place of an error.
const REHEARSAL_PASSED: &str = "REHEARSAL_PASSED";

/// How many boots are kept for the loop breaker.
const BOOTS_KEPT: usize = 32;

pub(super) fn failure(code: FailureCode, message: impl Into<String>, retryable: bool) -> Failure {
    Failure {
        code,
        message: message.into(),
        retryable,
    }
}

impl Engine {
    /// Ends the open attempt.
    pub(super) fn finish(&mut self, state: State, error: Option<Failure>, out: &mut Out) {
        let Some(mut attempt) = self.journal.open.take() else {
            return;
        };
        if attempt.report.evidence.is_none() && attempt.report.state.is_past_no_return() {
            attempt.report.evidence = self.claim(&attempt);
        }
        self.survey
            .take_if(|survey| matches!(survey.purpose, Purpose::Start));
        self.live = None;
        if state == State::Succeeded {
            let newest = attempt.report.steps.values().next_back();
            let began = newest.map_or(self.journal.started_reboot_time, |step| Some(step.time));
            self.journal.last_reboot = attempt.boot_seen;
            let took = attempt
                .boot_seen
                .zip(began)
                .and_then(|(end, began)| Duration::try_from(end.duration_since(began)).ok());
            if let Some(took) = took {
                self.journal.learn_duration(took);
                // With the verdict, so that it costs no update of the twin of its own.
                let expected = self.expected_duration();
                if let Some(capabilities) = &mut self.journal.capabilities {
                    capabilities.typical_duration_sec = expected;
                }
            }
        }
        self.journal.late_return = state == State::Lost;
        let mut report = attempt.report;
        report.state = state;
        report.state_time = self.now.wall;
        report.timeline.insert(state, self.now.wall);
        report.error = error;
        report.blockers.clear();
        self.keep(report, out);
        self.next_probe = self.now.mono
            + self
                .settings
                .block_interval
                .min(self.settings.probe_interval);
    }

    /// Records the end of a request that never became an attempt.
    pub(super) fn end_unbegun(
        &mut self,
        report: &AttemptReport,
        refusal: Option<&Refusal>,
        out: &mut Out,
    ) {
        let error = match refusal {
            Some(refusal) => failure(
                FailureCode::from(refusal.code.name().to_owned()),
                refusal.message.clone(),
                false,
            ),
            None => failure(
                FailureCode::DeadlineExceeded,
                "the deadline passed before the request arrived",
                true,
            ),
        };
        let report = AttemptReport {
            error: Some(error),
            ..report.clone()
        };
        self.keep(report, out);
    }

    pub(super) fn end_rehearsal(&mut self, out: &mut Out) {
        let error = failure(
            FailureCode::Other(REHEARSAL_PASSED.to_owned()),
            "a dry run: all but the command was done",
            true,
        );
        self.finish(State::Cancelled, Some(error), out);
    }

    fn keep(&mut self, report: AttemptReport, out: &mut Out) {
        let grade = report.evidence.as_ref().map(|evidence| evidence.grade);
        if matches!(report.state, State::Failed | State::Lost) {
            self.journal.counters.failed += 1;
        }
        let error = report.error.as_ref().map(|error| error.code.clone());
        let (id, state, time) = (report.request_id, report.state, report.state_time);
        self.remember(id, state, time, grade, error, out);
        self.add_history(HistoryEntry {
            id: Some(report.request_id),
            origin: None,
            state: report.state,
            time: self.now.wall,
            grade,
        });
        self.journal.newest = Some(Box::new(report));
    }

    /// Lets nobody begin this request again.
    pub(super) fn remember(
        &mut self,
        id: RequestId,
        state: State,
        time: Timestamp,
        grade: Option<Grade>,
        error: Option<FailureCode>,
        out: &mut Out,
    ) {
        self.journal.ended += 1;
        let ended = Ended {
            number: self.journal.ended,
            id,
            state,
            time,
            grade,
            error,
        };
        Arc::make_mut(&mut self.remembered).push(ended.clone());
        out.ended.push(ended);
    }

    pub(super) fn add_history(&mut self, entry: HistoryEntry) {
        self.journal.history.insert(0, entry);
        self.journal.history.truncate(HISTORY_LENGTH);
    }

    /// Takes in which boot an idle device is in.
    pub(super) fn notice_boot(&mut self, boot_id: Option<String>) {
        if boot_id.is_none() || boot_id == self.journal.boot_id {
            return;
        }
        if self.journal.boot_id.is_none() {
            self.journal.boot_id = boot_id;
        } else if self.journal.late_return {
            // The boot that the lost attempt waited for.
            self.journal.late_return = false;
            self.journal.going_down = None;
            self.note_boot(boot_id);
        } else {
            self.count_unexpected(boot_id, Grade::BootChanged);
        }
    }

    pub(super) fn note_boot(&mut self, boot_id: Option<String>) {
        if boot_id.is_some() {
            self.journal.boot_id = boot_id;
        }
        self.journal.boots.push_back(self.now.wall);
        while self.journal.boots.len() > BOOTS_KEPT {
            self.journal.boots.pop_front();
        }
    }

    /// Boots that the wall clock says are to come were noted before it was set back. They count as of
    /// now: else they would keep the device from being rebooted until that time has come.
    pub(super) fn mend_boots(&mut self) {
        let now = self.now.wall;
        if self.journal.boots.iter().any(|at| *at > now) {
            let boots = self.journal.boots.iter_mut();
            boots.for_each(|at| *at = now.min(*at));
        }
    }

    /// How long a device that keeps booting is left alone.
    pub(super) fn loop_ends_in(&self) -> Option<Duration> {
        let window = self.settings.loop_window;
        let mut recent = self.journal.boots.iter().rev();
        let oldest = recent.nth(self.settings.loop_boots)?;
        let age = self.now.since(*oldest);
        (age < window).then(|| window - age)
    }

    /// How long a device that booted a moment ago is left alone.
    pub(super) fn cools_down_in(&self) -> Option<Duration> {
        let age = self.now.since(*self.journal.boots.back()?);
        (age < self.settings.cooldown).then(|| self.settings.cooldown - age)
    }
}
