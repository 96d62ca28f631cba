//! The native MQTT contract, as the device's side of it: topics and messages.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The version of the contract, in each message that begins something.
pub(crate) const VERSION: u32 = 1;

/// What the device says on `status` while it is connected.
pub(crate) const ONLINE: &str = "online";

/// What it says when it leaves, and what the broker says for it when its connection breaks.
pub(crate) const OFFLINE: &str = "offline";

/// The topics of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Device to gateway: which boot this is.
    Birth,
    /// Device to gateway: present or not.
    Status,
    /// Gateway to device: reboot.
    RebootCommand,
    /// Gateway to device: say again which boot this is.
    BirthCommand,
    /// Device to gateway: the answer to a command.
    Ack,
    /// Device to gateway: whether it does its work.
    Health,
}

impl Topic {
    /// The topic's text.
    pub(crate) fn of(self, device: &str) -> String {
        let name = match self {
            Self::Birth => "birth",
            Self::Status => "status",
            Self::RebootCommand => "cmd/reboot",
            Self::BirthCommand => "cmd/birth",
            Self::Ack => "ack",
            Self::Health => "health",
        };
        format!("dm/{device}/{name}")
    }
}

/// A command to reboot. Fields that a later gateway may add are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct RebootCommand {
    /// The request's id, echoed in the acknowledgement and in the next birth.
    pub(crate) id: String,
    /// Whether to stop the device's work first.
    #[serde(default)]
    pub(crate) mode: Mode,
    /// Why, for the device's log.
    #[serde(default)]
    pub(crate) reason: String,
}

/// How to reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Mode {
    /// Say goodbye first.
    #[default]
    Graceful,
    /// At once; the last will speaks for the device.
    Forced,
}

/// The device's word on which boot this is, once per connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Birth<'a> {
    pub(crate) v: u32,
    pub(crate) boot_id: &'a str,
    pub(crate) uptime_sec: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reset_reason: Option<&'a str>,
}

/// The answer to a command: yes.
pub(crate) fn accepted(id: &str) -> Value {
    json!({ "v": VERSION, "id": id, "accepted": true })
}

/// The answer to a command: no, and why.
pub(crate) fn refused(id: &str, message: &str) -> Value {
    json!({ "v": VERSION, "id": id, "accepted": false, "message": message })
}

/// The device's word on its health; a fault is its message.
pub(crate) fn health(fault: Option<&str>) -> Value {
    match fault {
        None => json!({ "healthy": true }),
        Some(message) => json!({ "healthy": false, "message": message }),
    }
}
