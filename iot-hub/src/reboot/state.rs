//! The names that an attempt's state, its mode and its evidence go by on the wire.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where an attempt stands.
///
/// ```text
/// PENDING → DISPATCHING → SCHEDULED ┐
///    │           │      → BLOCKED   ├→ ACCEPTED → PREPARING → REBOOTING → DOWN → VERIFYING
///    │           │                  ┘       │          │          │         │        │
///    ▼           ▼                          ▼          ▼          ▼         ▼        ▼
/// EXPIRED   REJECTED, EXPIRED, LOST      CANCELLED, FAILED        FAILED, LOST    SUCCEEDED, FAILED
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Stored by the service; waits for its start time or for an offline device.
    Pending,
    /// Sent to the device, answer unknown.
    Dispatching,
    /// Accepted by the gateway for a later moment.
    Scheduled,
    /// Something forbids it for now.
    Blocked,
    /// Journalled by the gateway, baseline taken.
    Accepted,
    /// Hooks run, storage is synced.
    Preparing,
    /// The point of no return: the command is out.
    Rebooting,
    /// Absence was observed.
    Down,
    /// Back; evidence and health are being checked.
    Verifying,
    /// Terminal: the device booted again after this request.
    Succeeded,
    /// Terminal: it did not, or not provably, or not in good health.
    Failed,
    /// Terminal: cancelled before the point of no return.
    Cancelled,
    /// Terminal: the device refused.
    Rejected,
    /// Terminal: certainly never started before its deadline.
    Expired,
    /// Terminal: may have started, and nobody came back in time.
    Lost,
}

impl State {
    /// Every state, in the order of an attempt's life.
    pub const ALL: [Self; 15] = [
        Self::Pending,
        Self::Dispatching,
        Self::Scheduled,
        Self::Blocked,
        Self::Accepted,
        Self::Preparing,
        Self::Rebooting,
        Self::Down,
        Self::Verifying,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Rejected,
        Self::Expired,
        Self::Lost,
    ];

    /// Says whether an attempt in this state has ended.
    pub fn is_terminal(self) -> bool {
        self >= Self::Succeeded
    }

    /// Says whether the reboot command may have left in this state or before it.
    pub fn is_past_no_return(self) -> bool {
        matches!(
            self,
            Self::Rebooting | Self::Down | Self::Verifying | Self::Succeeded
        )
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Dispatching => "DISPATCHING",
            Self::Scheduled => "SCHEDULED",
            Self::Blocked => "BLOCKED",
            Self::Accepted => "ACCEPTED",
            Self::Preparing => "PREPARING",
            Self::Rebooting => "REBOOTING",
            Self::Down => "DOWN",
            Self::Verifying => "VERIFYING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
            Self::Lost => "LOST",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = UnknownName;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.name() == s)
            .ok_or(UnknownName)
    }
}

/// A name that is not in the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown name")]
pub struct UnknownName;

/// How to reboot, mildest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Let the device stop its work first.
    #[default]
    Graceful,
    /// Do not wait for inhibitors or hooks.
    Forced,
    /// Take its power away and give it back.
    PowerCycle,
}

impl Mode {
    /// Every mode, mildest first.
    pub const ALL: [Self; 3] = [Self::Graceful, Self::Forced, Self::PowerCycle];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Forced => "forced",
            Self::PowerCycle => "powerCycle",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownName;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == s)
            .ok_or(UnknownName)
    }
}

/// How strong a proof of a reboot is; each grade includes the ones below it.
///
/// On the wire a grade is its number, so that a twin query can compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Grade {
    /// The device says so.
    Claimed = 0,
    /// It went away and came back.
    Returned = 1,
    /// Its uptime or boot time went back.
    UptimeReset = 2,
    /// Its boot identity changed.
    BootChanged = 3,
    /// Its boot identity changed, and the request is the cause.
    Caused = 4,
    /// As caused, and it is healthy and stayed so for the settle time.
    Healthy = 5,
}

impl Grade {
    /// Every grade, weakest first.
    pub const ALL: [Self; 6] = [
        Self::Claimed,
        Self::Returned,
        Self::UptimeReset,
        Self::BootChanged,
        Self::Caused,
        Self::Healthy,
    ];

    /// The name for a person and for configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claimed => "CLAIMED",
            Self::Returned => "RETURNED",
            Self::UptimeReset => "UPTIME_RESET",
            Self::BootChanged => "BOOT_CHANGED",
            Self::Caused => "CAUSED",
            Self::Healthy => "HEALTHY",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Grade {
    type Err = UnknownName;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|grade| grade.name() == s)
            .ok_or(UnknownName)
    }
}

impl From<Grade> for u8 {
    fn from(grade: Grade) -> Self {
        grade as Self
    }
}

impl TryFrom<u8> for Grade {
    type Error = UnknownName;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .ok_or(UnknownName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_text_and_in_json() {
        for state in State::ALL {
            assert_eq!(state.name().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for mode in Mode::ALL {
            assert_eq!(mode.name().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
        }
        for grade in Grade::ALL {
            assert_eq!(grade.name().parse(), Ok(grade));
            assert_eq!(Grade::try_from(u8::from(grade)), Ok(grade));
        }
        assert_eq!(Grade::try_from(6), Err(UnknownName));
    }

    #[test]
    fn terminal_states_are_the_six_that_never_change() {
        let terminal: Vec<_> = State::ALL.into_iter().filter(|s| s.is_terminal()).collect();
        assert_eq!(
            terminal,
            [
                State::Succeeded,
                State::Failed,
                State::Cancelled,
                State::Rejected,
                State::Expired,
                State::Lost
            ]
        );
    }
}
