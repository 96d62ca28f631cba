//! Why a call or a watch failed, read from the details that the service sends.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What the service calls itself in the details of its errors.
const DOMAIN: &str = "iothubdm";

/// What the service calls it when it does not know itself what came of a request.
const UNDECIDED: &str = "OUTCOME_UNKNOWN";

/// Why a call or a watch failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The address cannot be meant; nothing was tried.
    #[error("invalid address `{address}`: {rule}")]
    Address {
        /// The address as it was given.
        address: String,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// What says who calls, or whom to trust, cannot be used; nothing was tried.
    #[error("use {what}: {message}")]
    Credentials {
        /// What it is.
        what: &'static str,
        /// Why not.
        message: String,
    },
    /// No connection was made.
    #[error("cannot reach the management service at {address}")]
    Unreachable {
        /// The address.
        address: String,
        /// What the transport said.
        #[source]
        source: Arc<tonic::transport::Error>,
    },
    /// The service answered that it does not do this. A reboot that was asked for has not begun.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The connection broke, or somebody between here and the service answered in its place.
    /// Or the service itself cannot tell. Whether a reboot that was asked for has begun is not known;
    /// ask again with the same id.
    #[error("{}", described(.0))]
    Broken(Box<Status>),
}

/// What the service said instead of doing what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub code: Code,
    /// The machine-readable cause, for example `DEVICE_OFFLINE`.
    pub reason: String,
    /// The cause for a person.
    pub message: String,
    /// More about the cause, for example the mode that a device does not offer.
    pub metadata: HashMap<String, String>,
    /// The fields of the request that break rules.
    pub fields: Vec<Field>,
    /// What does not hold, or forbids the reboot for now.
    pub conditions: Vec<Condition>,
    /// The resource that it is about.
    pub resource: Option<String>,
    /// When to ask again.
    pub retry_after: Option<Duration>,
}

/// A field of a request and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The field.
    pub name: String,
    /// The rule.
    pub rule: String,
}

/// Something that does not hold, or that forbids a reboot for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its kind, for example `BLOCKED`.
    pub kind: String,
    /// What it is about: a device, a blocker's id, a state.
    pub subject: String,
    /// The same for a person.
    pub description: String,
}

impl Error {
    pub(crate) fn unreachable(address: &str, source: tonic::transport::Error) -> Self {
        Self::Unreachable {
            address: address.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn credentials(what: &'static str, error: &dyn fmt::Display) -> Self {
        Self::Credentials {
            what,
            message: error.to_string(),
        }
    }

    /// The status that the call ended with.
    pub fn code(&self) -> Code {
        match self {
            Self::Address { .. } => Code::InvalidArgument,
            Self::Credentials { .. } => Code::Unauthenticated,
            Self::Unreachable { .. } => Code::Unavailable,
            Self::Refused(refusal) => refusal.code,
            Self::Broken(status) => status.code(),
        }
    }

    /// When the service said to ask again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Address { .. }
            | Self::Credentials { .. }
            | Self::Unreachable { .. }
            | Self::Broken(_) => None,
        }
    }

    /// Says whether asking again may help.
    pub fn is_retryable(&self) -> bool {
        match self.code() {
            Code::Aborted
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unavailable => true,
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => false,
        }
    }

    /// Says whether the service ended a watch although nothing broke: it had lasted as long as one
    /// may, or the credentials that it was begun with are no longer good, and there may be others.
    pub(crate) fn is_of_age(&self) -> bool {
        match self {
            Self::Refused(refusal) => {
                refusal.reason == "WATCH_AGED" || refusal.code == Code::Unauthenticated
            }
            Self::Address { .. }
            | Self::Credentials { .. }
            | Self::Unreachable { .. }
            | Self::Broken(_) => false,
        }
    }

    /// Says whether the call is to be repeated without asking anybody: it did not come through.
    pub(crate) fn may_be_repeated(&self) -> bool {
        match self {
            Self::Address { .. } | Self::Credentials { .. } | Self::Unreachable { .. } => false,
            Self::Refused(refusal) => refusal.reason == "STOPPING",
            // A call that took too long would take too long again.
            Self::Broken(status) => {
                !matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled)
            }
        }
    }
}

