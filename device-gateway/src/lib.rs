//! Bridges devices onto IoT Hub, reboots them when asked, and proves that they rebooted.
//!
//! # Where to look
//!
//! - [`engine`]: the gateway's half of an attempt, and [`evidence`]: what an observation proves.
//! - [`backlog`]: the telemetry of a local device on its way to the hub.
//! - [`journal`]: what must survive power loss, [`outbox`]: what waits for the hub, and [`storage`]: the file of both.
//! - `safety`: what must say yes before a command, and the order of a host and its devices.
//! - [`driver`]: how one kind of local device is reached.
//! - [`local_mqtt`]: the MQTT endpoint for devices on the local network.
//! - [`config`]: the settings.

pub mod backlog;
mod causes;
pub mod config;
mod device;
pub mod driver;
pub mod engine;
pub mod evidence;
mod fleet;
pub mod fuzzing;
mod gateway;
mod host;
mod hub_link;
pub mod inspect;
pub mod instruments;
pub mod journal;
pub mod local_mqtt;
pub mod outbox;
mod pulse;
mod queue;
mod rising;
mod safety;
pub mod storage;

pub use fleet::Changes;
pub use gateway::{Gateway, GatewayError, Reload, ReloadError};
pub use hub_link::TlsSetupError;
