//! A direct method's call and answer, as the service's REST API carries them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    error::{ErrorCode, HubError},
    topic::{MethodName, MethodNameError},
};

/// The most bytes that a payload may have as JSON.
pub const MAX_PAYLOAD_BYTES: usize = 128 * 1024;

/// How long a hub waits for the answer when the caller does not say.
pub const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

const METHOD_NAME: &str = "methodName";
const PAYLOAD: &str = "payload";
const RESPONSE_TIMEOUT: &str = "responseTimeoutInSeconds";
const CONNECT_TIMEOUT: &str = "connectTimeoutInSeconds";

/// A call of a method on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodCall {
    /// The method.
    pub name: MethodName,
    /// The argument, `null` for none.
    pub payload: Value,
    /// How long the hub waits for the answer: 5 to 300 s.
    pub response_timeout: Duration,
    /// How long the hub waits for a device that is not connected: 0 to 300 s.
    pub connect_timeout: Duration,
}

impl MethodCall {
    /// Makes a call with the default limits: 30 s for the answer, no waiting for the device to
    /// connect.
    pub fn new(name: MethodName, payload: Value) -> Self {
        Self {
            name,
            payload,
            response_timeout: DEFAULT_RESPONSE_TIMEOUT,
            connect_timeout: Duration::ZERO,
        }
    }

    /// Reads the body of a request; keys that nobody knows are ignored, as the service does.
    pub fn from_json(body: &[u8]) -> Result<Self, MethodCallError> {
        let value: Value = serde_json::from_slice(body).map_err(MethodCallError::Json)?;
        let Value::Object(mut fields) = value else {
            return Err(MethodCallError::Object);
        };
        let name = match fields.get(METHOD_NAME) {
            None | Some(Value::Null) => return Err(MethodCallError::NameMissing),
            Some(Value::String(name)) => name.parse().map_err(MethodCallError::Name)?,
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                return Err(MethodCallError::NameMissing);
            }
        };
        let response_timeout =
            seconds(&fields, RESPONSE_TIMEOUT, 5)?.unwrap_or(DEFAULT_RESPONSE_TIMEOUT);
        let connect_timeout = seconds(&fields, CONNECT_TIMEOUT, 0)?.unwrap_or_default();
        let payload = fields.remove(PAYLOAD).unwrap_or_default();
        let bytes = payload.to_string().len();
        if bytes > MAX_PAYLOAD_BYTES {
            return Err(MethodCallError::TooLarge(bytes));
        }
        Ok(Self {
            name,
            payload,
            response_timeout,
            connect_timeout,
        })
    }

    /// Writes the body of a request.
    pub fn to_json(&self) -> Value {
        json!({
            METHOD_NAME: self.name.as_str(),
            PAYLOAD: self.payload,
            RESPONSE_TIMEOUT: self.response_timeout.as_secs(),
            CONNECT_TIMEOUT: self.connect_timeout.as_secs(),
        })
    }
}

fn seconds(
    fields: &Map<String, Value>,
    field: &'static str,
    min: u64,
) -> Result<Option<Duration>, MethodCallError> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seconds) if (min..=300).contains(&seconds) => {
                Ok(Some(Duration::from_secs(seconds)))
            }
            _ => Err(MethodCallError::Timeout { field, min }),
        },
    }
}

