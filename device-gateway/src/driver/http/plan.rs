//! What is asked of a device over HTTP, and what its answers mean.

use std::{str::FromStr, time::Duration};

use regex_lite::Regex;
use serde_json::Value;

use crate::driver::reading::{self, Proofs, Reading};

/// The content type of a body that is JSON.
const JSON: &str = "application/json";

/// All that is asked of a device.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is read before the reboot, and again and again after it. At least one.
    pub looks: Vec<Look>,
    /// The command.
    pub trigger: Ask,
    /// The same by force, where that is another one.
    pub forced: Option<Ask>,
    /// Whether it does its work.
    pub health: Option<Check>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// How it is asked.
    pub method: Method,
    /// Where, with the query; it begins with a slash. `{id}` and `{mode}` stand for the attempt's.
    pub path: String,
    /// Where else, for a device that does not know the path.
    pub or_path: Option<String>,
    /// What is sent with it; `{id}` and `{mode}` stand for the attempt's.
    pub body: Option<String>,
    /// The body's type.
    pub content_type: String,
    /// The answers that mean yes; none, for every 2xx.
    pub statuses: Vec<u16>,
    /// The device's words when it says no in an answer that means yes otherwise.
    pub error: Option<Find>,
}

/// An HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
}

/// A request whose answer shows the device.
#[derive(Debug, Clone)]
pub struct Look {
    /// The request.
    pub ask: Ask,
    /// What has to hold, or somebody else answers at the device's address.
    pub belongs: Option<Condition>,
    /// What holds while it is there, for a device that somebody else answers for.
    pub present: Option<Condition>,
    /// Where its boot id is.
    pub boot_id: Option<Find>,
    /// Where the number of its boots is.
    pub boot_count: Option<Find>,
    /// Where it says how long it has been up.
    pub uptime: Option<Uptime>,
    /// Where it echoes the request that caused its boot.
    pub cause: Option<Find>,
    /// Where it says why it booted, for a person.
    pub reset_reason: Option<Find>,
}

/// How an uptime is told.
#[derive(Debug, Clone)]
pub struct Uptime {
    /// Where.
    pub find: Find,
    /// What it is counted in.
    pub unit: Duration,
    /// The device tells what it was a while ago, and renews that from time to time.
    pub lags: bool,
}

/// A check of the device's health.
#[derive(Debug, Clone)]
pub struct Check {
    /// The request.
    pub ask: Ask,
    /// What has to hold for its answer.
    pub holds: Option<Condition>,
    /// What the value is when nothing checks its health, which an answer without the value or with an
    /// empty one then says, too. If this is empty, such an answer is no healthy one.
    pub unchecked: &'static [&'static str],
}

impl Check {
    /// Whether the answer says that nothing checks its health.
    pub(super) fn is_unchecked(&self, body: &Body) -> bool {
        !self.unchecked.is_empty()
            && self.holds.as_ref().is_some_and(|holds| {
                let value = holds.find.text(body);
                value.is_none_or(|value| self.unchecked.contains(&value.as_str()))
            })
    }
}

/// A value that an answer has to have.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Where.
    pub find: Find,
    /// The value.
    pub equals: String,
}

/// Where in an answer a value is.
#[derive(Debug, Clone)]
pub enum Find {
    /// In a JSON document, by a pointer as of RFC 6901.
    Pointer(String),
    /// The same for several values, which make one together.
    Pointers(Vec<String>),
    /// The first group of a regular expression, or all that it matches.
    Pattern(Regex),
}

impl Ask {
    /// A request without a body.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::Get,
            path: path.into(),
            or_path: None,
            body: None,
            content_type: JSON.to_owned(),
            statuses: Vec::new(),
            error: None,
        }
    }

    /// A request with JSON.
    pub fn post(path: impl Into<String>, body: Option<String>) -> Self {
        Self {
            method: Method::Post,
            body,
            ..Self::get(path)
        }
    }

    /// The status means yes.
    pub(super) fn accepts(&self, status: u16) -> bool {
        if self.statuses.is_empty() {
            return (200..300).contains(&status);
        }
        self.statuses.contains(&status)
    }
}

