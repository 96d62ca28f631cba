//! The settings of the drivers.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::SecretString;

/// How long a configured command may run.
pub const DEFAULT_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where Linux shows the identity of the present boot.
pub const DEFAULT_BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Where Linux shows how long it has been up.
pub const DEFAULT_UPTIME_FILE: &str = "/proc/uptime";

/// The endpoint for local devices that speak MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMqttConfig {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// A device on the local endpoint.
#[derive(Debug, Clone)]
pub struct MqttDeviceConfig {
    /// What it signs in with; its user name is its device id.
    pub password: SecretString,
}

/// A device that is reached by running commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandConfig {
    /// Prints what the device looks like before the reboot.
    pub baseline: CommandLine,
    /// Gives the reboot command.
    pub trigger: CommandLine,
    /// Prints what the device looks like now.
    pub observe: CommandLine,
    /// Says by its exit status whether the device does its work.
    pub health: Option<CommandLine>,
    /// How long each of them may run.
    pub timeout: Duration,
}

/// A program and its arguments; no shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program: a path, or a name to look up.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// The machine that the gateway runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Rehearse every reboot.
    pub dry_run: bool,
    /// How to ask the system.
    pub method: HostMethod,
    /// The message bus of the system; absent, the system's own.
    pub bus_address: Option<String>,
    /// Where to read the identity of the present boot.
    pub boot_id_file: PathBuf,
    /// Where to read how long the system has been up.
    pub uptime_file: PathBuf,
}

/// How to ask the system for a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HostMethod {
    /// By a scheduled shutdown, which can be called off.
    #[default]
    Schedule,
    /// At once.
    Reboot,
}