impl From<Status> for Error {
    /// The service explains every error of its own. Codes that a transport or a proxy makes up are
    /// its word only when explained.
    fn from(status: Status) -> Self {
        let is_explained = status
            .get_details_error_info()
            .is_some_and(|info| info.domain == DOMAIN && info.reason != UNDECIDED);
        let may_be_made_up = match status.code() {
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unavailable => true,
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => false,
        };
        match may_be_made_up && !is_explained {
            true => Self::Broken(Box::new(status)),
            false => Self::Refused(Box::new(Refusal::from(&status))),
        }
    }
}

impl Refusal {
    /// The attempt that holds the device, where that is the cause.
    pub fn holder(&self) -> Option<&str> {
        self.resource
            .as_deref()
            .filter(|_| self.code == Code::Aborted)
    }
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: described(status),
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
            fields: details
                .bad_request()
                .iter()
                .flat_map(|request| &request.field_violations)
                .map(|violation| Field {
                    name: violation.field.clone(),
                    rule: violation.description.clone(),
                })
                .collect(),
            conditions: details
                .precondition_failure()
                .iter()
                .flat_map(|failure| &failure.violations)
                .map(|violation| Condition {
                    kind: violation.r#type.clone(),
                    subject: violation.subject.clone(),
                    description: violation.description.clone(),
                })
                .collect(),
            resource: details
                .resource_info()
                .map(|resource| resource.resource_name.clone()),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.reason.as_str() {
            "" => Ok(()),
            reason => write!(f, " ({reason})"),
        }
    }
}

/// What a status says; every code says something.
fn described(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_lowercase(),
        message => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn refusal(status: Status) -> Refusal {
        let Error::Refused(refusal) = Error::from(status) else {
            panic!("not a refusal")
        };
        *refusal
    }

    #[test]
    fn every_detail_is_read() {
        let holder = "devices/pump-1/reboots/0b6c4a52-7d3e-4c11-9a55-1f2e3d4c5b6a";
        let metadata = HashMap::from([("state".to_owned(), "REBOOTING".to_owned())]);
        let mut details = ErrorDetails::new();
        details
            .set_error_info("DEVICE_BUSY", DOMAIN, metadata.clone())
            .add_bad_request_violation("deadline", "must be later")
            .add_precondition_failure_violation("BLOCKED", "apt", "a package is being installed")
            .set_resource_info("iothubdm.v1.RebootAttempt", holder, "", "is open")
            .set_retry_info(Some(Duration::from_secs(30)));
        let refusal = refusal(Status::with_error_details(
            Code::Aborted,
            "another attempt is open",
            details,
        ));
        assert_eq!(
            refusal,
            Refusal {
                code: Code::Aborted,
                reason: "DEVICE_BUSY".to_owned(),
                message: "another attempt is open".to_owned(),
                metadata,
                fields: vec![Field {
                    name: "deadline".to_owned(),
                    rule: "must be later".to_owned(),
                }],
                conditions: vec![Condition {
                    kind: "BLOCKED".to_owned(),
                    subject: "apt".to_owned(),
                    description: "a package is being installed".to_owned(),
                }],
                resource: Some(holder.to_owned()),
                retry_after: Some(Duration::from_secs(30)),
            }
        );
        assert_eq!(refusal.holder(), Some(holder));
        assert_eq!(refusal.to_string(), "another attempt is open (DEVICE_BUSY)");
    }

    #[test]
    fn what_is_not_found_holds_nothing() {
        let mut details = ErrorDetails::new();
        details.set_resource_info("iothubdm.v1.Device", "devices/pump-1", "", "");
        let status = Status::with_error_details(Code::NotFound, "", details);
        let refusal = refusal(status);
        assert_eq!(refusal.holder(), None);
        assert_eq!(refusal.to_string(), "some requested entity was not found");
    }

    #[test]
    fn only_the_services_own_word_is_a_refusal() {
        let of = |domain: &str| {
            let details = ErrorDetails::with_error_info("HUB_DENIED", domain, HashMap::new());
            Error::from(Status::with_error_details(
                Code::Unavailable,
                "away",
                details,
            ))
        };
        assert!(matches!(of(DOMAIN), Error::Refused(_)));
        // A proxy in between has reasons of its own.
        assert!(matches!(of("mesh.example"), Error::Broken(_)));
        let bare = Error::from(Status::unavailable("connection reset"));
        assert!(matches!(bare, Error::Broken(_)) && bare.is_retryable());
        let unauthenticated = Error::from(Status::unauthenticated("who are you"));
        assert!(matches!(unauthenticated, Error::Refused(_)) && !unauthenticated.is_retryable());
    }
}
