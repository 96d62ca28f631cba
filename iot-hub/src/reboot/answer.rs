//! What the gateway answers to a direct method of the contract.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Blocker, RequestId, State};

/// The answer to a request that was accepted, now or by an earlier delivery of the same request.
///
/// Method status 202; 200 to a caller that sent no request id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acceptance {
    /// The request's id; made by the gateway when the caller sent none.
    pub request_id: RequestId,
    /// Where the attempt stands.
    pub state: State,
    /// When it entered that state.
    pub state_time: Timestamp,
    /// How long the reboot is expected to take from now, in seconds: the best hint for whoever
    /// waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_duration_sec: Option<u32>,
    /// The device's boot identity before the reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The request was known already; nothing new was begun.
    #[serde(default)]
    pub duplicate: bool,
}

impl Acceptance {
    /// Writes the answer's body.
    pub fn to_payload(&self) -> Value {
        json!(self)
    }

    /// Reads an answer's body; `None` when it is not ours, as with a tutorial's device.
    pub fn from_payload(payload: &Value) -> Option<Self> {
        Self::deserialize(payload).ok()
    }
}

/// The answer to a request that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Machine-readable cause; fixes the method status.
    pub code: RefusalCode,
    /// The cause for a person: names the field and the rule where there is one.
    pub message: String,
    /// The attempt that holds the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<RequestId>,
    /// What forbids the reboot for now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blockers: BTreeMap<String, Blocker>,
    /// When to ask again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_sec: Option<u32>,
    /// Where the attempt stands, when it is too late to cancel it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

impl Refusal {
    /// Makes a refusal with nothing but its cause.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            holder: None,
            blockers: BTreeMap::new(),
            retry_after_sec: None,
            state: None,
        }
    }

    /// When to ask again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_sec
            .map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Writes the answer's body.
    pub fn to_payload(&self) -> Value {
        json!({ "error": self })
    }

    /// Reads an answer's body; `None` when it is not ours.
    pub fn from_payload(payload: &Value) -> Option<Self> {
        Self::deserialize(payload.get("error")?).ok()
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RefusalCode {
    /// The payload breaks the contract.
    Invalid,
    /// The gateway's policy forbids it.
    Policy,
    /// There is no such method.
    UnknownMethod,
    /// There is no such attempt.
    UnknownAttempt,
    /// Another attempt is open.
    Busy,
    /// A precondition does not hold.
    Precondition,
    /// Something forbids it for now, and the caller asked not to wait.
    Blocked,
    /// It is too late: the attempt is past its point of no return.
    TooLate,
    /// The device rebooted a moment ago.
    Cooldown,
    /// The device keeps booting.
    Looping,
    /// This device cannot do that.
    Unsupported,
    /// The local device cannot be reached.
    Unreachable,
    /// The gateway failed, for example to write its journal.
    Internal,
}

impl RefusalCode {
    /// The direct method's status.
    pub fn method_status(self) -> i32 {
        match self {
            Self::Invalid => 400,
            Self::Policy => 403,
            Self::UnknownMethod | Self::UnknownAttempt => 404,
            Self::Busy => 409,
            Self::Precondition | Self::TooLate => 412,
            Self::Blocked => 423,
            Self::Cooldown | Self::Looping => 429,
            Self::Internal => 500,
            Self::Unsupported => 501,
            Self::Unreachable => 503,
        }
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::Policy => "POLICY",
            Self::UnknownMethod => "UNKNOWN_METHOD",
            Self::UnknownAttempt => "UNKNOWN_ATTEMPT",
            Self::Busy => "BUSY",
            Self::Precondition => "PRECONDITION",
            Self::Blocked => "BLOCKED",
            Self::TooLate => "TOO_LATE",
            Self::Cooldown => "COOLDOWN",
            Self::Looping => "LOOPING",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unreachable => "UNREACHABLE",
            Self::Internal => "INTERNAL",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn answers_are_told_apart_by_their_bodies() {
        let acceptance = Acceptance {
            request_id: RequestId(Uuid::from_u128(7)),
            state: State::Accepted,
            state_time: Timestamp::UNIX_EPOCH,
            expected_duration_sec: Some(90),
            boot_id: Some("b1".into()),
            duplicate: false,
        };
        let refusal = Refusal {
            holder: Some(RequestId(Uuid::from_u128(8))),
            retry_after_sec: Some(3),
            ..Refusal::new(RefusalCode::Busy, "another attempt is open")
        };
        assert_eq!(
            Acceptance::from_payload(&acceptance.to_payload()),
            Some(acceptance.clone())
        );
        assert_eq!(
            Refusal::from_payload(&refusal.to_payload()),
            Some(refusal.clone())
        );
        assert_eq!(Acceptance::from_payload(&refusal.to_payload()), None);
        assert_eq!(Refusal::from_payload(&acceptance.to_payload()), None);
        assert_eq!(Acceptance::from_payload(&json!("Reboot started")), None);
    }
}
