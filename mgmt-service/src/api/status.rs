//! Errors out: a code, and details that a program can read.

use std::{collections::HashMap, time::Duration};

use iot_hub::{identity::DeviceId, reboot::RefusalCode};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::convert;
use crate::{
    access::AuthError,
    attempt::{Refused, Trouble},
    error::Error,
};

/// The `domain` of every ErrorInfo.
const DOMAIN: &str = "iothubdm";

/// What ResourceInfo calls an attempt and a device.
const ATTEMPT_TYPE: &str = "iothubdm.v1.RebootAttempt";
const DEVICE_TYPE: &str = "iothubdm.v1.Device";

/// When to ask again where nobody says.
const RETRY_LATER: Duration = Duration::from_secs(5);

/// How soon another replica or a restarted service may be there.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// A code, the machine-readable cause, and further details.
struct Answer {
    code: Code,
    reason: String,
    details: ErrorDetails,
    metadata: HashMap<String, String>,
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let answer = match error {
            Error::Invalid(violations) => {
                let mut answer = Answer::new(Code::InvalidArgument, "INVALID_FIELD");
                for violation in violations {
                    let details = &mut answer.details;
                    details.add_bad_request_violation(violation.field, violation.rule);
                }
                answer
            }
            Error::IdUsed => {
                let mut answer = Answer::new(Code::InvalidArgument, "REQUEST_ID_USED");
                let rule = "was used with another request";
                answer.details.add_bad_request_violation("request_id", rule);
                answer
            }
            Error::NoAttempt(device, id) => {
                let name = convert::reboot_name(&device, id);
                Answer::new(Code::NotFound, "ATTEMPT_NOT_FOUND").about(ATTEMPT_TYPE, name, "")
            }
            Error::Busy { device, holder } => {
                let name = convert::reboot_name(&device, holder);
                Answer::new(Code::Aborted, "DEVICE_BUSY").about(ATTEMPT_TYPE, name, "is open")
            }
            Error::Trouble { device, trouble } => of_trouble(&trouble, Some(&device)),
            Error::Hub(trouble) => of_trouble(&trouble, None),
            Error::Refused {
                device, refused, ..
            } => of_refusal(&refused, &device),
            Error::Exhausted(exhausted) => {
                let answer = Answer::new(Code::ResourceExhausted, "QUOTA_EXHAUSTED");
                answer.retry(exhausted.retry_after.max(RETRY_SOON))
            }
            Error::TooLate(state) => {
                let name = convert::state(state).as_str_name();
                Answer::new(Code::FailedPrecondition, "TOO_LATE")
                    .with("state", name)
                    .violating("STATE", name, &message)
            }
            Error::TokenTooOld => Answer::new(Code::OutOfRange, "TOKEN_TOO_OLD"),
            Error::TooMany { retry_after, .. } => {
                Answer::new(Code::ResourceExhausted, "LIMIT_REACHED").retry(retry_after)
            }
            Error::WatchAged => Answer::new(Code::Unavailable, "WATCH_AGED").retry(Duration::ZERO),
            Error::Unauthenticated(AuthError::NoKeys) => {
                Answer::new(Code::Unavailable, "KEYS_UNAVAILABLE").retry(RETRY_LATER)
            }
            Error::Unauthenticated(_) => Answer::new(Code::Unauthenticated, "UNAUTHENTICATED"),
            Error::NotPermitted(right) => {
                Answer::new(Code::PermissionDenied, "NOT_PERMITTED").with("right", right.name())
            }
            Error::NoSuchCall => Answer::new(Code::Unimplemented, "NO_SUCH_CALL"),
            Error::Stopping => Answer::new(Code::Unavailable, "STOPPING").retry(RETRY_SOON),
            Error::Store(error) => {
                // Callers need not know the store; whoever runs the service does.
                tracing::error!(error = ?error, "the store failed a call");
                Answer::new(Code::Internal, "STORE_FAILED")
            }
            Error::Unsettled { device, id, source } => {
                tracing::error!(%id, error = ?source, "the store failed under a request");
                let name = convert::reboot_name(&device, id);
                Answer::new(Code::Unknown, "OUTCOME_UNKNOWN")
                    .about(ATTEMPT_TYPE, name, "may be stored")
                    .retry(RETRY_SOON)
            }
        };
        answer.into_status(message)
    }
}

