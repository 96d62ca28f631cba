//! What one look at a device found, for the drivers that look when they are asked to.

use std::time::Duration;

use iot_hub::reboot::{Grade, Mode, RequestId};

use super::{Baseline, DriverError, Observation, Probe};

/// The longest boot id that is taken.
pub(super) const BOOT_ID_CHARS: usize = 128;

/// The longest text of a device that is passed on.
const MESSAGE_CHARS: usize = 256;

/// What a device that is there says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reading {
    pub(super) boot_id: Option<String>,
    pub(super) uptime: Option<Duration>,
    pub(super) boot_count: Option<u64>,
    pub(super) cause: Option<RequestId>,
    pub(super) reset_reason: Option<String>,
}

impl Reading {
    /// What a look found, if the device was there: what it can do does not depend on where it is.
    pub(super) fn if_present(look: Result<Self, DriverError>) -> Result<Option<Self>, DriverError> {
        match look {
            Ok(reading) => Ok(Some(reading)),
            Err(DriverError::Unreachable(_) | DriverError::Absent(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// This, with what it lacks and another one has.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            boot_id: self.boot_id.or(other.boot_id),
            uptime: self.uptime.or(other.uptime),
            boot_count: self.boot_count.or(other.boot_count),
            cause: self.cause.or(other.cause),
            reset_reason: self.reset_reason.or(other.reset_reason),
        }
    }

    pub(super) fn baseline(self) -> Baseline {
        Baseline {
            detail: self.to_string(),
            boot_id: self.boot_id,
            uptime: self.uptime,
            boot_count: self.boot_count,
        }
    }

    /// The same as an observation of a device that is present. That it was absent before is known
    /// to the engine, which was told so then.
    pub(super) fn observation(self, method: &'static str) -> Observation {
        Observation {
            present: true,
            was_absent: false,
            detail: self.to_string(),
            boot_id: self.boot_id,
            uptime: self.uptime,
            boot_count: self.boot_count,
            caused_by: self.cause,
            method,
        }
    }
}

/// The same for a person.
impl std::fmt::Display for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.boot_count.map(|count| format!("boot number {count}"));
        let uptime = self.uptime.map(|time| format!("up {} s", time.as_secs()));
        let words = [
            self.boot_id.as_ref().map(|id| format!("boot {id}")),
            count,
            uptime,
            self.reset_reason.clone(),
        ];
        let words: Vec<_> = words.into_iter().flatten().collect();
        if words.is_empty() {
            return f.write_str("it answers");
        }
        f.write_str(&words.join(", "))
    }
}

/// What kinds of proof a device's readings hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proofs {
    /// A boot identity or a boot count.
    pub(super) identity: bool,
    /// The request that caused the boot.
    pub(super) cause: bool,
    pub(super) uptime: bool,
    /// There is a health check.
    pub(super) health: bool,
}

impl Proofs {
    /// For readings whose form the device's owner chose, by an example. Whether they name a cause
    /// shows only after a reboot; without an example they are believed to have an identity.
    pub(super) fn of(example: Option<&Reading>, health: bool) -> Self {
        Self {
            identity: example
                .is_none_or(|seen| seen.boot_id.is_some() || seen.boot_count.is_some()),
            cause: true,
            uptime: example.is_some_and(|seen| seen.uptime.is_some()),
            health,
        }
    }

    /// What a device of such proofs can do, that is rebooted by one command and is not the host.
    pub(super) fn probe(self, reading: Option<Reading>) -> Probe {
        let best_grade = self.best_grade();
        Probe {
            modes: vec![Mode::Graceful, Mode::Forced],
            best_grade,
            required_grade: best_grade.min(Grade::BootChanged),
            boot_id: reading.and_then(|reading| reading.boot_id),
            restarts_gateway: false,
        }
    }

    /// The strongest evidence that they can ever give.
    pub(super) fn best_grade(self) -> Grade {
        match self {
            Self {
                identity: true,
                cause: true,
                health: true,
                ..
            } => Grade::Healthy,
            Self {
                identity: true,
                cause: true,
                ..
            } => Grade::Caused,
            Self { identity: true, .. } => Grade::BootChanged,
            Self { uptime: true, .. } => Grade::UptimeReset,
            Self { .. } => Grade::Returned,
        }
    }
}

/// A text as a boot id, if it can be one.
pub(super) fn boot_id(text: String) -> Option<String> {
    let chars = text.chars().count();
    let good = (1..=BOOT_ID_CHARS).contains(&chars) && !text.contains(char::is_control);
    good.then_some(text)
}

/// Makes a device's words fit for a log and a report.
pub(super) fn clip(words: &str) -> String {
    words
        .chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE_CHARS)
        .collect()
}

/// The last line that says something.
pub(super) fn last_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(clip(last))
}
