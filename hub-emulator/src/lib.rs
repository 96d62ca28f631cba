//! An IoT Hub on this machine.
//!
//! Devices talk MQTT 3.1.1 over TLS to it, services its REST API over HTTPS, both with the
//! credentials, limits, errors and session rules of Azure IoT Hub, as far as those are known. It is
//! a library for tests and, with `main.rs`, a tool for a person at a terminal.
//!
//! ```text
//!   device ──MQTT/TLS──► mqtt ─┐                    ┌─► hub       registry, twins, sessions, calls
//!                              ├──► switchboard ────┤             (a value: no I/O, clock, lock)
//!  service ──HTTPS─────► rest ─┘   (one mutex, the  ├─► provisioning  who may register, who has
//!                                   links, callers) └─► faults    what goes wrong on demand
//!   test ────────────────────────────► Emulator (state, counters), Faults
//!   browser, curl ─HTTP, loopback────► admin (the same, when asked for)
//! ```
//!
//! # Where to look
//!
//! - [`Emulator`]: start, connection strings, what a test can see and await.
//! - [`Faults`]: what a test can break.
//! - [`Throttle`]: the limits of a tier, for simulations too.
//! - [`Settings`]: what the program is told by its file, the environment and the command line.
//! - [`Ready`]: what tells other programs how to reach it.
//!
//! # Invariants
//!
//! - All state belongs to one [`Emulator`]; any number of them run side by side. It is in memory, and
//!   in a file too if the configuration names one.
//! - No bytes from a client end anything but that client's connection.
//! - Waiting is waiting for a state: every `async fn` for tests wakes on changes and never polls.

pub use self::certificate::DeviceCaError;
pub use self::config::{ClientLimits, EmulatorConfig};
pub use self::counters::{Count, Counters};
pub use self::emulator::Emulator;
pub use self::error::{FrontDoor, StartError};
pub use self::faults::{ConnectRefusal, Fault, FaultId, Faults, InjectedFault, Operation, Times};
pub use self::hub::{
    CloudToDeviceMessage, Feedback, FeedbackRecord, MethodOutcome, MethodRecord, Outcome, Telemetry,
};
pub use self::observe::Holdings;
pub use self::ready::Ready;
pub use self::settings::Settings;
pub use self::setup::{DeviceSetup, Enrollee, Enrollment, ProvisioningSetup, SetupCredentials};
pub use self::state_file::StateError;
pub use self::throttle::{Edition, Kind, Shaping, Throttle, Tier};
pub use self::tls::TlsError;

mod admin;
mod auth;
mod bearer;
mod certificate;
mod config;
mod counters;
mod door;
mod emulator;
mod error;
mod executor;
mod faults;
mod fields;
mod files;
pub mod fuzzing;
mod greeting;
mod hub;
mod invoke;
mod mqtt;
mod names;
mod observe;
mod policies;
mod provisioning;
mod ready;
mod rest;
mod settings;
mod setup;
mod state_file;
mod switchboard;
mod throttle;
mod timely;
mod tls;
mod websocket;
