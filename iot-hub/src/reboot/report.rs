//! What a device's twin says of its reboots, under `properties.reported.iothubDM.reboot`.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Grade, Mode, RequestId, State};

/// The version of the reported schema.
pub const SCHEMA: u32 = 1;

/// How many ended attempts a report keeps.
pub const HISTORY_LENGTH: usize = 5;

/// What a device's twin says of its reboots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Rises with every change over the device's whole life, reboots included.
    pub seq: u64,
    /// When the device last provably booted. What the tutorials' back ends read.
    pub last_reboot: Option<Timestamp>,
    /// When the newest attempt passed its point of no return.
    pub started_reboot_time: Option<Timestamp>,
    /// The device's present boot identity.
    pub boot_id: Option<String>,
    /// The newest attempt.
    pub attempt: Option<AttemptReport>,
    /// Totals over the device's life.
    pub counters: Counters,
    /// The newest ended attempts, newest first; at most [`HISTORY_LENGTH`].
    pub history: Vec<HistoryEntry>,
    /// What the device can do. Absent from devices that are not ours.
    pub capabilities: Option<Capabilities>,
}

/// The newest attempt, as the gateway sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptReport {
    /// The request's id.
    pub request_id: RequestId,
    /// Where it stands.
    pub state: State,
    /// When it entered that state.
    pub state_time: Timestamp,
    /// How it is done.
    pub mode: Mode,
    /// Why it was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who began it.
    pub origin: Origin,
    /// Every state it has been in, so that a slow reader still learns of each.
    #[serde(default)]
    pub timeline: BTreeMap<State, Timestamp>,
    /// Why it did not succeed.
    #[serde(default)]
    pub error: Option<Failure>,
    /// What forbids it for now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blockers: BTreeMap<String, Blocker>,
    /// What proves it.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// The commands that were given, mildest first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<Mode, Step>,
}

impl AttemptReport {
    /// An attempt that entered its first state, as a method asked for it without wishes of its own.
    pub fn begun(request_id: RequestId, state: State, now: Timestamp) -> Self {
        Self {
            request_id,
            state,
            state_time: now,
            mode: Mode::Graceful,
            reason: String::new(),
            origin: Origin::Method,
            timeline: BTreeMap::from([(state, now)]),
            error: None,
            blockers: BTreeMap::new(),
            evidence: None,
            steps: BTreeMap::new(),
        }
    }
}

/// One command of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When it went out.
    pub time: Timestamp,
    /// Why it was not enough and the next one was given. Of the newest step the attempt itself tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What it was seen to do. Of the newest step the attempt itself tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// Who began a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Origin {
    /// A direct method.
    Method,
    /// A queued request in the desired properties.
    Desired,
    /// Somebody on the device itself.
    Local,
    /// Nobody we know of.
    Unexpected,
}

/// What proves a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How strong it is.
    pub grade: Grade,
    /// How it was obtained.
    pub method: String,
    /// What was seen before.
    #[serde(default)]
    pub before: String,
    /// What was seen after.
    #[serde(default)]
    pub after: String,
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// Machine-readable cause.
    pub code: FailureCode,
    /// The cause for a person.
    #[serde(default)]
    pub message: String,
    /// Asking again, with a new id, may help.
    #[serde(default)]
    pub retryable: bool,
}

/// Why an attempt did not succeed, in one word. A newer gateway may know more of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum FailureCode {
    /// The command went out and the device did not go down: its identity is the old one.
    NoShutdown,
    /// It went down and did not come back in time.
    NoReturn,
    /// It came back and its health check failed.
    Unhealthy,
    /// It came back and the evidence is weaker than required.
    ProofTooWeak,
    /// Hooks or the sync of storage took too long.
    PrepareTimeout,
    /// A hook said no.
    PrepareFailed,
    /// The gateway was restarted and the host was not.
    AgentRestarted,
    /// The device booted by itself before the command went out.
    UnexpectedBoot,
    /// The device refused the command, or the command could not be given.
    TriggerFailed,
    /// A precondition did not hold when the reboot was to begin.
    Precondition,
    /// The device could not be reached when the reboot was to begin.
    Unreachable,
    /// The deadline passed.
    DeadlineExceeded,
    /// The caller gave it up.
    Abandoned,
    /// One that this version does not know.
    Other(String),
}

impl FailureCode {
    /// Every code that this version knows.
    pub const KNOWN: [Self; 13] = [
        Self::NoShutdown,
        Self::NoReturn,
        Self::Unhealthy,
        Self::ProofTooWeak,
        Self::PrepareTimeout,
        Self::PrepareFailed,
        Self::AgentRestarted,
        Self::UnexpectedBoot,
        Self::TriggerFailed,
        Self::Precondition,
        Self::Unreachable,
        Self::DeadlineExceeded,
        Self::Abandoned,
    ];

