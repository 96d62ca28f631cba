//! One object a line for a script.
//!
//! The shape is this program's own promise: every line has the same first fields, absent values
//! are `null`, and fields are added but never renamed. The last line of an attempt is its
//! `verdict`, or an `error` when there is none.

use std::io::{self, Write};

use iothubdm_proto::v1::{
    AttemptError, AuditEvent, Device, Evidence, RebootAttempt, RebootEvent, RebootMode, RebootStep,
    reboot_event::Event,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{name, problem::Problem, words};

/// One line about an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    /// What this line is.
    event: Kind,
    /// The device's id.
    device: Option<String>,
    /// The attempt's full name.
    name: Option<String>,
    /// The attempt's state.
    state: Option<&'static str>,
    /// The evidence's grade.
    grade: Option<&'static str>,
    /// Why it did not succeed, or why the command did not work.
    error: Option<ErrorObject>,
    /// When it happened.
    time: Option<Timestamp>,
    /// What happened, for a person.
    message: Option<String>,
    /// Rises with every change of the attempt.
    revision: Option<i64>,
    /// Continues the watch after this line.
    resume_token: Option<String>,
    /// The attempt as a whole, where the line is about all of it.
    attempt: Option<AttemptObject>,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// An attempt as it stands.
    Attempt,
    /// The first message of a watch.
    Snapshot,
    /// The attempt moved on.
    Progress,
    /// Nothing happened; the stream lives.
    Bookmark,
    /// The stream broke and will be taken up again.
    Interrupted,
    /// How the attempt ended.
    Verdict,
    /// The command did not work.
    Error,
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorObject {
    code: String,
    message: String,
    retryable: bool,
    /// Fields and rules, blockers, what to do.
    notes: Vec<String>,
}

/// An attempt as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptObject {
    request_id: String,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    escalate_to: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepObject>,
    reason: String,
    create_time: Option<Timestamp>,
    not_before: Option<Timestamp>,
    deadline: Option<Timestamp>,
    end_time: Option<Timestamp>,
    recovered_time: Option<Timestamp>,
    eta: Option<Timestamp>,
    late: bool,
    required_grade: Option<&'static str>,
    evidence: Option<EvidenceObject>,
    blockers: Vec<BlockerObject>,
    timeline: Vec<StageObject>,
    cancel_requested: bool,
    dialect: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct EvidenceObject {
    grade: Option<&'static str>,
    method: String,
    before: String,
    after: String,
}

/// One command of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepObject {
    mode: &'static str,
    time: Option<Timestamp>,
    evidence: Option<EvidenceObject>,
    error: Option<ErrorObject>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockerObject {
    id: String,
    who: String,
    why: String,
    until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct StageObject {
    state: &'static str,
    time: Option<Timestamp>,
}

/// One line about a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceLine {
    device: String,
    connected: bool,
    enabled: bool,
    last_activity_time: Option<Timestamp>,
    dialect: Option<&'static str>,
    modes: Vec<&'static str>,
    best_grade: Option<&'static str>,
    can_cancel: bool,
    gateway: String,
    gateway_version: String,
    last_reboot_time: Option<Timestamp>,
    open_reboot: Option<String>,
    boot_id: Option<String>,
}

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditLine {
    time: Option<Timestamp>,
    decision: &'static str,
    action: String,
    caller: String,
    origin: String,
    device: Option<String>,
    reboot: Option<String>,
    reason: String,
    verdict: String,
    evidence: String,
}

impl AuditLine {
    /// Writes the line.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write(self, out)
    }
}

impl From<&AuditEvent> for AuditLine {
    fn from(event: &AuditEvent) -> Self {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self {
            time: words::moment(event.time.as_ref()),
            decision: words::decision(event.decision()),
            action: event.action.clone(),
            caller: event.caller.clone(),
            origin: event.origin.clone(),
            device: given(name::device_of(&event.device)),
            reboot: given(&event.reboot),
            reason: event.reason.clone(),
            verdict: event.verdict.clone(),
            evidence: event.evidence.clone(),
        }
    }
}

impl Line {
    /// An attempt as it stands.
    pub(crate) fn attempt(attempt: &RebootAttempt) -> Self {
        Self {
            attempt: Some(AttemptObject::from(attempt)),
            ..Self::about(Kind::Attempt, Some(attempt))
        }
    }

    /// How an attempt ended.
    pub(crate) fn verdict(attempt: &RebootAttempt) -> Self {
        Self {
            event: Kind::Verdict,
            ..Self::attempt(attempt)
        }
    }

    /// One message of a watch; `latest` is the attempt as it was last seen, this message included.
    pub(crate) fn of_event(event: &RebootEvent, latest: Option<&RebootAttempt>) -> Self {
        let mut line = match &event.event {
            Some(Event::Snapshot(attempt)) => Self {
                event: Kind::Snapshot,
                ..Self::attempt(attempt)
            },
            Some(Event::Progress(progress)) => Self {
                state: Some(words::state(progress.state())),
                time: words::moment(progress.time.as_ref()),
                message: Some(progress.message.clone()),
                ..Self::about(Kind::Progress, progress.attempt.as_ref().or(latest))
            },
            Some(Event::Bookmark(_)) | None => Self::about(Kind::Bookmark, latest),
        };
        line.revision = Some(event.revision);
        line.resume_token = Some(event.resume_token.clone()).filter(|token| !token.is_empty());
        line
    }

