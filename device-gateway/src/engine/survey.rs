//! The look at a device that has to end before an attempt begins: its baseline, and what forbids a
//! reboot for now.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::reboot::{Blocker, Mode};

use super::{DriverStep, Engine, Now, Out, Ticket, intake::Intake};
use crate::driver::{Baseline, DriverError};

/// A survey under way.
#[derive(Debug, Clone)]
pub(super) struct Survey {
    pub(super) purpose: Purpose,
    /// When it began, on the monotonic clock.
    pub(super) since: Duration,
    blockers: Slot<BTreeMap<String, Blocker>>,
    baseline: Slot<(Baseline, Now)>,
    probe_failed: Option<DriverError>,
}

/// What a survey is for.
#[derive(Debug, Clone)]
pub(super) enum Purpose {
    /// A request that somebody waits for an answer to.
    Intake(Box<Intake>),
    /// The beginning of the open attempt.
    Start,
}

/// What a survey found.
#[derive(Debug, Clone)]
pub(super) struct Findings {
    pub(super) blockers: BTreeMap<String, Blocker>,
    pub(super) baseline: Baseline,
    pub(super) taken: Now,
}

#[derive(Debug, Clone)]
enum Slot<T> {
    Asked(Ticket),
    Here(Result<T, DriverError>),
}

impl<T> Slot<T> {
    fn fill(&mut self, ticket: Ticket, result: Result<T, DriverError>) {
        if matches!(self, Self::Asked(asked) if *asked == ticket) {
            *self = Self::Here(result);
        }
    }
}

impl Survey {
    pub(super) fn on_blockers(
        &mut self,
        ticket: Ticket,
        result: Result<BTreeMap<String, Blocker>, DriverError>,
    ) {
        self.blockers.fill(ticket, result);
    }

    pub(super) fn on_baseline(
        &mut self,
        ticket: Ticket,
        result: Result<Baseline, DriverError>,
        now: Now,
    ) {
        self.baseline
            .fill(ticket, result.map(|baseline| (baseline, now)));
    }

    pub(super) fn on_probe_failed(&mut self, error: DriverError) {
        self.probe_failed = Some(error);
    }

    /// What it found, once everything is there; it ends at the first thing that cannot be had.
    fn findings(&self, probed: bool) -> Option<Result<Findings, DriverError>> {
        let (baseline, taken) = match &self.baseline {
            Slot::Here(Ok((baseline, taken))) => (baseline.clone(), *taken),
            Slot::Here(Err(error)) => return Some(Err(error.clone())),
            Slot::Asked(_) => return None,
        };
        let blockers = match &self.blockers {
            Slot::Here(Ok(blockers)) => blockers.clone(),
            Slot::Here(Err(error)) => return Some(Err(error.clone())),
            Slot::Asked(_) => return None,
        };
        match &self.probe_failed {
            None if !probed => None,
            Some(error) if !probed => Some(Err(error.clone())),
            Some(_) | None => Some(Ok(Findings {
                blockers,
                baseline,
                taken,
            })),
        }
    }
}

impl Engine {
    pub(super) fn begin_survey(&mut self, purpose: Purpose, mode: Mode, out: &mut Out) {
        if self.probe.is_none() && self.probing.is_none() {
            self.next_probe = self.now.mono;
        }
        self.survey = Some(Box::new(Survey {
            purpose,
            since: self.now.mono,
            blockers: Slot::Asked(self.ask(DriverStep::CheckBlockers(mode), out)),
            baseline: Slot::Asked(self.ask(DriverStep::TakeBaseline, out)),
            probe_failed: None,
        }));
    }

    pub(super) fn advance_survey(&mut self, out: &mut Out) {
        let Some(survey) = &self.survey else { return };
        let late = survey.since + self.settings.survey_limit <= self.now.mono;
        let findings = match survey.findings(self.probe.is_some()) {
            Some(findings) => findings,
            None if late => Err(DriverError::Unreachable(format!(
                "no complete answer within {} s",
                self.settings.survey_limit.as_secs()
            ))),
            None => return,
        };
        let Some(survey) = self.survey.take() else {
            return;
        };
        if let Ok(findings) = &findings {
            self.notice_boot(findings.baseline.boot_id.clone());
        }
        match survey.purpose {
            Purpose::Intake(intake) => self.conclude_intake(*intake, findings, out),
            Purpose::Start => self.conclude_start(findings, out),
        }
    }
}
