//! The hub's errors: their codes, and the bodies that carry them, in both directions.
//!
//! Three bodies are in use, and a client meets all of them:
//!
//! | style | used by | body |
//! | --- | --- | --- |
//! | A | registry, twins, validation | `{"Message":"ErrorCode:DeviceNotFound;text","ExceptionMessage":"Tracking ID:…"}` |
//! | B | methods, authorisation | `{"Message":"{\"errorCode\":404103,…}","ExceptionMessage":""}` |
//! | MQTT | twin answers over MQTT | `{"errorCode":400004,"trackingId":"…","message":"text","timestampUtc":"…"}` |

mod code;
mod parse;

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub use self::code::ErrorCode;
use crate::time;

/// The response header that carries an error's name.
pub const ERROR_CODE_HEADER: &str = "iothub-errorcode";

/// An error that a hub reports.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct HubError {
    /// The HTTP status, or the status in a twin answer over MQTT.
    pub status: u16,
    /// The documented code; none when the answer names none or one that is not documented.
    pub code: Option<ErrorCode>,
    /// What the hub says about it.
    pub message: String,
    /// Further fields, which method failures have.
    pub info: Option<Map<String, Value>>,
}

impl HubError {
    /// Makes an error of a documented kind.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            status: code.http_status(),
            code: Some(code),
            message: message.into(),
            info: None,
        }
    }

    /// A method was called on a device that is not there to take it, within the time it was given
    /// to connect.
    pub fn device_not_online(waited: Duration) -> Self {
        let seconds = waited.as_secs();
        let clock = format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        let mut info = Map::new();
        info.insert("timeout".to_owned(), Value::String(clock));
        Self {
            info: Some(info),
            ..Self::new(
                ErrorCode::DeviceNotOnline,
                "Timed out waiting for device to connect.",
            )
        }
    }

    /// A method was called and no answer came in time. The device may or may not have acted on it.
    pub fn no_answer() -> Self {
        Self {
            info: Some(Map::new()),
            ..Self::new(
                ErrorCode::GatewayTimeout,
                "Timed out waiting for the response from device.",
            )
        }
    }

    /// Whether the same request may do better later.
    ///
    /// For a method call this is not leave to repeat it: after [`ErrorCode::GatewayTimeout`] the
    /// device may have acted.
    pub fn is_retryable(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504)
            && self.code != Some(ErrorCode::JobCancelled)
    }

    /// The name for the header [`ERROR_CODE_HEADER`].
    pub fn header(&self) -> Option<&'static str> {
        self.code.map(|code| code.name())
    }

    /// The body in style A: a name and text, from which Node's SDK makes its typed errors.
    pub fn body_a(&self, tracking: &Tracking) -> Value {
        let name = self.code.map_or("Unknown", |code| code.name());
        // SDKs take the text up to the next semicolon.
        let text = self.message.replace(';', ",");
        json!({
            "Message": format!("ErrorCode:{name};{text}"),
            "ExceptionMessage": format!("Tracking ID:{tracking}"),
        })
    }

    /// The body in style B: JSON in a string in JSON.
    pub fn body_b(&self, tracking: &Tracking) -> Value {
        let mut inner = self.envelope(tracking);
        if let Some(info) = &self.info {
            inner.insert("info".to_owned(), Value::Object(info.clone()));
        }
        json!({ "Message": Value::Object(inner).to_string(), "ExceptionMessage": "" })
    }

    /// The body of a failed twin answer over MQTT. Node's SDK takes an answer without one for
    /// success.
    pub fn mqtt_body(&self, tracking: &Tracking) -> Value {
        Value::Object(self.envelope(tracking))
    }

    fn envelope(&self, tracking: &Tracking) -> Map<String, Value> {
        let number = self
            .code
            .map_or(u32::from(self.status) * 1000, |code| code.number());
        let mut fields = Map::new();
        fields.insert("errorCode".to_owned(), number.into());
        fields.insert("trackingId".to_owned(), tracking.to_string().into());
        fields.insert("message".to_owned(), self.message.clone().into());
        fields.insert("timestampUtc".to_owned(), time::print(tracking.at).into());
        fields
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "hub error {} {}", code.number(), code.name())?,
            None => write!(f, "hub error {}", self.status)?,
        }
        if self.message.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.message)
        }
    }
}

/// What identifies one failure in the hub's own logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracking {
    /// Unique to the failure.
    pub id: Uuid,
    /// When it happened.
    pub at: Timestamp,
}

impl fmt::Display for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-G:0-TimeStamp:{}",
            self.id.simple(),
            self.at.strftime("%m/%d/%Y %H:%M:%S")
        )
    }
}

#[cfg(test)]
mod tests;
