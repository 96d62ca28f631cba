//! Reboots devices over IoT Hub and follows them to a verdict.

pub mod attempt;
pub mod hub;
pub mod poller;
pub mod store;
