//! What a device on the local endpoint has shown of itself. Pure: events in, a picture out.
//!
//! Only the present connection counts. What an earlier one said may be as old as that connection,
//! so a device that is connected and has not yet sent its birth is in an unknown boot, whatever it
//! sent before.
//!
//! ```text
//!                    birth                 health
//!   Connected ─────────────────► born ───────────────► healthy or not
//!       ▲  │ `offline`, Disconnected: all of it is forgotten, but for the count of absences
//!       └──┘
//! ```

use std::time::{Duration, Instant};

use iot_hub::reboot::RequestId;
use serde::{Deserialize, de::Error as _};

use super::{
    contact::{Answer, Contact},
    watched::Picture,
};
use crate::driver::{
    Health,
    reading::{BOOT_ID_CHARS, boot_id, clip},
};

/// What a device has shown of itself.
#[derive(Debug, Default)]
pub(super) struct View {
    contact: Contact,
    boot: Option<Boot>,
    health: Option<Health>,
}

/// The boot that a device is in, in its own words on the present connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) id: String,
    pub(super) cause: Option<RequestId>,
    /// How long it had lasted, and when that was said.
    uptime: Option<(Duration, Instant)>,
    pub(super) reset_reason: Option<String>,
}

impl Picture for View {
    fn contact(&mut self) -> &mut Contact {
        &mut self.contact
    }

    fn forget(&mut self) {
        self.boot = None;
        self.health = None;
    }

    fn message(
        &mut self,
        name: &str,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), serde_json::Error> {
        match name {
            "birth" => {
                let birth: Birth = serde_json::from_slice(payload)?;
                self.contact.says_online();
                self.health = None;
                self.boot = None;
                self.boot = Some(birth.boot(now)?);
            }
            "status" if payload == b"offline" => {
                self.contact.says_offline();
                self.forget();
            }
            "status" => self.contact.says_online(),
            "health" => {
                let health: HealthMessage = serde_json::from_slice(payload)?;
                // Before the birth it may be a leftover of the boot before.
                if self.boot.is_some() {
                    self.health = Some(health.health());
                    self.contact.hint();
                }
            }
            "ack" => {
                let ack: Ack = serde_json::from_slice(payload)?;
                if ack.id.parse().ok() == self.contact.awaited() {
                    self.contact.answered(ack.answer());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl View {
    /// The boot it is in, if it said so on this connection.
    pub(super) fn boot(&self) -> Option<&Boot> {
        self.boot.as_ref()
    }

    /// What it last said of its health since its birth.
    pub(super) fn health(&self) -> Health {
        self.health.clone().unwrap_or(Health::Unknown)
    }
}

impl Boot {
    /// How long it has lasted by now.
    pub(super) fn uptime(&self, now: Instant) -> Option<Duration> {
        let (said, at) = self.uptime?;
        Some(said.saturating_add(now.saturating_duration_since(at)))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Birth {
    boot_id: String,
    #[serde(default)]
    uptime_sec: Option<f64>,
    #[serde(default)]
    cause_id: Option<String>,
    #[serde(default)]
    reset_reason: Option<String>,
}

impl Birth {
    /// The boot that this birth is of.
    fn boot(self, now: Instant) -> Result<Boot, serde_json::Error> {
        let id = boot_id(self.boot_id).ok_or_else(|| {
            serde_json::Error::custom("bootId has to be 1 to 128 printable characters")
        })?;
        Ok(Boot {
            cause: self.cause_id.and_then(|id| id.parse().ok()),
            uptime: self
                .uptime_sec
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .map(|uptime| (uptime, now)),
            reset_reason: self.reset_reason.as_deref().map(clip),
            id,
        })
    }
}

#[derive(Debug, Deserialize)]
struct HealthMessage {
    healthy: bool,
    #[serde(default)]
    message: Option<String>,
}

impl HealthMessage {
    fn health(self) -> Health {
        if self.healthy {
            Health::Healthy
        } else {
            Health::Unhealthy(clip(&self.message.unwrap_or_default()))
        }
    }
}

#[derive(Debug, Deserialize)]
struct Ack {
    id: String,
    accepted: bool,
    #[serde(default)]
    message: Option<String>,
}

impl Ack {
    fn answer(self) -> Answer {
        if self.accepted {
            Answer::Accepted
        } else {
            Answer::Refused(clip(&self.message.unwrap_or_default()))
        }
    }
}

/// Shows a view whatever a device may send: a message's name, a line's end and its payload, and a zero
/// byte before the next. Panics when a promise does not hold.
pub(crate) fn fuzz(data: &[u8]) {
    let mut view = View::default();
    view.connect();
    if let Ok(id) = "00000000-0000-0000-0000-000000000000".parse() {
        view.contact.await_answer(id);
    }
    let now = Instant::now();
    for message in data.split(|byte| *byte == 0) {
        let mut parts = message.splitn(2, |byte| *byte == b'\n');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
        let (present, boot) = (view.contact.is_present(), view.boot.clone());
        let taken = view.message(&name, parts.next().unwrap_or_default(), now);
        if let Some(boot) = view.boot() {
            assert!(!boot.id.is_empty() && boot.id.chars().count() <= BOOT_ID_CHARS);
        }
        // What cannot be read neither takes a device away nor tells of a boot. Its boot may be unknown
        // after it: a birth that names none that can be read.
        if taken.is_err() {
            assert!(view.contact.is_present() >= present);
            assert!(view.boot.is_none() || view.boot == boot);
        }
    }
}

#[cfg(test)]
#[path = "view/tests.rs"]
mod tests;
