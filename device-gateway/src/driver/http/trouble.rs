//! An answer that is not the one hoped for, and what it means at each step.

use super::client::Silence;
use crate::driver::{DriverError, Health, Triggered};

/// An answer that is not the one hoped for.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// There is none.
    Silence(Silence),
    /// The status and what there is to say about it.
    Status(u16, String),
    /// The device says no, in an answer that looks like yes.
    Error(String),
}

impl Trouble {
    /// What an answer means that was to show the device. Only that there is none may show its absence:
    /// a proxy, or a device that is busy, answers too.
    pub(crate) fn while_looking(self) -> DriverError {
        match self {
            Self::Silence(silence @ Silence::Endless) => no_evidence(silence.to_string()),
            Self::Silence(silence @ (Silence::NotSent(_) | Silence::Cut(_))) => {
                DriverError::Unreachable(silence.to_string())
            }
            Self::Silence(Silence::TurnedAway(why) | Silence::HungUp(why)) => {
                DriverError::Absent(why)
            }
            Self::Status(status, words) => no_evidence(told(status, &words)),
            Self::Error(words) => no_evidence(words),
        }
    }

    /// What an answer to the command means.
    pub(crate) fn after_command(self) -> Result<Triggered, DriverError> {
        Err(match self {
            Self::Silence(Silence::Cut(_) | Silence::HungUp(_) | Silence::Endless) => {
                return Ok(Triggered::Unacknowledged);
            }
            Self::Silence(Silence::NotSent(why) | Silence::TurnedAway(why)) => {
                DriverError::Unreachable(why)
            }
            Self::Error(words) => DriverError::Refused(words),
            Self::Status(status @ 500.., words) => DriverError::Failed {
                doing: "give the command",
                message: told(status, &words),
            },
            Self::Status(status, words) => DriverError::Refused(told(status, &words)),
        })
    }

    /// What an answer to a health check means.
    pub(crate) fn while_checking(self) -> Result<Health, DriverError> {
        Ok(Health::Unhealthy(match self {
            Self::Silence(silence @ Silence::Endless) => silence.to_string(),
            Self::Silence(
                silence @ (Silence::NotSent(_)
                | Silence::TurnedAway(_)
                | Silence::Cut(_)
                | Silence::HungUp(_)),
            ) => return Err(DriverError::Unreachable(silence.to_string())),
            Self::Status(status, words) => told(status, &words),
            Self::Error(words) => words,
        }))
    }
}

/// Nothing could be seen of a device that may well be there.
pub(crate) fn no_evidence(message: String) -> DriverError {
    DriverError::Failed {
        doing: "look at the device",
        message,
    }
}

fn told(status: u16, words: &str) -> String {
    format!("HTTP status {status}: {words}")
        .trim_end_matches([' ', ':'])
        .to_owned()
}
