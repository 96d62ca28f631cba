//! The Device Provisioning Service: a device that knows only itself asks which hub is its own.
//!
//! ```text
//!  device                                       service
//!    │ CONNECT   RegistrationUser, token()         │
//!    │ SUBSCRIBE ANSWERS                           │
//!    │──── RegistrationTopic::Register ───────────►│  RegistrationRequest
//!    │◄─── AnswerTopic 202, retry-after ───────────│  Operation: assigning
//!    │──── RegistrationTopic::Status ─────────────►│  (until it is something else)
//!    │◄─── AnswerTopic 200 ────────────────────────│  Operation: assigned, failed or disabled
//! ```
//!
//! A device shows a certificate, or signs with a key: the one of its own enrolment, or one that
//! [`SharedKey::derive`] makes of its group's.

mod document;
mod id;
mod topic;
mod user;

use jiff::Timestamp;

pub use self::{
    document::{
        Assignment, Operation, OperationError, Progress, Registration, RegistrationFailure,
        RegistrationRequest, RequestError, Substatus,
    },
    id::{IdScope, RegistrationId, RegistrationIdError},
    topic::{ANSWERS, AnswerTopic, RegistrationTopic, RegistrationTopicError},
    user::{RegistrationUser, RegistrationUserError},
};
use crate::sas::{SasToken, SharedKey};

/// Where devices of every customer find the service.
pub const GLOBAL_HOST: &str = "global.azure-devices-provisioning.net";

/// The name that every device's token has where a service's has its policy.
pub const POLICY: &str = "registration";

/// What a device's token must cover, not encoded.
pub fn resource(scope: &IdScope, registration: &RegistrationId) -> String {
    format!("{scope}/registrations/{registration}")
}

/// Makes the token of a device that registers by a key.
pub fn token(
    scope: &IdScope,
    registration: &RegistrationId,
    key: &SharedKey,
    expiry: Timestamp,
) -> SasToken {
    SasToken::sign(&resource(scope, registration), key, Some(POLICY), expiry)
}

#[cfg(test)]
mod tests;
