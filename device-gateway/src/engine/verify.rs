//! An attempt whose device is back: is it proved well enough, and does the device stay well?

use std::time::Duration;

use iot_hub::reboot::{Failure, FailureCode, Grade, State};

use super::{DriverStep, Engine, Out, Ticket, finish::failure, live::Live};
use crate::{
    driver::{DriverError, Health},
    evidence::Sign,
    journal::Attempt,
};

impl Engine {
    pub(super) fn advance_verifying(&mut self, out: &mut Out) {
        if self.never_went_down(out) || self.doubts_for_too_long(out) {
            return;
        }
        let (Some(attempt), Some(live)) = (&self.journal.open, &self.live) else {
            return;
        };
        let now = self.now;
        let proved = self.proved(attempt, live);
        let settled = live.steady.map(|since| since + self.settings.settle);
        let holds =
            |seen: Option<Duration>| settled.is_some_and(|at| seen.is_some_and(|s| s >= at));
        if proved >= Some(self.required(attempt)) && holds(live.seen_well) && holds(live.healthy) {
            if let Some(attempt) = &mut self.journal.open
                && let (Some(evidence), Some(proved)) = (&mut attempt.report.evidence, proved)
            {
                evidence.grade = proved;
            }
            return self.finish(State::Succeeded, None, out);
        }
        let overdue = live.overdue_at <= now.mono;
        if overdue || live.phase.has_passed(self.settings.verify_limit, now) {
            let error = self.unverified(attempt, live, overdue);
            return self.finish(State::Failed, Some(error), out);
        }
        self.look_when_due(out);
        self.check_health_when_due(out);
    }

    /// What is proved by now; the highest grade needs a health check that was passed.
    pub(super) fn proved(&self, attempt: &Attempt, live: &Live) -> Option<Grade> {
        let evidence = attempt.report.evidence.as_ref()?;
        match (evidence.grade, &live.health) {
            (Grade::Caused, Some(Health::Healthy)) => Some(Grade::Healthy),
            (proved, _) => Some(proved),
        }
    }

    pub(super) fn required(&self, attempt: &Attempt) -> Grade {
        let driver = self.journal.capabilities.as_ref();
        attempt
            .call
            .required_grade
            .or(self.settings.required_grade)
            .or(driver.map(|capabilities| capabilities.required_grade))
            .unwrap_or(Grade::BootChanged)
    }

    pub(super) fn unverified(&self, attempt: &Attempt, live: &Live, overdue: bool) -> Failure {
        let required = self.required(attempt);
        match (&live.health, live.sign) {
            (_, Some(Sign::Absent)) => {
                failure(FailureCode::Unhealthy, "the device went away again", true)
            }
            (_, None) => failure(FailureCode::Unhealthy, "the device cannot be seen", true),
            (Some(Health::Unhealthy(why)), _) => {
                failure(FailureCode::Unhealthy, why.clone(), false)
            }
            (_, _) if self.proved(attempt, live) < Some(required) => failure(
                FailureCode::ProofTooWeak,
                format!("the evidence is weaker than {required}"),
                false,
            ),
            (_, _) if overdue => failure(
                FailureCode::DeadlineExceeded,
                "the deadline passed while the device was verified",
                true,
            ),
            (_, _) => failure(
                FailureCode::Unhealthy,
                "the device did not stay up for the settle time",
                true,
            ),
        }
    }

    pub(super) fn check_health_when_due(&mut self, out: &mut Out) {
        let Some(live) = &self.live else { return };
        if live.is_back() && live.next_health <= self.now.mono && live.checking.is_none() {
            let ticket = self.ask(DriverStep::CheckHealth, out);
            if let Some(live) = &mut self.live {
                live.checking = Some(ticket);
            }
        }
    }

    pub(super) fn on_health(&mut self, ticket: Ticket, result: Result<Health, DriverError>) {
        let now = self.now;
        let Some(live) = self
            .live
            .as_mut()
            .filter(|live| live.checking == Some(ticket))
        else {
            return;
        };
        live.checking = None;
        live.next_health = now.mono + self.settings.observe_interval;
        let health = result.unwrap_or_else(|error| Health::Unhealthy(error.to_string()));
        match &health {
            Health::Healthy | Health::Unknown => {
                // The device may have gone away while the check was under way.
                if live.is_back() {
                    live.steady.get_or_insert(now.mono);
                }
                live.healthy = Some(now.mono);
            }
            Health::Unhealthy(_) => live.steady = None,
        }
        live.health = Some(health);
    }
}