    /// A stream that broke.
    pub(crate) fn interrupted(latest: Option<&RebootAttempt>, problem: &Problem) -> Self {
        Self {
            error: Some(problem.into()),
            ..Self::about(Kind::Interrupted, latest)
        }
    }

    /// A command that did not work.
    pub(crate) fn problem(device: Option<&str>, name: Option<&str>, problem: &Problem) -> Self {
        Self {
            device: device.map(str::to_owned),
            name: name.map(str::to_owned),
            error: Some(problem.into()),
            ..Self::about(Kind::Error, None)
        }
    }

    fn about(event: Kind, attempt: Option<&RebootAttempt>) -> Self {
        let error = attempt.and_then(|attempt| attempt.error.as_ref());
        let evidence = attempt.and_then(|attempt| attempt.evidence.as_ref());
        Self {
            event,
            device: attempt.map(|attempt| name::device_of(&attempt.name).to_owned()),
            name: attempt.map(|attempt| attempt.name.clone()),
            state: attempt.map(|attempt| words::state(attempt.state())),
            grade: evidence.and_then(|evidence| words::grade(evidence.grade())),
            error: error.map(ErrorObject::from),
            time: attempt.and_then(|attempt| words::moment(attempt.state_time.as_ref())),
            message: None,
            revision: attempt.map(|attempt| attempt.revision),
            resume_token: None,
            attempt: None,
        }
    }

    /// Writes the line.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write(self, out)
    }
}

impl DeviceLine {
    /// Writes the line.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write(self, out)
    }
}

fn write(line: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string(line)?;
    writeln!(out, "{text}")?;
    out.flush()
}

impl From<&Problem> for ErrorObject {
    fn from(problem: &Problem) -> Self {
        Self {
            code: problem.code.clone(),
            message: problem.message.clone(),
            retryable: problem.retryable,
            notes: problem.notes.clone(),
        }
    }
}

impl From<&AttemptError> for ErrorObject {
    fn from(error: &AttemptError) -> Self {
        Self {
            code: error.code.clone(),
            message: error.message.clone(),
            retryable: error.retryable,
            notes: Vec::new(),
        }
    }
}

impl From<&Evidence> for EvidenceObject {
    fn from(evidence: &Evidence) -> Self {
        Self {
            grade: words::grade(evidence.grade()),
            method: evidence.method.clone(),
            before: evidence.before.clone(),
            after: evidence.after.clone(),
        }
    }
}

impl From<&RebootStep> for StepObject {
    fn from(step: &RebootStep) -> Self {
        Self {
            mode: words::mode(step.mode()),
            time: words::moment(step.time.as_ref()),
            evidence: step.evidence.as_ref().map(EvidenceObject::from),
            error: step.error.as_ref().map(ErrorObject::from),
        }
    }
}

impl From<&RebootAttempt> for AttemptObject {
    fn from(attempt: &RebootAttempt) -> Self {
        Self {
            request_id: attempt.request_id.clone(),
            mode: words::mode(attempt.mode()),
            escalate_to: (attempt.escalate_to() != RebootMode::Unspecified)
                .then(|| words::mode(attempt.escalate_to())),
            steps: attempt.steps.iter().map(StepObject::from).collect(),
            reason: attempt.reason.clone(),
            create_time: words::moment(attempt.create_time.as_ref()),
            not_before: words::moment(attempt.not_before.as_ref()),
            deadline: words::moment(attempt.deadline.as_ref()),
            end_time: words::moment(attempt.end_time.as_ref()),
            recovered_time: words::moment(attempt.recovered_time.as_ref()),
            eta: words::moment(attempt.eta.as_ref()),
            late: attempt.late,
            required_grade: words::grade(attempt.required_evidence()),
            evidence: attempt.evidence.as_ref().map(EvidenceObject::from),
            blockers: attempt
                .blockers
                .iter()
                .map(|blocker| BlockerObject {
                    id: blocker.id.clone(),
                    who: blocker.who.clone(),
                    why: blocker.why.clone(),
                    until: words::moment(blocker.until.as_ref()),
                })
                .collect(),
            timeline: attempt
                .timeline
                .iter()
                .map(|entry| StageObject {
                    state: words::state(entry.state()),
                    time: words::moment(entry.time.as_ref()),
                })
                .collect(),
            cancel_requested: attempt.cancel_requested,
            dialect: words::dialect(attempt.dialect()),
        }
    }
}

impl From<&Device> for DeviceLine {
    fn from(device: &Device) -> Self {
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Self {
            device: name::device_of(&device.name).to_owned(),
            connected: device.connected,
            enabled: device.enabled,
            last_activity_time: words::moment(device.last_activity_time.as_ref()),
            dialect: words::dialect(device.dialect()),
            modes: device.modes().map(words::mode).collect(),
            best_grade: words::grade(device.best_evidence()),
            can_cancel: device.can_cancel,
            gateway: device.gateway.clone(),
            gateway_version: device.gateway_version.clone(),
            last_reboot_time: words::moment(device.last_reboot_time.as_ref()),
            open_reboot: text(&device.open_reboot),
            boot_id: text(&device.boot_id),
        }
    }
}
