//! The reboot contract between the management service and a device's gateway: what travels in the
//! direct method, in its answer and in the twin's reported properties.
//!
//! ```text
//!  mgmt-service                                       device-gateway
//!      │  method `reboot`: RebootCall                       │
//!      ├───────────────────────────────────────────────────►│ journal
//!      │  200/202: Acceptance      4xx, 5xx: Refusal        │
//!      │◄───────────────────────────────────────────────────┤
//!      │  reported `iothubDM.reboot`: Report (state, timeline, evidence)
//!      │◄───────────────────────────────────────────────────┤
//! ```
//!
//! - [`State`], [`Mode`], [`Grade`]: the vocabulary.
//! - [`RebootCall`]: what is asked for; [`Acceptance`] and [`Refusal`]: the two answers.
//! - [`Report`]: what a device's twin says; [`WatchCall`]: asks to be told of the next one.
//! - [`Dialect`]: how devices that are not ours follow the tutorials' conventions.

mod answer;
mod call;
mod dialect;
mod report;
mod state;
mod trace;
mod watch;

pub use answer::{Acceptance, Refusal, RefusalCode};
pub use call::{CallError, MAX_DELAY, MAX_REASON_CHARS, Preconditions, RebootCall, RequestId};
pub use dialect::{CLAIM_PATHS, Dialect};
pub use report::{
    AttemptReport, Blocker, Capabilities, Counters, Evidence, Failure, FailureCode, GatewayInfo,
    HISTORY_LENGTH, HistoryEntry, Origin, Report, SCHEMA, Step,
};
pub use state::{Grade, Mode, State, UnknownName};
pub use trace::{TraceParent, TraceParentError};
pub use watch::{WatchAnswer, WatchCall};

/// The direct methods of the contract.
pub mod method {
    /// Asks for a reboot.
    pub const REBOOT: &str = "reboot";
    /// Asks for a reboot, as the Python tutorial spells it.
    pub const REBOOT_DEVICE: &str = "rebootDevice";
    /// Cancels an attempt; its payload is `{"requestId": …}`.
    pub const CANCEL: &str = "cancelReboot";
    /// Reads an attempt's report; its payload is `{"requestId": …}` or nothing for the newest.
    pub const STATUS: &str = "rebootStatus";
    /// Is answered when the twin holds another report, or the caller's time is up; its payload is a
    /// [`super::WatchCall`].
    pub const WATCH: &str = "rebootWatch";
    /// Reads what the device can do.
    pub const CAPABILITIES: &str = "capabilities";
}
