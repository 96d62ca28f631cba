//! How the gateway reaches one kind of local device.
//!
//! A driver carries out single steps and reports what it saw. When to take which step, how long to
//! wait, what to write down and what the observations prove is the engine's business: a driver
//! keeps no attempt, judges no evidence and retries nothing.
//!
//! ```text
//!   probe ─ baseline ─ trigger ─ observe, observe, … ─ health, health, …
//!              │                    ▲
//!              └──── journal ───────┘   the baseline may be months and one power cut old
//! ```

pub mod command;
#[cfg(test)]
pub(crate) mod conformance;
mod hints;
pub mod host;
pub mod http;
pub mod mqtt;
pub mod onvif;
pub(crate) mod power;
mod reading;
pub mod redfish;
pub mod snmp;
pub mod ssh;

use std::{collections::BTreeMap, fmt, future, os::fd::OwnedFd, time::Duration};

use futures_util::future::BoxFuture;
use iot_hub::reboot::{Blocker, Grade, Mode, RequestId};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use self::hints::{Hinter, Hints};

/// How long a driver may take for one step. Drivers have their own, shorter limits; this one is for
/// a driver that hangs.
pub(crate) const STEP_LIMIT: Duration = Duration::from_secs(60);

/// One local device, as its protocol shows it.
///
/// Every call may take as long as the protocol needs, but has to end: a driver puts its own limits
/// on what it sends and waits for. A call may be dropped half-way, and is after a minute.
pub trait Driver: fmt::Debug + Send + Sync {
    /// Reads what the device can do and which boot it is in.
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>>;

    /// Lists what forbids a reboot for now, by a name that stays the same while it lasts.
    fn blockers(
        &self,
        mode: Mode,
    ) -> BoxFuture<'_, Result<BTreeMap<String, Blocker>, DriverError>> {
        let _ = mode;
        Box::pin(future::ready(Ok(BTreeMap::new())))
    }

    /// Reads what [`Driver::observe`] will be compared with after the reboot.
    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>>;

    /// Gives the reboot command, once. The engine never calls it twice for one id.
    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>>;

    /// Sees to it that the device has its power after a power cycle whose end nobody saw. It may be asked
    /// again, and may take as long as the cycle; a driver that takes no power away has nothing to do.
    fn restore_power(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(future::ready(Ok(())))
    }

    /// Looks at the device now. One that says nothing is [`DriverError::Unreachable`], which is an
    /// absence only when it lasts; [`DriverError::Absent`] is one at once.
    fn observe<'a>(
        &'a self,
        baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>>;

    /// Asks whether the device does its work.
    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>>;

    /// Tells when it is worth observing the device at once, for a protocol on which the device speaks
    /// by itself.
    fn hints(&self) -> Option<Hints> {
        None
    }

    /// Listens to what the device announces of itself, for as long as the receiver is kept.
    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        None
    }
}

/// What a device announces of itself.
#[derive(Debug)]
pub enum Notice {
    /// It is about to go down, whoever asked for that, and waits a moment for this to be dropped.
    ShutdownBegins(Delay),
    /// It does not go down, after all.
    ShutdownCalledOff,
}

/// Holds up a device that is about to go down, for as long as the device's own limit lets it.
#[derive(Debug)]
pub struct Delay {
    _held: Option<OwnedFd>,
}

impl Delay {
    /// A delay that lasts until this is closed.
    pub(crate) fn of(held: Option<OwnedFd>) -> Self {
        Self { _held: held }
    }
}

/// What a device can do, and which boot it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The modes that [`Driver::trigger`] knows.
    pub modes: Vec<Mode>,
    /// The strongest evidence that its observations can ever give.
    pub best_grade: Grade,
    /// The evidence it takes for a success when neither caller nor configuration names one.
    pub required_grade: Grade,
    /// The present boot identity, where there is one.
    pub boot_id: Option<String>,
    /// The gateway itself goes down with this device: it is the gateway's host.
    pub restarts_gateway: bool,
}