    /// The name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::NoShutdown => "NO_SHUTDOWN",
            Self::NoReturn => "NO_RETURN",
            Self::Unhealthy => "UNHEALTHY",
            Self::ProofTooWeak => "PROOF_TOO_WEAK",
            Self::PrepareTimeout => "PREPARE_TIMEOUT",
            Self::PrepareFailed => "PREPARE_FAILED",
            Self::AgentRestarted => "AGENT_RESTARTED",
            Self::UnexpectedBoot => "UNEXPECTED_BOOT",
            Self::TriggerFailed => "TRIGGER_FAILED",
            Self::Precondition => "PRECONDITION",
            Self::Unreachable => "UNREACHABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Abandoned => "ABANDONED",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<String> for FailureCode {
    fn from(name: String) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|code| code.name() == name)
            .unwrap_or(Self::Other(name))
    }
}

impl From<FailureCode> for String {
    fn from(code: FailureCode) -> Self {
        code.name().to_owned()
    }
}

/// Something that forbids a reboot for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// Who holds it.
    pub who: String,
    /// Why.
    pub why: String,
    /// When it is expected to be lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Totals over a device's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Attempts that passed their point of no return.
    pub total: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Boots that nobody asked for.
    pub unexpected: u64,
}

/// One ended attempt, or one boot that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The request's id; absent for a boot that nobody asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    /// Who began a boot that nobody asked for: [`Origin::Local`] when the device announced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// How it ended; [`State::Rebooting`] from the announcement of a boot to that boot.
    pub state: State,
    /// When it ended.
    pub time: Timestamp,
    /// How strong its evidence was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
}

/// What a device can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The modes it offers; a map, for a twin holds no arrays here.
    #[serde(default)]
    pub modes: BTreeMap<String, bool>,
    /// An attempt can be cancelled before its point of no return.
    #[serde(default)]
    pub cancel: bool,
    /// Its gateway answers [`super::method::WATCH`], and is not rebooted with it.
    #[serde(default)]
    pub watch: bool,
    /// The best evidence its driver can reach.
    pub best_grade: Grade,
    /// The evidence its driver requires when the caller names none.
    pub required_grade: Grade,
    /// How long its reboots take, from the command to the verdict, by those it has been through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typical_duration_sec: Option<u32>,
}

impl Capabilities {
    /// Says whether a mode is offered.
    pub fn offers(&self, mode: Mode) -> bool {
        self.modes.get(mode.name()).copied().unwrap_or(false)
    }
}

/// The gateway that holds a device's session, under `properties.reported.iothubDM.gateway`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GatewayInfo {
    /// Its name.
    #[serde(default)]
    pub id: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Since when it may go down with its host at any moment: that, and not the device, is why the
    /// device is about to be away.
    #[serde(default, rename = "goingDown", skip_serializing_if = "Option::is_none")]
    pub going_down: Option<Timestamp>,
    /// Why it begins nothing at present, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Report {
    /// Writes the document that belongs at `iothubDM.reboot`. An absent field is left out; what a
    /// twin has to forget is found by comparing documents.
    pub fn to_value(&self) -> Value {
        let mut fields = match self.attempt.as_ref().map(|attempt| json!(attempt)) {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        fields.retain(|_, value| !value.is_null());
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("schema", json!(SCHEMA));
        put("seq", json!(self.seq));
        if let Some(at) = self.last_reboot {
            put("lastReboot", json!(at.to_string()));
        }
        if let Some(at) = self.started_reboot_time {
            put("startedRebootTime", json!(at.to_string()));
        }
        if let Some(boot_id) = &self.boot_id {
            put("bootId", json!(boot_id));
        }
        put("counters", json!(self.counters));
        let history: Map<_, _> = self
            .history
            .iter()
            .take(HISTORY_LENGTH)
            .enumerate()
            .map(|(index, entry)| (format!("h{index}"), json!(entry)))
            .collect();
        if !history.is_empty() {
            put("history", Value::Object(history));
        }
        if let Some(capabilities) = &self.capabilities {
            put("capabilities", json!(capabilities));
        }
        Value::Object(fields)
    }

    /// Reads the document at `iothubDM.reboot` of a twin's reported properties. `None` when it is
    /// not of our schema, as with a tutorial's device; a part that cannot be read is left out.
    pub fn from_reported(reported: &Map<String, Value>) -> Option<Self> {
        let fields = reported.get("iothubDM")?.get("reboot")?.as_object()?;
        if fields.get("schema").and_then(Value::as_u64) != Some(SCHEMA.into()) {
            return None;
        }
        fn part<'a, T: Deserialize<'a>>(fields: &'a Map<String, Value>, name: &str) -> Option<T> {
            T::deserialize(fields.get(name)?).ok()
        }
        let history = (0..HISTORY_LENGTH)
            .filter_map(|index| {
                HistoryEntry::deserialize(fields.get("history")?.get(format!("h{index}"))?).ok()
            })
            .collect();
        Some(Self {
            seq: part(fields, "seq")?,
            last_reboot: part(fields, "lastReboot"),
            started_reboot_time: part(fields, "startedRebootTime"),
            boot_id: part(fields, "bootId"),
            attempt: AttemptReport::deserialize(&Value::Object(fields.clone())).ok(),
            counters: part(fields, "counters").unwrap_or_default(),
            history,
            capabilities: part(fields, "capabilities"),
        })
    }
}

