//! Requests that wait in the desired properties for a device that was away.
//!
//! Nobody waits for an answer to them, so what would be a refusal of a call is reported as an end.
//! One that is removed before its command is out is withdrawn.

use std::time::Duration;

use iot_hub::reboot::{AttemptReport, Origin, RebootCall, Refusal, RefusalCode, RequestId, State};
use serde_json::{Map, Value};

use super::{Engine, Now, Out, intake::Intake, live::Check, survey::Purpose};

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
        let queued = request.and_then(read);
        self.withdraw_others(queued.as_ref().map(|(id, _)| *id), out);
        let Some((id, call)) = queued else { return };
        if self.known(id).is_none() && !self.joins_queued(id) {
            let retry_at = self.now.mono;
            self.desired = Some(Box::new(Desired { id, call, retry_at }));
            self.advance_desired(out);
        }
    }

    /// The hub's answer whether a queued request is still wanted.
    pub(super) fn on_checked(
        &mut self,
        number: u64,
        request: Option<&Map<String, Value>>,
        out: &mut Out,
    ) {
        let Some(live) = &mut self.live else { return };
        if !matches!(live.check, Check::Asked { number: asked, .. } if asked == number) {
            return;
        }
        live.check = Check::Passed;
        self.withdraw_others(request.and_then(read).map(|(id, _)| id), out);
    }

    /// The open attempt was queued, and nobody has asked for it otherwise.
    pub(super) fn comes_from_queue(&self) -> bool {
        let open = self.journal.open.as_ref();
        open.is_some_and(|attempt| attempt.report.origin == Origin::Desired)
    }

    /// Says whether the hub still has the queued request, now that it has the report that we took it.
    ///
    /// Whoever withdraws a request removes it and then looks for our report. Both of us write first
    /// and read afterwards, so at least one sees what the other did: a request that was removed, and
    /// is reported nowhere after that, is never begun.
    pub(super) fn still_queued(&mut self, out: &mut Out) -> bool {
        let again = self.now.mono + self.settings.block_interval;
        let Some(live) = &mut self.live else {
            return false;
        };
        match live.check {
            Check::Passed => return true,
            Check::Due(at) | Check::Asked { again: at, .. } if at > self.now.mono => {}
            Check::Due(_) | Check::Asked { .. } => {
                self.tickets += 1;
                let number = self.tickets;
                live.check = Check::Asked { number, again };
                out.check = Some(number);
            }
        }
        false
    }

    /// Gives up what was queued and has not begun, but for this request.
    fn withdraw_others(&mut self, wanted: Option<RequestId>, out: &mut Out) {
        self.survey.take_if(|survey| {
            matches!(&survey.purpose, Purpose::Intake(intake)
                if intake.origin == Origin::Desired && Some(intake.id) != wanted)
        });
        let open = self.open().map(|(id, _)| id);
        if self.comes_from_queue()
            && open != wanted
            && let Some(id) = open
        {
            self.cancel(id, out);
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
        self.desired = Some(Box::new(Desired { id, call, retry_at }));
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

/// Reads a queued request. Without an id it could not be told from its repetitions, and without a
/// deadline one that is left or restored years later would still be carried out.
fn read(request: &Map<String, Value>) -> Option<(RequestId, RebootCall)> {
    let call = match RebootCall::from_payload(&Value::Object(request.clone())) {
        Ok(call) => call,
        Err(error) => {
            tracing::warn!(%error, "ignored a queued request that breaks the contract");
            return None;
        }
    };
    match (call.request_id, call.deadline) {
        (Some(id), Some(_)) => Some((id, call)),
        (None, _) | (_, None) => {
            tracing::warn!("ignored a queued request without a requestId or a deadline");
            None
        }
    }
}

impl Intake {
    pub(super) fn report(&self, state: State, now: Now) -> AttemptReport {
        AttemptReport {
            mode: self.call.mode,
            reason: self.call.reason.clone(),
            origin: self.origin,
            ..AttemptReport::begun(self.id, state, now.wall)
        }
    }
}