impl Method {
    /// As it is on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

impl Look {
    /// A look that shows nothing but that the device is there.
    pub fn presence(ask: Ask) -> Self {
        Self {
            ask,
            belongs: None,
            present: None,
            boot_id: None,
            boot_count: None,
            uptime: None,
            cause: None,
            reset_reason: None,
        }
    }

    /// What an answer shows. A value that is not there, or makes no sense, is none.
    pub(super) fn read(&self, body: &Body) -> Reading {
        let text = |find: &Option<Find>| find.as_ref().and_then(|find| find.text(body));
        let reason = text(&self.reset_reason);
        Reading {
            boot_id: text(&self.boot_id).and_then(reading::boot_id),
            uptime: self.uptime.as_ref().and_then(|uptime| uptime.read(body)),
            boot_count: text(&self.boot_count).and_then(|count| count.parse().ok()),
            cause: text(&self.cause).and_then(|id| id.parse().ok()),
            reset_reason: reason.map(|reason| format!("reset reason {}", reading::clip(&reason))),
        }
    }
}

impl Plan {
    /// What kinds of proof its answers hold.
    pub(super) fn proofs(&self) -> Proofs {
        let any = |shows: fn(&Look) -> bool| self.looks.iter().any(shows);
        Proofs {
            identity: any(|look| look.boot_id.is_some() || look.boot_count.is_some()),
            cause: any(|look| look.cause.is_some()),
            uptime: any(|look| look.uptime.is_some()),
            health: self.health.is_some(),
        }
    }

    /// The kind of proof that a baseline has to hold for that, and does not.
    pub(super) fn missing(&self, reading: &Reading) -> Option<&'static str> {
        let any = |shows: fn(&Look) -> bool| self.looks.iter().any(shows);
        if any(|look| look.boot_id.is_some()) && reading.boot_id.is_none() {
            Some("boot id")
        } else if any(|look| look.boot_count.is_some()) && reading.boot_count.is_none() {
            Some("boot count")
        } else if any(|look| look.uptime.as_ref().is_some_and(|uptime| !uptime.lags))
            && reading.uptime.is_none()
        {
            Some("uptime")
        } else {
            None
        }
    }
}

impl Uptime {
    fn read(&self, body: &Body) -> Option<Duration> {
        let count: f64 = self.find.text(body)?.parse().ok()?;
        Duration::try_from_secs_f64(count * self.unit.as_secs_f64()).ok()
    }
}

impl Condition {
    pub(super) fn holds(&self, body: &Body) -> bool {
        self.find.text(body).as_ref() == Some(&self.equals)
    }
}

impl FromStr for Find {
    type Err = regex_lite::Error;

    /// What begins with a slash is a pointer, anything else a regular expression.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') {
            return Ok(Self::Pointer(text.to_owned()));
        }
        text.parse().map(Self::Pattern)
    }
}

impl Find {
    /// The value, as a text.
    pub(super) fn text(&self, body: &Body) -> Option<String> {
        let text = match self {
            Self::Pointer(pointer) => body.value(pointer)?,
            Self::Pointers(pointers) => {
                let values = pointers.iter().map(|pointer| body.value(pointer));
                values.collect::<Option<Vec<_>>>()?.join(" ")
            }
            Self::Pattern(pattern) => {
                let found = pattern.captures(&body.text)?;
                let group = found.get(1).or_else(|| found.get(0))?;
                group.as_str().to_owned()
            }
        };
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Body {
    text: String,
    json: Option<Value>,
}

impl Body {
    fn value(&self, pointer: &str) -> Option<String> {
        match self.json.as_ref()?.pointer(pointer)? {
            Value::String(text) => Some(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    pub(super) fn new(bytes: &[u8]) -> Self {
        Self {
            text: String::from_utf8_lossy(bytes).into_owned(),
            json: serde_json::from_slice(bytes).ok(),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
