//! The direct methods: each call is answered, whatever its name and payload.

use std::collections::BTreeMap;

use iot_hub::reboot::{
    Acceptance, Blocker, RebootCall, Refusal, RefusalCode, RequestId, State, method,
};
use serde_json::{Map, Value, json};

use super::{Answer, Call, Engine, Out, intake::Intake};
use crate::{driver::DriverError, journal::Ended};

impl Engine {
    pub(super) fn on_call(&mut self, call: Call, out: &mut Out) {
        let answer = match call.method.as_str() {
            method::REBOOT | method::REBOOT_DEVICE => match self.on_reboot(&call, out) {
                Some(answer) => answer,
                None => return,
            },
            method::CANCEL => self.on_cancel(&call.payload, out),
            method::STATUS => self.on_status(&call.payload),
            method::CAPABILITIES => self.on_capabilities(),
            unknown => Err(Refusal::new(
                RefusalCode::UnknownMethod,
                format!("there is no method `{unknown}`"),
            )),
        };
        out.answers.push(match answer {
            Ok(payload) => Answer {
                rid: call.rid,
                status: 200,
                payload,
            },
            Err(refusal) => refused(call.rid, &refusal),
        });
    }

    /// Answers at once what is known, or begins a survey that ends in an answer.
    fn on_reboot(&mut self, call: &Call, out: &mut Out) -> Option<Result<Value, Refusal>> {
        let reboot = match RebootCall::from_payload(&call.payload) {
            Ok(reboot) => reboot,
            Err(error) => {
                return Some(Err(Refusal::new(RefusalCode::Invalid, error.to_string())));
            }
        };
        if let Some(known) = reboot.request_id.and_then(|id| self.known(id)) {
            out.answers.push(accepted(call.rid.clone(), true, &known));
            return None;
        }
        if reboot.request_id.is_some() && self.joins_survey(reboot.request_id, &call.rid) {
            return None;
        }
        let intake = Intake::of_call(reboot, call);
        match self.refuses(&intake) {
            Some(refusal) => Some(Err(refusal)),
            None => {
                self.take_in(intake, out);
                None
            }
        }
    }

    fn on_cancel(&mut self, payload: &Value, out: &mut Out) -> Result<Value, Refusal> {
        let id = request_id(payload)?
            .ok_or_else(|| Refusal::new(RefusalCode::Invalid, "requestId is required"))?;
        if self.cancel(id, out) {
            return Ok(self
                .known(id)
                .map_or(Value::Null, |known| known.to_payload()));
        }
        let known = self.known(id).ok_or_else(|| unknown_attempt(id))?;
        match known.state {
            State::Cancelled | State::Expired | State::Rejected => Ok(known.to_payload()),
            State::Pending
            | State::Dispatching
            | State::Scheduled
            | State::Blocked
            | State::Accepted
            | State::Preparing
            | State::Rebooting
            | State::Down
            | State::Verifying
            | State::Succeeded
            | State::Failed
            | State::Lost => Err(Refusal {
                state: Some(known.state),
                ..Refusal::new(
                    RefusalCode::TooLate,
                    format!("the attempt is {}", known.state),
                )
            }),
        }
    }

    fn on_status(&self, payload: &Value) -> Result<Value, Refusal> {
        let id = request_id(payload)?;
        let newest = self.report().attempt;
        match (id, newest) {
            (None, Some(report)) => Ok(json!(report)),
            (None, None) => Err(Refusal::new(
                RefusalCode::UnknownAttempt,
                "there has been no attempt",
            )),
            (Some(id), Some(report)) if report.request_id == id => Ok(json!(report)),
            (Some(id), _) => self
                .remembered
                .find(id)
                .map(status_of)
                .ok_or_else(|| unknown_attempt(id)),
        }
    }

    fn on_capabilities(&self) -> Result<Value, Refusal> {
        self.journal
            .capabilities
            .as_ref()
            .map(|capabilities| json!(capabilities))
            .ok_or_else(|| {
                Refusal::new(
                    RefusalCode::Unreachable,
                    "the device has not been reached since the gateway knows it",
                )
            })
    }

    /// The present state of an attempt that is open or was not long ago.
    pub(super) fn known(&self, id: RequestId) -> Option<Acceptance> {
        let open = self.journal.open.as_ref();
        if let Some(attempt) = open.filter(|attempt| attempt.report.request_id == id) {
            return Some(self.acceptance(&attempt.report, true));
        }
        let ended = self.remembered.find(id)?;
        Some(Acceptance {
            request_id: id,
            state: ended.state,
            state_time: ended.time,
            expected_duration_sec: None,
            boot_id: None,
            duplicate: true,
        })
    }
}

/// The answer that an attempt exists: 202, or 200 to a caller that knows of no request ids.
pub(super) fn accepted(rid: String, named: bool, acceptance: &Acceptance) -> Answer {
    Answer {
        rid,
        status: if named { 202 } else { 200 },
        payload: acceptance.to_payload(),
    }
}

pub(super) fn refused(rid: String, refusal: &Refusal) -> Answer {
    Answer {
        rid,
        status: refusal.code.method_status(),
        payload: refusal.to_payload(),
    }
}

/// What a caller is told when the device could not be surveyed.
pub(super) fn refusal_of(error: &DriverError) -> Refusal {
    let code = match error {
        DriverError::Unreachable(_) | DriverError::Absent(_) => RefusalCode::Unreachable,
        DriverError::Refused(_) => RefusalCode::Policy,
        DriverError::Unsupported(_) => RefusalCode::Unsupported,
        DriverError::Failed { .. } => RefusalCode::Internal,
    };
    Refusal::new(code, error.to_string())
}

pub(super) fn blocked(blockers: BTreeMap<String, Blocker>) -> Refusal {
    let names: Vec<_> = blockers
        .values()
        .map(|blocker| blocker.who.as_str())
        .collect();
    Refusal {
        blockers: blockers.clone(),
        ..Refusal::new(
            RefusalCode::Blocked,
            format!("blocked by {}", names.join(", ")),
        )
    }
}

fn unknown_attempt(id: RequestId) -> Refusal {
    Refusal::new(
        RefusalCode::UnknownAttempt,
        format!("there is no attempt {id}"),
    )
}

fn status_of(ended: &Ended) -> Value {
    let mut fields = Map::new();
    fields.insert("requestId".into(), json!(ended.id));
    fields.insert("state".into(), json!(ended.state));
    fields.insert("stateTime".into(), json!(ended.time));
    if let Some(grade) = ended.grade {
        fields.insert("grade".into(), json!(grade));
    }
    if let Some(code) = &ended.error {
        fields.insert("error".into(), json!({ "code": code }));
    }
    Value::Object(fields)
}

fn request_id(payload: &Value) -> Result<Option<RequestId>, Refusal> {
    RebootCall::from_payload(payload)
        .map(|call| call.request_id)
        .map_err(|error| Refusal::new(RefusalCode::Invalid, error.to_string()))
}
