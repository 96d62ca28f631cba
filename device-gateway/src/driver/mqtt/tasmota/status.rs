//! What a Tasmota says of itself. Pure: messages in, a picture out.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::driver::{
    mqtt::{
        contact::{Answer, Contact},
        watched::Picture,
    },
    reading::{Reading, clip},
};

/// What a device has shown of itself.
#[derive(Debug)]
pub(super) struct View {
    contact: Contact,
    topic: String,
    /// What it last said on this connection, and when.
    status: Option<(Status, Instant)>,
    /// How often it said so.
    count: u64,
}

/// What a `Status 1` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Status {
    boot_count: Option<u64>,
    uptime: Option<Duration>,
    reset_reason: Option<String>,
}

impl View {
    pub(super) fn new(topic: &str) -> Self {
        Self {
            contact: Contact::default(),
            topic: topic.to_owned(),
            status: None,
            count: 0,
        }
    }

    /// How often it has told its status.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Its status, if it told that since it had told it so often. A boot that is not that old has
    /// not been counted.
    pub(super) fn newer_than(
        &self,
        count: u64,
        now: Instant,
        counted_after: Duration,
    ) -> Option<Reading> {
        let (status, at) = self.status.as_ref().filter(|_| self.count > count)?;
        let counted = status.uptime >= Some(counted_after);
        let since = now.saturating_duration_since(*at);
        Some(Reading {
            boot_count: status.boot_count.filter(|_| counted),
            uptime: status.uptime.map(|uptime| uptime.saturating_add(since)),
            reset_reason: status.reset_reason.clone(),
            ..Reading::default()
        })
    }
}

impl Picture for View {
    fn contact(&mut self) -> &mut Contact {
        &mut self.contact
    }

    fn forget(&mut self) {
        self.status = None;
    }

    fn message_elsewhere(
        &mut self,
        topic: &str,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), serde_json::Error> {
        let Some((kind, name)) = topic.split_once('/') else {
            return Ok(());
        };
        let name = name.strip_prefix(&self.topic);
        match (kind, name.and_then(|name| name.strip_prefix('/'))) {
            ("tele", Some("LWT")) if payload == b"Offline" => {
                self.contact.says_offline();
                self.forget();
            }
            ("tele", Some("LWT")) => self.contact.says_online(),
            // Once after each boot.
            ("tele", Some("INFO3")) => self.contact.hint(),
            ("stat", Some("STATUS1")) => {
                let told: Told = serde_json::from_slice(payload)?;
                self.status = Some((told.parameters.status(), now));
                self.count += 1;
            }
            ("stat", Some("RESULT")) => {
                let result: Outcome = serde_json::from_slice(payload)?;
                if let Some(restart) = result.restart {
                    self.contact.answered(answer(&restart));
                }
            }
            (_, _) => {}
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
struct Told {
    #[serde(rename = "StatusPRM")]
    parameters: Parameters,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameters {
    #[serde(default)]
    boot_count: Option<u64>,
    #[serde(default)]
    uptime: Option<String>,
    /// A text, or what a crash left.
    #[serde(default)]
    restart_reason: Option<Value>,
}

impl Parameters {
    fn status(self) -> Status {
        Status {
            boot_count: self.boot_count,
            uptime: self.uptime.as_deref().and_then(uptime),
            reset_reason: self.restart_reason.as_ref().map(words),
        }
    }
}

/// The answer to any command; only one is of interest.
#[derive(Debug, Deserialize)]
struct Outcome {
    #[serde(default, rename = "Restart")]
    restart: Option<Value>,
}

fn answer(restart: &Value) -> Answer {
    if restart == "Restarting" {
        Answer::Accepted
    } else {
        Answer::Refused(words(restart))
    }
}

fn words(value: &Value) -> String {
    match value.as_str() {
        Some(words) => clip(words),
        None => clip(&value.to_string()),
    }
}

/// Reads an uptime as `3T04:05:06`: days, hours, minutes, seconds.
fn uptime(text: &str) -> Option<Duration> {
    let (days, time) = text.split_once('T')?;
    let mut seconds = 0_u64;
    let mut parts = time.split(':');
    let units = [
        (Some(days), 86_400),
        (parts.next(), 3_600),
        (parts.next(), 60),
        (parts.next(), 1),
    ];
    for (part, unit) in units {
        let part = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        let part = part.parse::<u32>().ok()?;
        seconds += u64::from(part) * unit;
    }
    parts.next().is_none().then(|| Duration::from_secs(seconds))
}

/// Shows a view whatever a device may send: a topic, a line's end and a payload, and a zero byte before
/// the next. Panics when a promise does not hold.
pub(crate) fn fuzz(data: &[u8]) {
    let mut view = View::new("t");
    view.connect();
    let now = Instant::now();
    for message in data.split(|byte| *byte == 0) {
        let mut parts = message.splitn(2, |byte| *byte == b'\n');
        let topic = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let _ = view.message_elsewhere(&topic, parts.next().unwrap_or_default(), now);
        let counted_after = Duration::from_secs(12);
        if let Some(reading) = view.newer_than(0, now, counted_after) {
            assert!(reading.boot_count.is_none() || reading.uptime >= Some(counted_after));
        }
    }
}

#[cfg(test)]
#[path = "status/tests.rs"]
mod tests;