fn of_trouble(trouble: &Trouble, device: Option<&DeviceId>) -> Answer {
    let name = || device.map(convert::device_name).unwrap_or_default();
    let message = trouble.to_string();
    match trouble {
        Trouble::NoDevice => {
            Answer::new(Code::NotFound, "DEVICE_NOT_FOUND").about(DEVICE_TYPE, name(), &message)
        }
        Trouble::Offline => {
            Answer::new(Code::Unavailable, "DEVICE_OFFLINE").about(DEVICE_TYPE, name(), &message)
        }
        Trouble::Throttled { retry_after } => Answer::new(Code::ResourceExhausted, "HUB_THROTTLED")
            .retry(retry_after.unwrap_or(RETRY_LATER)),
        Trouble::HubUnreachable(_) => {
            Answer::new(Code::Unavailable, "HUB_UNAVAILABLE").retry(RETRY_LATER)
        }
        Trouble::HubDenied(_) => Answer::new(Code::Unavailable, "HUB_DENIED"),
        Trouble::HubRefused(_) => Answer::new(Code::Internal, "HUB_REFUSED"),
        Trouble::CannotProve { best, .. } => {
            Answer::new(Code::FailedPrecondition, "EVIDENCE_OUT_OF_REACH")
                .with("best_evidence", convert::grade(*best).as_str_name())
                .violating("EVIDENCE", &name(), &message)
        }
        Trouble::NoSuchMode(mode) => Answer::new(Code::Unimplemented, "MODE_NOT_OFFERED")
            .with("mode", convert::mode(*mode).as_str_name()),
        Trouble::CannotCheck => Answer::new(
            Code::FailedPrecondition,
            "PRECONDITIONS_NOT_CHECKABLE",
        )
        .violating("PRECONDITIONS", &name(), &message),
    }
}

/// A device's refusal. That of a device which is not ours is told by its status alone.
fn of_refusal(refused: &Refused, device: &DeviceId) -> Answer {
    let Some(refusal) = &refused.refusal else {
        let code = match refused.status {
            400 => Code::InvalidArgument,
            403 => Code::PermissionDenied,
            404 | 501 => Code::Unimplemented,
            409 => Code::Aborted,
            429 => Code::ResourceExhausted,
            503 => Code::Unavailable,
            _ => Code::FailedPrecondition,
        };
        let status = refused.status.to_string();
        return Answer::new(code, "DEVICE_REFUSED").with("status", &status);
    };
    let code = match refusal.code {
        RefusalCode::Invalid => Code::InvalidArgument,
        RefusalCode::Policy => Code::PermissionDenied,
        RefusalCode::UnknownMethod | RefusalCode::Unsupported => Code::Unimplemented,
        RefusalCode::UnknownAttempt => Code::NotFound,
        RefusalCode::Busy => Code::Aborted,
        RefusalCode::Precondition | RefusalCode::Blocked | RefusalCode::TooLate => {
            Code::FailedPrecondition
        }
        RefusalCode::Cooldown | RefusalCode::Looping => Code::ResourceExhausted,
        RefusalCode::Unreachable => Code::Unavailable,
        RefusalCode::Internal => Code::Internal,
    };
    let mut answer = Answer::new(code, refusal.code.name());
    if let Some(holder) = refusal.holder {
        let name = convert::reboot_name(device, holder);
        answer = answer.about(ATTEMPT_TYPE, name, "is open");
    }
    if let Some(retry_after) = refusal.retry_after() {
        answer = answer.retry(retry_after);
    } else if code == Code::ResourceExhausted {
        answer = answer.retry(RETRY_LATER);
    }
    for (id, blocker) in &refusal.blockers {
        let text = format!("{}: {}", blocker.who, blocker.why);
        answer = answer.violating("BLOCKED", id, &text);
    }
    if refusal.blockers.is_empty() && code == Code::FailedPrecondition {
        let name = convert::device_name(device);
        answer = answer.violating(refusal.code.name(), &name, &refusal.message);
    }
    answer
}