/// Why a body is no method call.
#[derive(Debug, thiserror::Error)]
pub enum MethodCallError {
    /// It is not JSON.
    #[error("body is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// It is JSON and not an object.
    #[error("body is not a JSON object")]
    Object,
    /// There is no method name.
    #[error("`methodName` must be a text")]
    NameMissing,
    /// The method name cannot be one.
    #[error("`methodName`: {0}")]
    Name(#[source] MethodNameError),
    /// A limit is out of range.
    #[error("`{field}` has to be between {min} and 300 seconds")]
    Timeout {
        /// The key whose value it is.
        field: &'static str,
        /// The least value.
        min: u64,
    },
    /// The payload is too large.
    #[error("`payload` has {0} bytes, more than 131072")]
    TooLarge(usize),
}

impl From<MethodCallError> for HubError {
    fn from(error: MethodCallError) -> Self {
        let code = match &error {
            MethodCallError::Json(_) => ErrorCode::IotHubFormatError,
            MethodCallError::Object
            | MethodCallError::NameMissing
            | MethodCallError::Name(_)
            | MethodCallError::Timeout { .. }
            | MethodCallError::TooLarge(_) => ErrorCode::ArgumentInvalid,
        };
        Self::new(code, error.to_string())
    }
}

/// What a device answered.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodResult {
    /// Whatever the device wants to say; its numbers follow HTTP by custom only.
    pub status: i32,
    /// What came with it.
    pub payload: Payload,
}

/// The body of a device's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// JSON; an empty body is `null`.
    Json(Value),
    /// Something else: neither device nor hub is held to JSON.
    Text(String),
}

impl Payload {
    /// Reads the body of a device's answer.
    pub fn from_bytes(body: &[u8]) -> Self {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Self::Json(Value::Null);
        }
        match serde_json::from_slice(body) {
            Ok(value) => Self::Json(value),
            Err(_) => Self::Text(String::from_utf8_lossy(body).into_owned()),
        }
    }

    /// The JSON, when it is some.
    pub fn as_json(&self) -> Option<&Value> {
        match self {
            Self::Json(value) => Some(value),
            Self::Text(_) => None,
        }
    }
}

impl MethodResult {
    /// Reads the body of the service's answer, also one that a device's answer made invalid JSON.
    pub fn from_json(body: &[u8]) -> Result<Self, MethodResultError> {
        let value = match serde_json::from_slice::<Value>(body) {
            Ok(value) => value,
            Err(error) => {
                return unsplice(&String::from_utf8_lossy(body))
                    .ok_or(MethodResultError::Json(error));
            }
        };
        let status = value
            .get("status")
            .and_then(Value::as_i64)
            .and_then(|status| i32::try_from(status).ok());
        Ok(Self {
            status: status.ok_or(MethodResultError::Status)?,
            payload: Payload::Json(value.get(PAYLOAD).cloned().unwrap_or_default()),
        })
    }

    /// Writes the body of the service's answer, a text payload as a JSON string.
    pub fn to_json(&self) -> Value {
        let payload = match &self.payload {
            Payload::Json(value) => value.clone(),
            Payload::Text(text) => Value::String(text.clone()),
        };
        json!({ "status": self.status, PAYLOAD: payload })
    }
}

/// Writes the body of the service's answer as a hub does: with the device's bytes in it as they
/// are, JSON or not.
pub fn splice(status: i32, body: &[u8]) -> Vec<u8> {
    let body = if body.iter().all(u8::is_ascii_whitespace) {
        b"null"
    } else {
        body
    };
    let mut answer = format!("{{\"status\":{status},\"{PAYLOAD}\":").into_bytes();
    answer.extend_from_slice(body);
    answer.push(b'}');
    answer
}

/// Finds the parts of an answer that [`splice`] made with a body that is no JSON.
fn unsplice(answer: &str) -> Option<MethodResult> {
    let rest = answer.trim().strip_prefix("{\"status\":")?;
    let (status, rest) = rest.split_once(',')?;
    let payload = rest
        .trim_start()
        .strip_prefix("\"payload\":")?
        .strip_suffix('}')?;
    Some(MethodResult {
        status: status.trim().parse().ok()?,
        payload: Payload::Text(payload.to_owned()),
    })
}

/// Why a body is no answer to a method call.
#[derive(Debug, thiserror::Error)]
pub enum MethodResultError {
    /// It is not JSON, and not for the device's fault.
    #[error("method answer is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// It has no status.
    #[error("method answer has no integer `status`")]
    Status,
}

#[cfg(test)]
mod tests;
