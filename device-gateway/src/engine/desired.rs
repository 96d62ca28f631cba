//! Requests that wait in the desired properties for a device that was away.
//!
//! Nobody waits for an answer to them, so what would be a refusal of a call is reported as an end.

use std::time::Duration;

use iot_hub::reboot::{AttemptReport, Origin, RebootCall, Refusal, RefusalCode, RequestId, State};
use serde_json::{Map, Value};

use super::{Engine, Now, Out, intake::Intake, survey::Purpose};

/// A queued request in the desired properties.
#[derive(Debug, Clone)]
pub(super) struct Desired {
    pub(super) id: RequestId,
    call: RebootCall,
    /// When to look at it again, on the monotonic clock.
    pub(super) retry_at: Duration,
}

impl Engine {
    pub(super) fn on_desired(&mut self, request: Option<&Map<String, Value>>, out: &mut Out) {
        self.desired = None;
        let Some(request) = request else { return };
        let call = match RebootCall::from_payload(&Value::Object(request.clone())) {
            Ok(call) => call,
            Err(error) => {
                tracing::warn!(%error, "ignored a queued request that breaks the contract");
                return;
            }
        };
        let Some(id) = call.request_id else {
            tracing::warn!("ignored a queued request without a requestId");
            return;
        };
        if self.known(id).is_none() && !self.joins_queued(id) {
            let retry_at = self.now.mono;
            self.desired = Some(Desired { id, call, retry_at });
            self.advance_desired(out);
        }
    }

    fn joins_queued(&self, id: RequestId) -> bool {
        self.survey.as_ref().is_some_and(
            |survey| matches!(&survey.purpose, Purpose::Intake(intake) if intake.id == id),
        )
    }

    /// Turns a queued request into an attempt as soon as nothing is in its way.
    pub(super) fn advance_desired(&mut self, out: &mut Out) {
        if self.holder().is_some() {
            if let Some(desired) = &mut self.desired {
                desired.retry_at = self.now.mono + self.settings.block_interval;
            }
            return;
        }
        let Some(desired) = self
            .desired
            .take_if(|desired| desired.retry_at <= self.now.mono)
        else {
            return;
        };
        let intake = Intake {
            id: desired.id,
            call: desired.call.clone(),
            origin: Origin::Desired,
            named: true,
            rids: Vec::new(),
        };
        if desired.call.deadline.is_some_and(|at| at <= self.now.wall) {
            return self.end_unbegun(&intake.report(State::Expired, self.now), None, out);
        }
        match self.refuses(&intake) {
            Some(refusal) => self.refuse_desired(&intake, &refusal, out),
            None => self.take_in(intake, out),
        }
    }

    /// Looks at a queued request again later.
    pub(super) fn wait_with(&mut self, id: RequestId, call: RebootCall) {
        let retry_at = self.now.mono + self.settings.block_interval;
        self.desired = Some(Desired { id, call, retry_at });
    }

    /// Rejects a queued request, or waits where waiting helps.
    pub(super) fn refuse_desired(&mut self, intake: &Intake, refusal: &Refusal, out: &mut Out) {
        let passes = matches!(
            refusal.code,
            RefusalCode::Busy
                | RefusalCode::Unreachable
                | RefusalCode::Cooldown
                | RefusalCode::Looping
                | RefusalCode::Internal
        );
        if passes {
            self.wait_with(intake.id, intake.call.clone());
        } else {
            let report = intake.report(State::Rejected, self.now);
            self.end_unbegun(&report, Some(refusal), out);
        }
    }
}

impl Intake {
    fn report(&self, state: State, now: Now) -> AttemptReport {
        AttemptReport {
            request_id: self.id,
            state,
            state_time: now.wall,
            mode: self.call.mode,
            reason: self.call.reason.clone(),
            origin: self.origin,
            timeline: [(state, now.wall)].into(),
            error: None,
            blockers: [].into(),
            evidence: None,
        }
    }
}
