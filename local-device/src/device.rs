//! The device without its connection: what it says, and when it goes down.

use std::time::Duration;

use serde_json::Value;

use crate::{
    behavior::Behavior,
    contract::{self, Birth, Mode, ONLINE, RebootCommand, Topic},
    flash::{Flash, Reset},
};

/// How long after its boot the watchdog of [`Behavior::Twice`] bites: long enough for the birth to
/// be told, short enough to fall into anybody's settle time.
const WATCHDOG: Duration = Duration::from_millis(300);

/// What an unhealthy device says.
const FAULT: &str = "the pump does not turn";

/// What the device wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Publish, with QoS 1.
    Publish {
        topic: Topic,
        payload: String,
        retain: bool,
    },
    /// Write the flash, before anything that follows.
    WriteFlash,
    /// Go down.
    Leave(Leave),
}

/// How the device goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Once everything published is acknowledged, with a DISCONNECT: its last will is not published.
    Gracefully,
    /// Once everything published is acknowledged, with a broken connection.
    Abruptly,
    /// Now, with a broken connection.
    AtOnce,
}

/// The device in one boot.
#[derive(Debug)]
pub(crate) struct Device {
    behavior: Behavior,
    flash: Flash,
    leaving: bool,
}

impl Device {
    /// A device that has just booted with that flash.
    pub(crate) fn new(behavior: Behavior, flash: Flash) -> Self {
        Self {
            behavior,
            flash,
            leaving: false,
        }
    }

    /// What it keeps for its next boot.
    pub(crate) fn flash(&self) -> &Flash {
        &self.flash
    }

    /// When the watchdog will bite, counted from the boot.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        (self.behavior == Behavior::Twice && self.flash.cause_id.is_some()).then_some(WATCHDOG)
    }

    /// The connection stands: say who is there.
    pub(crate) fn on_connected(&self) -> Vec<Output> {
        let online = retained(Topic::Status, ONLINE.to_owned());
        if self.behavior == Behavior::StaleOnline && self.flash.rebooted_by_command {
            return vec![online];
        }
        let birth = Birth {
            v: contract::VERSION,
            boot_id: &self.flash.boot_id.to_string(),
            uptime_sec: self.flash.uptime().as_secs_f64(),
            cause_id: self.flash.cause_id.as_deref(),
            reset_reason: Some(&self.flash.reset_reason),
        };
        let sick = self.behavior == Behavior::Unhealthy && self.flash.rebooted_by_command;
        let health = contract::health(sick.then_some(FAULT));
        vec![
            retained(Topic::Birth, serde_json::json!(birth).to_string()),
            online,
            retained(Topic::Health, health.to_string()),
        ]
    }

    /// Somebody cannot tell how old its birth is.
    pub(crate) fn on_asked_for_birth(&self) -> Vec<Output> {
        if self.leaving {
            return Vec::new();
        }
        self.on_connected()
    }

    /// A message on the command topic.
    pub(crate) fn on_command(&mut self, payload: &[u8]) -> Vec<Output> {
        if self.leaving {
            return Vec::new();
        }
        let command = match read_command(payload) {
            Ok(command) => command,
            Err(None) => return Vec::new(),
            Err(Some((id, message))) => return vec![answer(contract::refused(&id, &message))],
        };
        tracing::info!(id = command.id, reason = command.reason, "told to reboot");
        let known = self.flash.handled.contains(&command.id);
        match self.behavior {
            Behavior::Refuses => vec![answer(contract::refused(&command.id, "busy"))],
            Behavior::AckAndNothing => vec![answer(contract::accepted(&command.id))],
            Behavior::HeedsForce if command.mode == Mode::Graceful => {
                vec![answer(contract::accepted(&command.id))]
            }
            Behavior::NoAck if known => Vec::new(),
            // A broker may deliver a command again: it is answered again, and done once.
            Behavior::WellBehaved
            | Behavior::Twice
            | Behavior::StaleOnline
            | Behavior::Unhealthy
            | Behavior::NeverReturns
            | Behavior::Instant
            | Behavior::RestartSameBoot
            | Behavior::HeedsForce
                if known =>
            {
                vec![answer(contract::accepted(&command.id))]
            }
            Behavior::NoAck => {
                self.prepare(&command);
                vec![Output::WriteFlash, Output::Leave(Leave::AtOnce)]
            }
            Behavior::StaleOnline => {
                self.prepare(&command);
                vec![
                    Output::WriteFlash,
                    answer(contract::accepted(&command.id)),
                    Output::Leave(Leave::Gracefully),
                ]
            }
            Behavior::WellBehaved
            | Behavior::Twice
            | Behavior::Unhealthy
            | Behavior::NeverReturns
            | Behavior::Instant
            | Behavior::RestartSameBoot
            | Behavior::HeedsForce => {
                self.prepare(&command);
                let mut outputs = vec![Output::WriteFlash, answer(contract::accepted(&command.id))];
                match command.mode {
                    Mode::Graceful => {
                        outputs.push(retained(Topic::Status, contract::OFFLINE.to_owned()));
                        outputs.push(Output::Leave(Leave::Gracefully));
                    }
                    Mode::Forced => outputs.push(Output::Leave(Leave::Abruptly)),
                }
                outputs
            }
        }
    }

    /// The watchdog bites.
    pub(crate) fn on_watchdog(&mut self) -> Vec<Output> {
        self.leaving = true;
        self.flash.pending = Some(Reset {
            cause_id: None,
            reason: "watchdog".to_owned(),
        });
        vec![Output::WriteFlash, Output::Leave(Leave::AtOnce)]
    }

    /// Writes down why the next boot will come to be.
    fn prepare(&mut self, command: &RebootCommand) {
        self.leaving = true;
        self.flash.remember(&command.id);
        self.flash.rebooted_by_command = true;
        self.flash.pending = Some(Reset {
            cause_id: Some(command.id.clone()),
            reason: "software".to_owned(),
        });
    }
}

fn answer(payload: Value) -> Output {
    Output::Publish {
        topic: Topic::Ack,
        payload: payload.to_string(),
        retain: false,
    }
}

fn retained(topic: Topic, payload: String) -> Output {
    Output::Publish {
        topic,
        payload,
        retain: true,
    }
}

/// Reads a command. One that cannot be read but has an id is answered: its id and what is wrong.
fn read_command(payload: &[u8]) -> Result<RebootCommand, Option<(String, String)>> {
    let value: Value = serde_json::from_slice(payload).map_err(|error| {
        tracing::warn!(%error, "ignored a command that is not JSON");
        None
    })?;
    let id = value.get("id").and_then(Value::as_str).map(str::to_owned);
    serde_json::from_value(value).map_err(|error| {
        tracing::warn!(%error, "cannot read a command");
        id.map(|id| (id, format!("unreadable command: {error}")))
    })
}

#[cfg(test)]
#[path = "device/tests.rs"]
mod tests;
