//! Why a command did not work, for a person and for a script.

use std::{error::Error, fmt, io};

use iothubdm_client::{Code, Refusal};

use crate::{
    exit::Exit,
    name,
    words::{self, harmless},
};

/// Why a command did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What the process ends with.
    pub(crate) exit: Exit,
    /// Machine-readable cause: the service's reason where it gives one, else the call's code.
    pub(crate) code: String,
    /// The cause for a person.
    pub(crate) message: String,
    /// Asking again may help.
    pub(crate) retryable: bool,
    /// What else is known: fields and rules, blockers, the holder, what to do next.
    pub(crate) notes: Vec<String>,
}

impl Problem {
    /// A mistake on the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            code: "USAGE".to_owned(),
            message: message.into(),
            retryable: false,
            notes: Vec::new(),
        }
    }

    /// Something on this machine failed.
    pub(crate) fn local(error: &anyhow::Error) -> Self {
        Self {
            exit: Exit::Failed,
            code: "LOCAL".to_owned(),
            message: format!("{error:#}"),
            retryable: false,
            notes: Vec::new(),
        }
    }

    /// Adds something to know.
    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl From<iothubdm_client::Error> for Problem {
    fn from(error: iothubdm_client::Error) -> Self {
        let told = Self {
            exit: exit(error.code()),
            code: code_name(error.code()).to_owned(),
            message: error.to_string(),
            retryable: error.is_retryable(),
            notes: Vec::new(),
        };
        match &error {
            iothubdm_client::Error::Address { address, rule } => {
                Self::usage(format!("invalid --server `{address}`: {rule}"))
            }
            iothubdm_client::Error::Credentials { .. } => Self::usage(error.to_string()),
            iothubdm_client::Error::Unreachable { .. } => Self {
                message: format!("{error}: {}", root(&error)),
                ..told
            }
            .with_note("is mgmt-service running? --server or DMCTL_SERVER says where it is"),
            iothubdm_client::Error::Refused(refusal) => told.explained(refusal),
            iothubdm_client::Error::Broken(_) => told,
        }
    }
}

impl Problem {
    /// Says what the service said.
    fn explained(self, refusal: &Refusal) -> Self {
        let mut notes = Vec::new();
        for field in &refusal.fields {
            // The message of a single violation says it all.
            if !refusal.message.contains(&field.rule) {
                notes.push(format!("{}: {}", field.name, field.rule));
            }
        }
        for condition in &refusal.conditions {
            notes.push(format!(
                "{} {}: {}",
                condition.kind, condition.subject, condition.description
            ));
        }
        if let Some(holder) = refusal.holder()
            && let Ok(attempt) = holder.parse::<name::AttemptName>()
        {
            notes.push(format!("follow it with: dmctl watch {}", attempt.short()));
        }
        if let Some(delay) = refusal.retry_after {
            let delay = words::span(delay.try_into().unwrap_or_default());
            notes.push(format!("ask again in {delay}"));
        }
        // These two are refusals: nothing was begun, and the service itself is well.
        let exit = match refusal.reason.as_str() {
            "DEVICE_OFFLINE" => {
                notes.push("with --queue it is kept until the device connects".to_owned());
                Exit::Rejected
            }
            "UNREACHABLE" => Exit::Rejected,
            _ => self.exit,
        };
        let code = match refusal.reason.as_str() {
            "" => self.code,
            reason => reason.to_owned(),
        };
        Self {
            exit,
            code,
            message: refusal.message.clone(),
            notes,
            ..self
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        Self::local(&error)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::local(&anyhow::Error::new(error).context("write the answer"))
    }
}

impl fmt::Display for Problem {
    /// The cause on the first line, then one line for each thing to know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, code) = (harmless(&self.message), harmless(&self.code));
        write!(f, "{message} ({code})")?;
        for note in &self.notes {
            write!(f, "\n  {}", harmless(note))?;
        }
        Ok(())
    }
}

impl Error for Problem {}

/// The innermost cause: what the operating system said.
fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

fn exit(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Success,
        Code::InvalidArgument => Exit::Usage,
        Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => Exit::Rejected,
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Exit::Unavailable,
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[track_caller]
    fn check(status: Status, exit: u8, expected: &str) {
        let problem = Problem::from(iothubdm_client::Error::from(status));
        assert_eq!(problem.to_string(), expected);
        assert_eq!(problem.exit.code(), exit);
    }

    #[test]
    fn a_wrong_field_is_named_with_its_rule() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("INVALID_FIELD", "iothubdm", HashMap::new())
            .add_bad_request_violation("deadline", "must be at least 1 s after the start");
        check(
            Status::with_error_details(Code::InvalidArgument, "invalid deadline", details),
            64,
            "invalid deadline (INVALID_FIELD)\n  deadline: must be at least 1 s after the start",
        );
    }

    #[test]
    fn the_attempt_that_holds_the_device_can_be_followed() {
        let holder = "devices/pump-1/reboots/0b6c4a52-7d3e-4c11-9a55-1f2e3d4c5b6a";
        let mut details = ErrorDetails::new();
        details
            .set_error_info("BUSY", "iothubdm", HashMap::new())
            .set_resource_info("RebootAttempt", holder, "", "is open")
            .set_retry_info(Some(Duration::from_secs(30)));
        check(
            Status::with_error_details(Code::Aborted, "another attempt is open", details),
            4,
            "another attempt is open (BUSY)\n  \
             follow it with: dmctl watch pump-1/0b6c4a52-7d3e-4c11-9a55-1f2e3d4c5b6a\n  \
             ask again in 30.0 s",
        );
    }

    #[test]
    fn each_blocker_is_named() {
        let mut details = ErrorDetails::new();
        details
            .add_precondition_failure_violation("BLOCKED", "apt", "a package is being installed")
            .add_precondition_failure_violation("BLOCKED", "ops", "maintenance until noon");
        check(
            Status::with_error_details(Code::FailedPrecondition, "blocked", details),
            4,
            "blocked (FAILED_PRECONDITION)\n  BLOCKED apt: a package is being installed\n  \
             BLOCKED ops: maintenance until noon",
        );
    }

    #[test]
    fn a_device_that_is_away_is_a_refusal_and_the_hub_is_not() {
        let with_reason = |reason| {
            let mut details = ErrorDetails::new();
            details.set_error_info(reason, "iothubdm", HashMap::new());
            Status::with_error_details(Code::Unavailable, "away", details)
        };
        check(
            with_reason("DEVICE_OFFLINE"),
            4,
            "away (DEVICE_OFFLINE)\n  with --queue it is kept until the device connects",
        );
        check(with_reason("HUB_UNAVAILABLE"), 69, "away (HUB_UNAVAILABLE)");
    }

    #[test]
    fn a_status_without_details_is_still_told() {
        check(
            Status::unavailable("the hub is away"),
            69,
            "the hub is away (UNAVAILABLE)",
        );
        check(
            Status::not_found(""),
            4,
            "some requested entity was not found (NOT_FOUND)",
        );
    }
}
