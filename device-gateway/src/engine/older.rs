//! A journal that is older than what the hub was told: it was restored from a backup, or its disk was
//! rolled back, or it was begun anew.
//!
//! What is reported is journalled before, so a twin tells of no attempt that the journal behind it does
//! not know. One that does shows that the journal has forgotten: what it tells of has ended as far as
//! this gateway is concerned, and is never begun again.

use iot_hub::reboot::{
    AttemptReport, Counters, FailureCode, Grade, HISTORY_LENGTH, HistoryEntry, Report, RequestId,
    State,
};
use jiff::Timestamp;

use super::{Engine, Out, finish::failure, survey::Purpose};
use crate::journal::{Journal, Remembered};

/// The code of an attempt whose end the journal has forgotten, and the twin does not tell.
const FORGOTTEN: &str = "JOURNAL_RESTORED";

/// How an attempt ended that the journal does not know, or has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missed {
    pub(super) id: RequestId,
    pub(super) state: State,
    time: Timestamp,
    grade: Option<Grade>,
    /// The whole of it, as far as that is known.
    report: Option<AttemptReport>,
}

/// What a twin knows of ends and a journal does not, oldest first. What has not ended there has been
/// lost with the journal: nobody knows whether its command left.
pub(super) fn missed(
    journal: &Journal,
    remembered: &Remembered,
    told: &Report,
    now: Timestamp,
) -> Vec<Missed> {
    let open = journal.open.as_ref().map(|attempt| &attempt.report);
    let is_unknown = |id: RequestId| remembered.find(id).is_none();
    let newest = told.attempt.as_ref().filter(|newest| {
        let open = open.filter(|open| open.request_id == newest.request_id);
        let is_behind = |open: &AttemptReport| {
            newest.state.is_terminal()
                || told.seq > journal.seq
                || (newest.state.is_past_no_return() && !open.state.is_past_no_return())
        };
        is_unknown(newest.request_id) && open.is_none_or(is_behind)
    });
    let before = told.history.iter().rev().filter_map(|entry| {
        let id = entry.id.filter(|id| is_unknown(*id))?;
        let is_newest = newest.is_some_and(|newest| newest.request_id == id);
        (!is_newest && entry.state.is_terminal()).then_some(Missed {
            id,
            state: entry.state,
            time: entry.time,
            grade: entry.grade,
            report: None,
        })
    });
    let mut missed: Vec<_> = before.collect();
    missed.extend(newest.map(|newest| Missed::of(newest, now)));
    // There is one attempt at a time: what is open here ended before others began.
    if let Some(open) = open
        && !missed.is_empty()
        && missed.iter().all(|one| one.id != open.request_id)
    {
        missed.insert(0, Missed::of(open, now));
    }
    missed
}

impl Missed {
    fn of(report: &AttemptReport, now: Timestamp) -> Self {
        let mut report = report.clone();
        if !report.state.is_terminal() {
            report.state = State::Lost;
            report.state_time = now;
            report.timeline.insert(State::Lost, now);
            report.blockers.clear();
            report.error = Some(failure(
                FailureCode::from(FORGOTTEN.to_owned()),
                "the gateway's journal is older than the twin, so nobody knows what became of it",
                true,
            ));
        }
        Self {
            id: report.request_id,
            state: report.state,
            time: report.state_time,
            grade: report.evidence.as_ref().map(|evidence| evidence.grade),
            report: Some(report),
        }
    }
}

impl Engine {
    /// The hub said what the twin holds.
    pub(super) fn on_reported(&mut self, told: &Report, out: &mut Out) {
        let missed = missed(&self.journal, &self.remembered, told, self.now.wall);
        if missed.is_empty() && told.seq <= self.journal.seq {
            return;
        }
        tracing::warn!(
            seq = self.journal.seq,
            twin = told.seq,
            attempts = missed.len(),
            "the journal is older than the twin; what only the twin knows is not begun again"
        );
        for one in &missed {
            self.take_over(one, out);
        }
        self.catch_up(told);
        self.remember_times(&missed);
    }

    fn take_over(&mut self, missed: &Missed, out: &mut Out) {
        if self.open().is_some_and(|(open, _)| open == missed.id) {
            self.journal.open = None;
            self.live = None;
            self.survey
                .take_if(|survey| matches!(survey.purpose, Purpose::Start));
        }
        let report = missed.report.as_ref();
        let error = report.and_then(|report| report.error.as_ref());
        let code = error.map(|error| error.code.clone());
        self.remember(
            missed.id,
            missed.state,
            missed.time,
            missed.grade,
            code,
            out,
        );
        self.journal.late_return = missed.state == State::Lost;
        if let Some(report) = report {
            self.journal.newest = Some(Box::new(report.clone()));
        }
    }

    /// Totals and numbers go on where the twin has them. A boot that it knows of was noticed, unless the
    /// device has been looked at by now.
    fn catch_up(&mut self, told: &Report) {
        if told.seq <= self.journal.seq {
            return;
        }
        let is_unseen = self.probe.is_none();
        let journal = &mut *self.journal;
        journal.seq = told.seq;
        journal.last_reboot = journal.last_reboot.max(told.last_reboot);
        journal.started_reboot_time = journal.started_reboot_time.max(told.started_reboot_time);
        if is_unseen && told.boot_id.is_some() {
            journal.boot_id.clone_from(&told.boot_id);
        }
        let Counters {
            total,
            failed,
            unexpected,
        } = told.counters;
        let counters = &mut journal.counters;
        counters.total = counters.total.max(total);
        counters.failed = counters.failed.max(failed);
        counters.unexpected = counters.unexpected.max(unexpected);
    }

    fn remember_times(&mut self, missed: &[Missed]) {
        if missed.is_empty() {
            return;
        }
        let history = &mut self.journal.history;
        history.extend(missed.iter().map(|one| HistoryEntry {
            id: Some(one.id),
            origin: None,
            state: one.state,
            time: one.time,
            grade: one.grade,
        }));
        // Newest first; of what happened at one moment, what was known before comes last.
        history.sort_by_key(|entry| std::cmp::Reverse(entry.time));
        history.truncate(HISTORY_LENGTH);
    }
}
