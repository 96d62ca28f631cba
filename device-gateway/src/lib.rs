//! Bridges devices onto IoT Hub, reboots them when asked, and proves that they rebooted.
//!
//! # Where to look
//!
//! - [`driver`]: how one kind of local device is reached.
//! - [`config`]: the settings.

pub mod config;
pub mod driver;
