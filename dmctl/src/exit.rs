//! What the process says with its exit code.

use std::process::ExitCode;

use iothubdm_proto::v1::{AttemptState, RebootAttempt};

/// How a command ended. The numbers are an interface: scripts decide by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The reboot is verified; or what was asked for, if that was not a verdict, was done.
    Success,
    /// The attempt failed or was cancelled.
    Failed,
    /// The attempt was lost: the device may have rebooted, and nobody came back in time.
    Lost,
    /// The device came back with less proof than was required.
    ProofTooWeak,
    /// Nothing was begun: the service or the device refused.
    Rejected,
    /// The attempt certainly never started before its deadline.
    Expired,
    /// The command line, or a value in it, is wrong.
    Usage,
    /// The management service, or the hub behind it, cannot be reached.
    Unavailable,
    /// Ended by Ctrl-C; an attempt goes on without us.
    Interrupted,
}

impl Exit {
    /// The table for `--help`.
    pub(crate) const TABLE: &str = "\
Exit codes, with a verdict to wait for:
  0  verified: the device rebooted, with the evidence shown
  1  failed, or cancelled
  2  lost: the device may have rebooted, and nobody came back in time
  3  the proof is weaker than required
  4  rejected: nothing was begun
  5  expired: it certainly never started
and in any case:
  0    done, where there is no verdict to wait for
  64   the command line is wrong
  69   the service cannot be reached
  130  ended by Ctrl-C; an attempt goes on without this command";

    /// The verdict of an attempt; `None` while it is open.
    pub(crate) fn of(attempt: &RebootAttempt) -> Option<Self> {
        match attempt.state() {
            AttemptState::Unspecified
            | AttemptState::Pending
            | AttemptState::Dispatching
            | AttemptState::Scheduled
            | AttemptState::Blocked
            | AttemptState::Accepted
            | AttemptState::Preparing
            | AttemptState::Rebooting
            | AttemptState::Down
            | AttemptState::Verifying => None,
            AttemptState::Succeeded => Some(Self::Success),
            AttemptState::Failed => match &attempt.error {
                Some(error) if error.code == "PROOF_TOO_WEAK" => Some(Self::ProofTooWeak),
                Some(_) | None => Some(Self::Failed),
            },
            AttemptState::Cancelled => Some(Self::Failed),
            AttemptState::Rejected => Some(Self::Rejected),
            AttemptState::Expired => Some(Self::Expired),
            AttemptState::Lost => Some(Self::Lost),
        }
    }

    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Lost => 2,
            Self::ProofTooWeak => 3,
            Self::Rejected => 4,
            Self::Expired => 5,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use iothubdm_proto::v1::AttemptError;

    use super::*;

    #[track_caller]
    fn check(state: AttemptState, error: &str, expected: Option<u8>) {
        let attempt = RebootAttempt {
            state: state.into(),
            error: (!error.is_empty()).then(|| AttemptError {
                code: error.into(),
                ..AttemptError::default()
            }),
            ..RebootAttempt::default()
        };
        assert_eq!(Exit::of(&attempt).map(Exit::code), expected, "{state:?}");
    }

    #[test]
    fn every_verdict_has_its_code() {
        check(AttemptState::Verifying, "", None);
        check(AttemptState::Succeeded, "", Some(0));
        check(AttemptState::Failed, "NO_SHUTDOWN", Some(1));
        check(AttemptState::Failed, "PROOF_TOO_WEAK", Some(3));
        check(AttemptState::Cancelled, "", Some(1));
        check(AttemptState::Lost, "NO_RETURN", Some(2));
        check(AttemptState::Rejected, "", Some(4));
        check(AttemptState::Expired, "", Some(5));
    }
}
