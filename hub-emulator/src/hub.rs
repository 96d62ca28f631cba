//! The hub itself: registry, twins, sessions and methods in flight, as one value.
//!
//! No socket, clock, lock or task. Every function takes `now` and returns what is to be done as
//! [`Effect`]s; the [switchboard](crate::switchboard) carries them out.
//!
//! ```text
//!   REST request ──► twins, registry ──┐               ┌──► Publish to a device
//!                                      ├──► Effect(s) ─┼──► Close a connection
//!   MQTT packet ───► session, calls ───┘               └──► Answer a waiting caller
//! ```

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use iot_hub::identity::{DeviceId, ModuleId};
use iot_hub::query::Source;
use iot_hub::topic::HubTopic;
use iot_hub::twin::Twin;

pub(crate) use self::bulk::MAX_BULK;
pub use self::call_log::{MethodOutcome, MethodRecord};
pub(crate) use self::calls::{CallId, MethodAnswer, NotCallable};
pub(crate) use self::configurations::{
    ConfigurationContent, ConfigurationId, ConfigurationRequest, test_queries,
};
pub use self::feedback::{FeedbackRecord, Outcome};
pub(crate) use self::identity::{Authentication, Identity, IdentityRequest, Keys, Status};
pub(crate) use self::jobs::{DeviceOutcome, JobId, JobRequest, Started, Work};
pub(crate) use self::kept::{Line, Newest, is_too_deep};
pub use self::message::{CloudToDeviceMessage, Feedback};
pub(crate) use self::record::{Record, RecordError};
pub(crate) use self::session::{Grant, Qos};
pub use self::telemetry::Telemetry;
pub(crate) use self::twins::TwinChange;

mod bulk;
mod call_log;
mod calls;
mod configurations;
mod entities;
mod feedback;
mod history;
mod identity;
mod inbox;
mod jobs;
mod kept;
mod log;
mod message;
mod record;
mod registry;
mod session;
mod setup;
mod target;
mod telemetry;
#[cfg(test)]
mod tests;
mod twins;

/// The hub's whole state.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    entities: entities::Entities,
    /// Who is at the other end of each live connection.
    links: HashMap<LinkId, EntityId>,
    calls: calls::Calls,
    jobs: jobs::Jobs,
    configurations: configurations::Configurations,
    /// How twins looked, while queries may ask for it.
    history: Option<history::History>,
    inboxes: inbox::Inboxes,
    feedback: feedback::FeedbackQueue,
    telemetry: log::Log<Telemetry>,
    last_link: u64,
    last_generation: u64,
}

/// Something with an identity of its own: a device, or a module of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntityId {
    pub(crate) device: DeviceId,
    pub(crate) module: Option<ModuleId>,
}

impl From<DeviceId> for EntityId {
    fn from(device: DeviceId) -> Self {
        Self {
            device,
            module: None,
        }
    }
}

impl EntityId {
    /// Whether queries find its twin there.
    fn is_in(&self, source: Source) -> bool {
        match source {
            Source::Devices => self.module.is_none(),
            Source::Modules => self.module.is_some(),
            Source::Jobs => false,
        }
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            None => write!(f, "{}", self.device),
            Some(module) => write!(f, "{}/{module}", self.device),
        }
    }
}

/// What the hub knows of one identity.
#[derive(Debug)]
struct Entity {
    identity: Identity,
    twin: Twin,
    session: session::Session,
    inbox: inbox::Inbox,
}

/// One authenticated MQTT connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(u64);

/// What is to be done after a change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Publish to a device.
    Publish {
        link: LinkId,
        topic: HubTopic,
        payload: Bytes,
    },
    /// Publish to a device a message that it is to acknowledge.
    Deliver {
        link: LinkId,
        packet_id: u16,
        duplicate: bool,
        topic: HubTopic,
        payload: Bytes,
    },
    /// Close a connection.
    Close { link: LinkId, reason: CloseReason },
    /// Give a caller its answer.
    Answer { call: CallId, answer: MethodAnswer },
}

/// Why the hub closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The device connected again.
    TakenOver,
    /// The identity was disabled or deleted.
    IdentityChanged,
    /// The token ran out.
    TokenExpired,
    /// A test wants it so.
    Fault,
    /// The client does not read what it is sent.
    TooSlow,
    /// The client sends more than the tier takes.
    Throttled,
    /// The day's messages are used up.
    QuotaExceeded,
    /// The emulator ends.
    ShuttingDown,
}
