//! Reboots devices over IoT Hub and follows them to a verdict.
//!
//! ```text
//!   gRPC callers                                                       the hub
//!       │  ▲                                                            ▲  │
//!       ▼  │ messages                                          HTTPS    │  ▼
//!   ┌──────────┐  domain types  ┌──────────────────────────┐       ┌──────────┐
//!   │   api    │ ◄────────────► │ service: one task for    │ ────► │   hub    │
//!   └──────────┘                │ each open attempt        │ calls └──────────┘
//!                               └──────────────────────────┘            ▲ twin reads
//!                        inputs │ ▲ events, effects │ changes           │
//!                               ▼ │                 ▼              ┌──────────┐
//!                         ┌──────────┐        ┌──────────┐         │  poller  │
//!                         │ attempt  │        │  store   │         └──────────┘
//!                         │ (pure)   │        │ (SQLite) │
//!                         └──────────┘        └──────────┘
//! ```
//!
//! # Where to look
//!
//! - [`attempt`]: the life of an attempt, a state machine without clock or I/O.
//! - [`service`]: begins attempts, drives each in a task of its own, lets others follow them.
//! - [`poller`]: which twin is read next, within the hub's quota.
//! - [`durations`]: how long reboots take, as far as that was learned.
//! - [`quota`]: what the hub allows, and how callers share it.
//! - [`hub`]: the hub's REST API; it and `http` alone know HTTP.
//! - [`audit`]: the audit of refusals, bounded.
//! - [`store`]: attempts, events and the audit on disk; SQLite stays behind it.
//! - [`api`]: the gRPC API; protobuf stays inside it.
//! - [`metrics`]: what is counted and measured; [`readiness`]: whether the service can work.
//! - [`access`]: who calls, and what it may do.
//! - [`listener`], [`tls`], [`certificate`]: connections, and who is at the other end.
//! - [`config`]: the settings; [`reload`]: their changes while the service runs.
//! - [`vital`]: the tasks whose death ends the service. An attempt's is taken up again, as after a
//!   restart (`service/runner/again.rs`).
//!
//! # Invariants
//!
//! - **A change is stored before anybody is told of it and before anything is done about it.** So
//!   the intent to call a device is on disk before the call leaves.
//! - Watchers read a log; none of them costs the hub anything.

pub mod access;
pub mod api;
pub mod attempt;
pub mod audit;
pub mod certificate;
pub mod config;
pub mod durations;
pub mod error;
mod http;
pub mod hub;
pub mod listener;
mod lock;
pub mod metrics;
pub mod poller;
pub mod quota;
pub mod readiness;
pub mod reload;
mod run;
pub mod service;
pub mod store;
pub mod tls;
pub mod traces;
pub mod vital;
#[cfg(test)]
mod wakes;

pub use self::{
    config::Config,
    reload::Reload,
    run::{RunError, serve, serve_from, serve_observed},
};