impl GatewayInfo {
    /// Reads the document at `iothubDM.gateway` of a twin's reported properties.
    pub fn from_reported(reported: &Map<String, Value>) -> Option<Self> {
        Self::deserialize(reported.get("iothubDM")?.get("gateway")?).ok()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn full() -> Report {
        let now: Timestamp = "2026-05-04T11:22:33.123Z".parse().unwrap();
        let id = RequestId(Uuid::from_u128(u128::MAX));
        let evidence = Evidence {
            grade: Grade::Returned,
            method: "mqtt-birth".into(),
            before: Uuid::from_u128(3).to_string(),
            after: Uuid::from_u128(4).to_string(),
        };
        let entry = HistoryEntry {
            id: Some(id),
            origin: Some(Origin::Unexpected),
            state: State::Succeeded,
            time: now,
            grade: Some(Grade::Healthy),
        };
        Report {
            seq: u64::from(u32::MAX),
            last_reboot: Some(now),
            started_reboot_time: Some(now),
            boot_id: Some(Uuid::from_u128(3).to_string()),
            attempt: Some(AttemptReport {
                request_id: id,
                state: State::Failed,
                state_time: now,
                mode: Mode::PowerCycle,
                reason: "kernel".into(),
                origin: Origin::Method,
                timeline: State::ALL[2..10]
                    .iter()
                    .map(|state| (*state, now))
                    .collect(),
                error: Some(Failure {
                    code: FailureCode::NoShutdown,
                    message: "the boot identity is still the old one".into(),
                    retryable: true,
                }),
                blockers: BTreeMap::from([(
                    "b1".into(),
                    Blocker {
                        who: "backup".into(),
                        why: "writes".into(),
                        until: Some(now),
                    },
                )]),
                evidence: Some(evidence.clone()),
                steps: Mode::ALL
                    .into_iter()
                    .map(|mode| {
                        let step = Step {
                            time: now,
                            error: Some(Failure {
                                code: FailureCode::NoShutdown,
                                message: "the device is still in the boot of before".into(),
                                retryable: true,
                            }),
                            evidence: Some(evidence.clone()),
                        };
                        (mode, step)
                    })
                    .collect(),
            }),
            counters: Counters {
                total: 3,
                failed: 1,
                unexpected: 1,
            },
            history: vec![entry; HISTORY_LENGTH],
            capabilities: Some(Capabilities {
                modes: Mode::ALL
                    .into_iter()
                    .map(|mode| (mode.name().into(), true))
                    .collect(),
                cancel: true,
                watch: true,
                best_grade: Grade::Healthy,
                required_grade: Grade::BootChanged,
                typical_duration_sec: Some(50),
            }),
        }
    }

    fn reported(report: &Report) -> Map<String, Value> {
        json!({ "iothubDM": { "reboot": report.to_value() } })
            .as_object()
            .unwrap()
            .clone()
    }

    #[test]
    fn reading_inverts_writing() {
        for report in [full(), Report::default()] {
            assert_eq!(Report::from_reported(&reported(&report)), Some(report));
        }
    }

    #[test]
    fn the_fullest_report_stays_small_and_holds_no_array() {
        let value = full().to_value();
        assert!(
            value.to_string().len() < 4096,
            "{} bytes",
            value.to_string().len()
        );
        assert!(!value.to_string().contains('['));
    }

    #[test]
    fn a_tutorial_device_has_no_report() {
        let reported =
            json!({ "iothubDM": { "reboot": { "lastReboot": "2026-01-01T00:00:00Z" } } });
        assert_eq!(Report::from_reported(reported.as_object().unwrap()), None);
    }

    #[test]
    fn an_unknown_failure_code_is_kept() {
        let code = FailureCode::from("ON_FIRE".to_owned());
        assert_eq!(code, FailureCode::Other("ON_FIRE".into()));
        assert_eq!(String::from(code), "ON_FIRE");
        for code in FailureCode::KNOWN {
            assert_eq!(FailureCode::from(code.name().to_owned()), code);
        }
    }
}
