//! The daemon's settings.

mod driver;

pub use driver::{
    CommandConfig, CommandLine, DEFAULT_BOOT_ID_FILE, DEFAULT_COMMAND_TIMEOUT, DEFAULT_UPTIME_FILE,
    HostConfig, HostMethod, LocalMqttConfig, MqttDeviceConfig,
};
