//! Faults on demand: what a hub does on a bad day, one typed value each.
//!
//! A fault is injected, takes effect on the next operations that it fits (a number of times, or
//! until it is removed), and counts how often it did. [`Faults::fired`] awaits that count, so a
//! test never has to guess how long to sleep:
//!
//! ```no_run
//! # async fn example(emulator: hub_emulator::Emulator) {
//! use hub_emulator::{Fault, Times};
//!
//! let device = "d1".parse().expect("a valid device id");
//! let withheld = emulator.faults().inject(Fault::WithholdTwinAnswers { device }, Times::Always);
//! // ... the device reports something ...
//! emulator.faults().fired(withheld, 1).await; // the hub has it, the device does not know
//! emulator.faults().remove(withheld); // and now it learns
//! # }
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use iot_hub::identity::DeviceId;
use jiff::SignedDuration;

pub(crate) use self::document::read;
pub use self::plan::InjectedFault;
pub(crate) use self::plan::{InjectedAnswer, Plan};
use crate::switchboard::{CloseReason, Switchboard};

mod document;
mod plan;

/// Something that goes wrong.
///
/// Where a `device` is optional, `None` means every device, and what is no device's too. An operation
/// is a device's when it is asked for by the device or names it: a query and a job are nobody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Operations are answered with this status and take no effect.
    Answer {
        /// Which operations; `None` means all of them.
        operation: Option<Operation>,
        /// Whose.
        device: Option<DeviceId>,
        /// The status: an HTTP status over REST, a twin status over MQTT.
        status: u16,
        /// The `Retry-After` header of a REST answer, which the real hub was never seen to send, or
        /// the `retry-after` of a registration's.
        retry_after: Option<Duration>,
    },
    /// Operations are handled only after a while.
    Delay {
        /// Which operations; `None` means all of them.
        operation: Option<Operation>,
        /// Whose.
        device: Option<DeviceId>,
        /// How long.
        by: Duration,
    },
    /// MQTT CONNECT packets are refused.
    RefuseConnect {
        /// Whose.
        device: Option<DeviceId>,
        /// How.
        refusal: ConnectRefusal,
    },
    /// The acknowledgements of a device's QoS 1 messages are kept back until the fault is removed.
    WithholdAcks {
        /// Whose.
        device: DeviceId,
    },
    /// The answers to a device's twin requests are kept back until the fault is removed. The
    /// requests themselves take effect.
    WithholdTwinAnswers {
        /// Whose.
        device: DeviceId,
    },
    /// The device gets a direct method and answers it, but the answer is lost on the way: the
    /// caller waits out its response timeout and gets 504101.
    LoseMethodAnswer {
        /// Whose.
        device: Option<DeviceId>,
    },
    /// The device gets a direct method twice, the second time under another request id. The first
    /// answer counts.
    RedeliverMethod {
        /// Whose.
        device: Option<DeviceId>,
    },
    /// The hub's clock is not the client's when it looks at a token: it is so far ahead, or behind
    /// when this is negative.
    SkewClock {
        /// Whose tokens.
        device: Option<DeviceId>,
        /// How far.
        by: SignedDuration,
    },
    /// Queries see twins as they were so long ago, but not as they were before the fault was
    /// injected. Single twins are read as they are.
    DelayQueries {
        /// How long ago.
        by: Duration,
    },
}

/// What a client can ask of the hub, as far as faults tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// GET of a twin over REST.
    ServiceTwinRead,
    /// PATCH or PUT of a twin over REST.
    ServiceTwinUpdate,
    /// A direct method over REST.
    MethodCall,
    /// A query over REST.
    Query,
    /// Jobs over REST: made, read, listed, cancelled.
    Job,
    /// Configurations over REST.
    Configuration,
    /// Identities and statistics over REST.
    Registry,
    /// A device's twin GET over MQTT.
    DeviceTwinRead,
    /// A device's reported patch over MQTT.
    DeviceTwinUpdate,
    /// What a device asks the provisioning service: for a hub, and what became of that. The device
    /// is called as it registers.
    Registration,
}

/// How an MQTT CONNECT is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRefusal {
    /// CONNACK 3: the hub is over its quota or restarting. Every SDK tries again.
    ServerUnavailable,
    /// CONNACK 5. Microsoft's Python SDK then gives up for good.
    NotAuthorized,
    /// The socket closes without a CONNACK.
    Close,
}

/// How often a fault takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Every time, until it is removed.
    Always,
    /// The next so many times.
    Next(u64),
}

/// Names an injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FaultId(u64);

impl FaultId {
    pub(crate) fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Injects faults into a running emulator; see [`crate::Emulator::faults`].
#[derive(Clone)]
pub struct Faults {
    switchboard: Arc<Switchboard>,
}

impl Faults {
    pub(crate) fn new(switchboard: Arc<Switchboard>) -> Self {
        Self { switchboard }
    }

    /// Adds a fault. Of several that fit an operation the oldest takes effect.
    pub fn inject(&self, fault: Fault, times: Times) -> FaultId {
        self.switchboard
            .change(|state, _| state.add_fault(fault, times))
    }

    /// The faults that were injected and not removed, oldest first, used up or not.
    #[must_use]
    pub fn list(&self) -> Vec<InjectedFault> {
        self.switchboard.read(|state| state.faults.list())
    }

    /// How often a fault has taken effect so far; 0 for one that was removed.
    #[must_use]
    pub fn fired_so_far(&self, fault: FaultId) -> u64 {
        self.switchboard.read(|state| state.faults.fired(fault))
    }

    /// Waits until a fault has taken effect at least so many times.
    pub async fn fired(&self, fault: FaultId, at_least: u64) {
        self.switchboard
            .wait_until(|state| state.faults.fired(fault) >= at_least)
            .await;
    }

    /// Ends a fault; returns whether there was one. What it withheld is sent now, in order, to
    /// connections that still live.
    pub fn remove(&self, fault: FaultId) -> bool {
        self.switchboard.change(|state, _| {
            let known = state.faults.remove(fault);
            state.end_effects_of_removed_faults();
            known
        })
    }

    /// Ends every fault.
    pub fn clear(&self) {
        self.switchboard.change(|state, _| {
            state.faults.clear();
            state.end_effects_of_removed_faults();
        });
    }

    /// Closes a device's connection without a word. Returns whether there was one.
    pub fn cut(&self, device: &str) -> bool {
        let Ok(device) = device.parse::<DeviceId>() else {
            return false;
        };
        self.switchboard.close_device(&device, CloseReason::Fault)
    }

    /// Closes every device's connection without a word.
    pub fn cut_all(&self) {
        self.switchboard.close_all(CloseReason::Fault);
    }

    /// Forgets every kept session: the next connection finds no subscriptions. Connected devices
    /// keep theirs until they reconnect.
    pub fn forget_sessions(&self) {
        self.switchboard
            .change(|state, _| state.hub.forget_sessions());
    }

    /// Makes the hub unreachable: live connections end, and new ones are closed at once, before
    /// TLS begins. The ports stay taken, so that [`Faults::resume`] always succeeds.
    pub fn pause(&self) {
        self.switchboard.set_paused(true);
    }

    /// Makes the hub reachable again.
    pub fn resume(&self) {
        self.switchboard.set_paused(false);
    }

    /// Whether the hub is out of reach now.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        *self.switchboard.paused().borrow()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.switchboard
            .read(|state| f.debug_tuple("Faults").field(&state.faults).finish())
    }
}