/// What a device looked like before a reboot. It is journalled, and outlives the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// The boot identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// How long it had been up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<Duration>,
    /// How often it had booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_count: Option<u64>,
    /// The same for a person, and whatever else the driver needs to compare.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The command to reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The request that asked for it; a device that can is told, and echoes it after its boot.
    pub id: RequestId,
    /// How to reboot.
    pub mode: Mode,
    /// Go on although something on the device objects.
    pub force: bool,
    /// Do everything but the reboot itself.
    pub dry_run: bool,
    /// Why, for the device's log.
    pub reason: String,
}

impl Order {
    /// Fills in what stands for the order's own in a command or request: `{id}` and `{mode}`. Neither
    /// has a character that any shell or encoding would take for its own.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("{id}", &self.id.to_string())
            .replace("{mode}", self.mode.name())
    }

    /// Refuses a power cycle, which no device can give itself.
    pub(crate) fn needs_no_outlet(&self) -> Result<(), DriverError> {
        match self.mode {
            Mode::Graceful | Mode::Forced => Ok(()),
            Mode::PowerCycle => Err(DriverError::Unsupported(
                "a device cannot take its own power away".into(),
            )),
        }
    }
}

impl Order {
    /// The reason as a script gets it: it expects one line, and an environment cannot hold a NUL.
    pub(crate) fn one_line_reason(&self) -> String {
        self.reason.replace(char::is_control, " ")
    }
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Triggered {
    /// The device said yes.
    Acknowledged,
    /// The command was carried out, as far as it goes beside the device itself: this was seen of it.
    Seen(String),
    /// The command left and nobody confirmed it. Not an error: a device that reboots at once
    /// cannot answer. The evidence decides.
    Unacknowledged,
    /// A dry run: all but the command was done.
    Rehearsed,
}

/// What a device looks like now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// It answers, or its connection stands.
    pub present: bool,
    /// It was seen absent since the command, as far as the driver could see.
    pub was_absent: bool,
    /// The boot identity.
    pub boot_id: Option<String>,
    /// How long it has been up.
    pub uptime: Option<Duration>,
    /// How often it has booted.
    pub boot_count: Option<u64>,
    /// The request whose command caused this boot, in the device's own words.
    pub caused_by: Option<RequestId>,
    /// How the strongest of these was obtained: `mqtt-birth`, `linux-boot-id`, `command`.
    pub method: &'static str,
    /// The same for a person.
    pub detail: String,
}

/// Whether a device does its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Healthy,
    /// It does not, and this is why.
    Unhealthy(String),
    /// It offers no way to tell. No evidence beyond [`Grade::Caused`] then.
    Unknown,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The device does not answer. It may be away, and a network that loses a message looks the same.
    #[error("reach the device: {0}")]
    Unreachable(String),
    /// The device is away: whoever knows it says so, or its machine turns connections away.
    #[error("the device is away: {0}")]
    Absent(String),
    /// The device said no, and nothing happened.
    #[error("the device refused: {0}")]
    Refused(String),
    /// The device cannot do that.
    #[error("not offered by the device: {0}")]
    Unsupported(String),
    /// The step failed on our side of the line.
    #[error("{doing}: {message}")]
    Failed {
        /// What was being done, as a verb phrase.
        doing: &'static str,
        /// What went wrong.
        message: String,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    //! What the tests of all drivers have in common.

    use uuid::Uuid;

    use super::*;

    /// The request of every order.
    pub(crate) const ID: RequestId = RequestId(Uuid::from_u128(7));

    /// A command to reboot.
    pub(crate) fn order(mode: Mode) -> Order {
        Order {
            id: ID,
            mode,
            force: false,
            dry_run: false,
            reason: "test".into(),
        }
    }

    /// The same, but for the reboot itself.
    pub(crate) fn rehearsal(mode: Mode) -> Order {
        Order {
            dry_run: true,
            ..order(mode)
        }
    }
}
