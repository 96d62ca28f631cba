//! IoT Hub's protocols, as values.
//!
//! This crate knows what a hub, its devices and its service clients say to each other over MQTT and
//! HTTPS. It does no I/O, spawns no task and reads no clock, so both ends of every wire are built
//! from it, and each of its rules is tested without a network.
//!
//! ```text
//!   device-gateway                    hub-emulator                     mgmt-service
//!  ┌─────────────┐   MQTT topics,    ┌─────────────┐  REST bodies,    ┌─────────────┐
//!  │ DeviceTopic │──── payloads ────►│ sas, query, │◄──── queries ────│ MethodCall, │
//!  │ HubTopic    │◄──────────────────│ twin, error │─────────────────►│ Twin, error │
//!  └─────────────┘   (this crate)    └─────────────┘   (this crate)   └─────────────┘
//! ```
//!
//! # Where to look
//!
//! - [`identity`]: hub hosts, device and module ids, connection strings, the user name of an MQTT
//!   CONNECT.
//! - [`sas`]: making and checking shared access signatures, given a key and `now`.
//! - [`topic`]: every MQTT topic and subscription as a type, in both directions.
//! - [`twin`]: the device twin: merge patch, limits, versions, metadata, the REST document.
//! - [`method`]: a direct method's call and answer.
//! - [`query`]: the twin query language: parse and evaluate.
//! - [`error`]: the hub's error codes and the bodies that carry them, in both directions.
//! - [`provisioning`]: how a device learns from the Device Provisioning Service which hub is its
//!   own.
//! - [`reboot`]: the contract of this project's own method and report.
//! - [`etag`]: entity tags and the `If-Match` header.
//!
//! # Invariants
//!
//! - Nothing here reads a clock, opens a file or socket, or starts a task; `clippy.toml` holds this
//!   rule.
//! - Parsing and printing are inverse: `x.to_string().parse() == Ok(x)` for every value of a type
//!   that has both.
//! - No input makes a parser panic, however long, deep or malformed.

pub mod error;
pub mod etag;
pub mod identity;
pub mod method;
mod percent;
pub mod provisioning;
pub mod query;
pub mod reboot;
pub mod sas;
mod time;
pub mod topic;
pub mod twin;
