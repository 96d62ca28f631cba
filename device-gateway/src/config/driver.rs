//! The settings of the drivers.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::SecretString;
use toml::Value;

use super::table::{Reader, flag, text};

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
    /// Where systemd-logind is not there, reboot by `systemctl`, or by a signal to the first process.
    pub fallback: bool,
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

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            dry_run: false,
            method: HostMethod::default(),
            fallback: true,
            bus_address: None,
            boot_id_file: DEFAULT_BOOT_ID_FILE.into(),
            uptime_file: DEFAULT_UPTIME_FILE.into(),
        }
    }
}

pub(super) fn read_local_mqtt(mut table: Reader) -> Option<LocalMqttConfig> {
    let listen = table.require("listen", |value| {
        let address = text(value)?.parse();
        address.map_err(|_| "an address and port such as \"127.0.0.1:1883\"".to_owned())
    });
    Some(LocalMqttConfig { listen: listen? })
}

pub(super) fn read_command(mut table: Reader) -> Option<CommandConfig> {
    let baseline = table.require("baseline", command_line);
    let trigger = table.require("trigger", command_line);
    let observe = table.require("observe", command_line);
    let health = table.take("health", command_line);
    let timeout = table.positive_duration("timeout", DEFAULT_COMMAND_TIMEOUT);
    Some(CommandConfig {
        baseline: baseline?,
        trigger: trigger?,
        observe: observe?,
        health,
        timeout,
    })
}

pub(super) fn read_host(mut table: Reader) -> HostConfig {
    let default = HostConfig::default();
    let path =
        |table: &mut Reader, key, default| table.take(key, text).map_or(default, PathBuf::from);
    HostConfig {
        dry_run: table.take("dry_run", flag).unwrap_or(default.dry_run),
        method: table
            .take("method", |value| match text(value)?.as_str() {
                "schedule" => Ok(HostMethod::Schedule),
                "reboot" => Ok(HostMethod::Reboot),
                _ => Err("\"schedule\" or \"reboot\"".to_owned()),
            })
            .unwrap_or(default.method),
        fallback: table.take("fallback", flag).unwrap_or(default.fallback),
        bus_address: table.take("bus_address", text),
        boot_id_file: path(&mut table, "boot_id_file", default.boot_id_file),
        uptime_file: path(&mut table, "uptime_file", default.uptime_file),
    }
}

fn command_line(value: &Value) -> Result<CommandLine, String> {
    let words = value
        .as_array()
        .and_then(|words| words.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    match words.as_deref() {
        Some([program, arguments @ ..]) if !program.is_empty() => Ok(CommandLine {
            program: (*program).to_owned(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        }),
        Some(_) | None => Err("a program and its arguments, as [\"program\", \"argument\"]".into()),
    }
}
