//! What one read of a device's twin says about reboots.

use std::time::Duration;

use iot_hub::{
    reboot::{
        AttemptReport, CLAIM_PATHS, Dialect, Grade, HistoryEntry, Mode, Preconditions, Report,
        RequestId,
    },
    twin::Twin,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Asked, Trouble};
use crate::durations::Estimate;

/// When each of [`CLAIM_PATHS`] was last written, by the hub's clock.
pub(super) type Claims = [Option<Timestamp>; CLAIM_PATHS.len()];

/// What one read of a device's twin says about reboots.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// When the read was begun, by the service's clock.
    pub begun: Timestamp,
    /// The twin's etag: a write can be made on the condition that it is still this.
    pub etag: String,
    /// The request that waits in the desired properties.
    pub queued: Option<RequestId>,
    /// The conventions the device follows.
    pub dialect: Option<Dialect>,
    /// The gateway's report; `None` for a device that is not ours.
    pub report: Option<Report>,
    /// When the tutorials' properties were last written.
    pub claims: Claims,
    /// What devices it is like, as far as its reboots go.
    pub class: String,
    /// How long the reboots of such devices take, when that was looked up.
    pub estimate: Option<Estimate>,
    /// How many earlier attempts may be what the device claims next, when that was looked up.
    pub owed: u32,
}

/// What the twin said before the device was called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Baseline {
    pub(super) claims: Claims,
    pub(super) boot_id: Option<String>,
    #[serde(default)]
    pub(super) etag: String,
    /// A gateway of ours has reported something, at some time.
    #[serde(default)]
    pub(super) has_report: bool,
    /// How many claims from now on may be of earlier attempts.
    #[serde(default)]
    pub(super) owed: u32,
    /// There was such a claim.
    #[serde(default)]
    pub(super) disputed: bool,
}

impl Reading {
    /// Takes from a twin what matters here.
    pub fn of(twin: &Twin, begun: Timestamp) -> Self {
        let reported = twin.reported.properties();
        Self {
            begun,
            etag: twin.etag.clone(),
            queued: queued(twin.desired.properties()),
            dialect: Dialect::detect(&twin.tags, reported),
            report: Report::from_reported(reported),
            claims: CLAIM_PATHS.map(|path| twin.reported.last_updated(path)),
            class: class(twin),
            estimate: None,
            owed: 0,
        }
    }

    pub(super) fn baseline(&self) -> Baseline {
        Baseline {
            claims: self.claims,
            boot_id: self
                .report
                .as_ref()
                .and_then(|report| report.boot_id.clone()),
            etag: self.etag.clone(),
            has_report: self.report.is_some(),
            owed: self.owed,
            disputed: false,
        }
    }

    /// The report of this attempt, if the device's newest one is this one.
    pub(super) fn attempt(&self, id: RequestId) -> Option<&AttemptReport> {
        let attempt = self.report.as_ref()?.attempt.as_ref()?;
        (attempt.request_id == id).then_some(attempt)
    }

    /// How long the device's reboots take, by those that its gateway has seen.
    pub(super) fn typical_duration(&self) -> Option<Duration> {
        let capabilities = self.report.as_ref()?.capabilities.as_ref()?;
        Some(Duration::from_secs(
            capabilities.typical_duration_sec?.into(),
        ))
    }

    /// What is left of this attempt, if the device has gone on to others.
    pub(super) fn history(&self, id: RequestId) -> Option<&HistoryEntry> {
        let history = &self.report.as_ref()?.history;
        history.iter().find(|entry| entry.id == Some(id))
    }

    /// Checks what can be checked without touching the device.
    pub fn check(&self, asked: &Asked) -> Result<(), Trouble> {
        let required = asked.required_grade.unwrap_or(Grade::Claimed);
        if self.dialect != Some(Dialect::Native) {
            if asked.mode != Mode::Graceful {
                return Err(Trouble::NoSuchMode(asked.mode));
            }
            if asked.preconditions != Preconditions::default() {
                return Err(Trouble::CannotCheck);
            }
            return check_grade(required, Grade::Claimed);
        }
        let Some(capabilities) = self
            .report
            .as_ref()
            .and_then(|report| report.capabilities.as_ref())
        else {
            return Ok(());
        };
        if capabilities.modes.get(asked.mode.name()) != Some(&true) {
            return Err(Trouble::NoSuchMode(asked.mode));
        }
        check_grade(required, capabilities.best_grade)
    }
}

fn queued(desired: &Map<String, Value>) -> Option<RequestId> {
    let id = desired.get("iothubDM")?.get("reboot")?.get("requestId")?;
    id.as_str()?.parse().ok()
}

fn check_grade(required: Grade, best: Grade) -> Result<(), Trouble> {
    if required > best {
        Err(Trouble::CannotProve { required, best })
    } else {
        Ok(())
    }
}

/// The longest name of a class that is used whole.
const CLASS_CHARS: usize = 128;

/// What devices a device is like: those of the same tag `iothubDM.class`, else those whose driver
/// proves as much.
fn class(twin: &Twin) -> String {
    let tag = twin.tags.get("iothubDM").and_then(|tags| tags.get("class"));
    if let Some(tag) = tag.and_then(Value::as_str) {
        return format!("tag:{}", tag.chars().take(CLASS_CHARS).collect::<String>());
    }
    let reported = twin.reported.properties();
    let capabilities = Report::from_reported(reported).and_then(|report| report.capabilities);
    match (capabilities, Dialect::detect(&twin.tags, reported)) {
        (Some(capabilities), _) => format!("grade:{}", capabilities.best_grade),
        (None, Some(dialect)) => format!("dialect:{dialect:?}"),
        (None, None) => String::new(),
    }
}
