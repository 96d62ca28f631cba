//! A job as a service asks for it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use iot_hub::error::{ErrorCode, HubError};
use iot_hub::etag::IfMatch;
use iot_hub::method::MethodCall;
use iot_hub::query::{MAX_CHARS, Query};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::hub::TwinChange;
use crate::hub::kept;
use crate::hub::target::target;

/// What Microsoft's Node SDK asks for when its caller says nothing.
const DEFAULT_MAX_EXECUTION: Duration = Duration::from_secs(3600);

/// A job's name. What the real hub allows is not documented; SDK tests have used spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobId(String);

impl JobId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.chars().count() > 128 || text.contains(char::is_control) {
            return Err(invalid("jobId must have 1 to 128 characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A job as a service asks for it.
#[derive(Clone, Debug)]
pub(crate) struct JobRequest {
    pub(super) work: Work,
    /// Which devices, in the service's words; read when the job starts.
    pub(super) condition: String,
    pub(super) start: Timestamp,
    pub(super) max_execution: Duration,
}

/// What is done for each device. Each kind keeps the words it was asked for with.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Method {
        call: Box<MethodCall>,
        body: Value,
    },
    UpdateTwin {
        change: Box<TwinChange>,
        condition: IfMatch,
        body: Value,
    },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    job_id: Option<String>,
    r#type: Option<String>,
    cloud_to_device_method: Option<Value>,
    update_twin: Option<Value>,
    query_condition: Option<String>,
    start_time: Option<String>,
    max_execution_time_in_seconds: Option<u64>,
}

impl JobRequest {
    /// Reads the body of a PUT.
    pub(crate) fn read(id: &JobId, body: &[u8]) -> Result<Self, HubError> {
        let body: Body = kept::read(body)
            .map_err(|error| invalid(format!("the job cannot be read: {error}")))?;
        if body.job_id.is_some_and(|other| other != id.as_str()) {
            return Err(invalid("jobId in the body must be the one in the path"));
        }
        let kind = body.r#type.unwrap_or_default().to_ascii_lowercase();
        let work = match kind.as_str() {
            "scheduledevicemethod" => method(body.cloud_to_device_method)?,
            "scheduleupdatetwin" => twin(body.update_twin)?,
            _ => return Err(HubError::new(ErrorCode::GenericBadRequest, "BadRequest")),
        };
        let condition = body
            .query_condition
            .filter(|condition| !condition.trim().is_empty())
            .ok_or_else(|| invalid("queryCondition is missing"))?;
        if condition.chars().count() > MAX_CHARS {
            return Err(HubError::new(
                ErrorCode::PreconditionFailed,
                format!("queryCondition has more than {MAX_CHARS} characters"),
            ));
        }
        let start = body
            .start_time
            .as_deref()
            .and_then(parse_time)
            .ok_or_else(|| invalid("startTime must be an ISO 8601 time"))?;
        let max_execution = body
            .max_execution_time_in_seconds
            .map_or(DEFAULT_MAX_EXECUTION, Duration::from_secs);
        Ok(Self {
            work,
            condition,
            start,
            max_execution,
        })
    }

    /// The body that asks for this job.
    pub(super) fn to_body(&self) -> Value {
        let (field, work) = self.work.body();
        json!({
            "type": self.work.name(),
            field: work,
            "queryCondition": self.condition,
            "startTime": self.start,
            "maxExecutionTimeInSeconds": self.max_execution.as_secs(),
        })
    }

    /// The query that finds the devices.
    pub(super) fn target(&self) -> Result<Query, HubError> {
        target(&self.condition)
    }
}

impl Work {
    /// The job's type, as the API names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Method { .. } => "scheduleDeviceMethod",
            Self::UpdateTwin { .. } => "scheduleUpdateTwin",
        }
    }

    /// The field of the job that says what to do, and what it says.
    pub(super) fn body(&self) -> (&'static str, &Value) {
        match self {
            Self::Method { body, .. } => ("cloudToDeviceMethod", body),
            Self::UpdateTwin { body, .. } => ("updateTwin", body),
        }
    }
}

fn method(body: Option<Value>) -> Result<Work, HubError> {
    let body = body.ok_or_else(|| invalid("cloudToDeviceMethod is missing"))?;
    let call = MethodCall::from_json(body.to_string().as_bytes())?;
    Ok(Work::Method {
        call: Box::new(call),
        body,
    })
}

fn twin(body: Option<Value>) -> Result<Work, HubError> {
    let Some(Value::Object(twin)) = body else {
        return Err(invalid("updateTwin must be a JSON object"));
    };
    // Clients are surprised by this, but the real hub insists.
    let condition = match twin.get("etag").and_then(Value::as_str) {
        None => {
            return Err(HubError::new(
                ErrorCode::PreconditionFailed,
                "updateTwin has no etag",
            ));
        }
        Some("*" | "\"*\"") => IfMatch::Any,
        Some(etag) => IfMatch::Tag(etag.trim_matches('"').to_owned()),
    };
    Ok(Work::UpdateTwin {
        change: Box::new(TwinChange::merge(&twin)?),
        condition,
        body: Value::Object(twin),
    })
}

/// Without an offset it is UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(local).ok()
    })
}

fn invalid(text: impl Into<String>) -> HubError {
    HubError::new(ErrorCode::ArgumentInvalid, text)
}