impl Answer {
    fn new(code: Code, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            details: ErrorDetails::new(),
            metadata: HashMap::new(),
        }
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.to_owned(), value.to_owned());
        self
    }

    fn about(mut self, kind: &str, name: String, description: &str) -> Self {
        self.details.set_resource_info(kind, name, "", description);
        self
    }

    fn violating(mut self, kind: &str, subject: &str, description: &str) -> Self {
        self.details
            .add_precondition_failure_violation(kind, subject, description);
        self
    }

    fn retry(mut self, after: Duration) -> Self {
        self.details.set_retry_info(Some(after));
        self
    }

    fn into_status(mut self, message: String) -> Status {
        self.details
            .set_error_info(self.reason, DOMAIN, self.metadata);
        Status::with_error_details(self.code, message, self.details)
    }
}

#[cfg(test)]
mod tests {
    use iot_hub::reboot::{Grade, Mode, RequestId, State};
    use uuid::Uuid;

    use super::*;
    use crate::{access::right::Right, error::Violation, quota::Exhausted, store::StoreError};

    const API: &str = include_str!("../../../proto/iothubdm/v1/device_management.proto");

    fn errors() -> Vec<Error> {
        let device = || -> DeviceId { "pump-1".parse().unwrap() };
        let id = RequestId(Uuid::from_u128(1));
        let retry_after = Duration::from_secs(1);
        let troubles = [
            Trouble::NoDevice,
            Trouble::Offline,
            Trouble::Throttled { retry_after: None },
            Trouble::HubUnreachable(String::new()),
            Trouble::HubDenied(String::new()),
            Trouble::HubRefused(String::new()),
            Trouble::CannotProve {
                required: Grade::Healthy,
                best: Grade::Caused,
            },
            Trouble::NoSuchMode(Mode::Forced),
            Trouble::CannotCheck,
        ];
        let troubles = troubles.map(|trouble| Error::Trouble {
            device: device(),
            trouble,
        });
        let refused = Refused {
            status: 418,
            refusal: None,
        };
        let others = [
            Error::Invalid(vec![Violation::new("name", "is wrong")]),
            Error::IdUsed,
            Error::NoAttempt(device(), id),
            Error::Busy {
                device: device(),
                holder: id,
            },
            Error::Hub(Trouble::Throttled { retry_after: None }),
            Error::Refused {
                device: device(),
                message: String::new(),
                refused: Box::new(refused),
            },
            Error::Exhausted(Exhausted { retry_after }),
            Error::TooLate(State::Down),
            Error::TokenTooOld,
            Error::TooMany {
                what: "calls",
                retry_after,
            },
            Error::WatchAged,
            Error::Unauthenticated(AuthError::NoKeys),
            Error::Unauthenticated(AuthError::Nothing),
            Error::NotPermitted(Right::Force),
            Error::NoSuchCall,
            Error::Stopping,
            Error::Store(StoreError::Closed),
            Error::Unsettled {
                device: device(),
                id,
                source: StoreError::Closed,
            },
        ];
        troubles.into_iter().chain(others).collect()
    }

    #[test]
    fn every_error_has_a_reason_and_the_api_says_what_it_means() {
        for error in errors() {
            let status = Status::from(error);
            let details = status.get_error_details();
            let info = details.error_info().expect("every error has a reason");
            assert_eq!(info.domain, DOMAIN);
            assert!(
                API.contains(&info.reason),
                "{} is not explained",
                info.reason
            );
            let is_exhausted = status.code() == Code::ResourceExhausted;
            assert!(
                !is_exhausted || details.retry_info().is_some(),
                "{status:?}"
            );
        }
    }
}
