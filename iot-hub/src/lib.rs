//! IoT Hub's protocols as values and state machines.

pub mod reboot;
