//! Why a call of the API fails.

use std::time::Duration;

use iot_hub::{
    identity::DeviceId,
    reboot::{RequestId, State},
};

use crate::{
    access::{AuthError, right::Right},
    attempt::{Refused, Trouble},
    quota::Exhausted,
    store::StoreError,
};

/// Why a call of the API fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields break rules; the same request will fail again.
    #[error("{}", join(.0))]
    Invalid(Vec<Violation>),
    /// The id was used for something else.
    #[error("request_id: was used with another request")]
    IdUsed,
    /// There is no such attempt.
    #[error("there is no attempt {1} on device {0}")]
    NoAttempt(DeviceId, RequestId),
    /// Another attempt is open on the device.
    #[error("attempt {holder} is open on device {device}")]
    Busy {
        /// The device.
        device: DeviceId,
        /// The open attempt.
        holder: RequestId,
    },
    /// The device could not be asked.
    #[error("device {device}: {trouble}")]
    Trouble {
        /// The device.
        device: DeviceId,
        /// Why not.
        trouble: Trouble,
    },
    /// The hub could not be asked.
    #[error("{0}")]
    Hub(Trouble),
    /// The device said no.
    #[error("device {device} refused: {message}")]
    Refused {
        /// The device.
        device: DeviceId,
        /// What it said, for a person.
        message: String,
        /// What it said.
        refused: Box<Refused>,
    },
    /// More is asked for than the hub's quota allows.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// The reboot command is already out.
    #[error("the attempt is {0} and can no longer be cancelled")]
    TooLate(State),
    /// The events after the token are gone.
    #[error("resume_token: is older than the kept events; watch again without it")]
    TokenTooOld,
    /// A limit is reached.
    #[error("too many {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// When there may be room again.
        retry_after: Duration,
    },
    /// The watch has lasted as long as one may.
    #[error("the watch is as old as one may become; watch again with the last token")]
    WatchAged,
    /// Nobody knows who calls.
    #[error("{0}")]
    Unauthenticated(AuthError),
    /// The caller may not do this.
    #[error("this needs the right \"{0}\", which the caller does not have")]
    NotPermitted(Right),
    /// Nobody has thought about who may make this call.
    #[error("there is no such call")]
    NoSuchCall,
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
    /// The store failed, and nothing came of it.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The store failed, and a reboot that was asked for may begin yet.
    #[error(
        "the store failed, and whether the request was stored is not known; ask again with its id {id}"
    )]
    Unsettled {
        /// The device.
        device: DeviceId,
        /// The attempt, if there is one.
        id: RequestId,
        /// How it failed.
        source: StoreError,
    },
}

/// A field and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, as the proto names it.
    pub field: &'static str,
    /// The rule, for a person.
    pub rule: String,
}

impl Violation {
    /// Says that `field` breaks `rule`.
    pub fn new(field: &'static str, rule: impl Into<String>) -> Self {
        Self {
            field,
            rule: rule.into(),
        }
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}

fn join(violations: &[Violation]) -> String {
    let texts: Vec<_> = violations
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.rule))
        .collect();
    texts.join("; ")
}
