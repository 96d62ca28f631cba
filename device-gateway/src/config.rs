//! The daemon's settings: one TOML file, read once, with every mistake in it reported in one run.
//!
//! Paths in the file are relative to the folder that it is in.

mod device;
mod driver;
mod table;
mod timing;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

pub use device::{DeviceConfig, DriverConfig};
pub use driver::{
    CommandConfig, CommandLine, DEFAULT_BOOT_ID_FILE, DEFAULT_COMMAND_TIMEOUT, DEFAULT_UPTIME_FILE,
    HostConfig, HostMethod, LocalMqttConfig, MqttDeviceConfig,
};
pub use table::Mistake;
use table::{Reader, port, text};
pub use timing::LinkTiming;

/// The port of MQTT over TLS.
pub const DEFAULT_MQTT_PORT: u16 = 8883;

/// The daemon's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of the journal and the outbox.
    pub state_dir: PathBuf,
    /// What the gateway calls itself in its devices' twins.
    pub gateway_id: String,
    /// How to reach the hub.
    pub hub: HubConfig,
    /// The endpoint for local devices that speak MQTT.
    pub local_mqtt: Option<LocalMqttConfig>,
    /// The pace of the hub sessions.
    pub link: LinkTiming,
    /// The devices.
    pub devices: Vec<DeviceConfig>,
}

/// How to reach the hub; its name is in the devices' connection strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubConfig {
    /// The port of its MQTT endpoint.
    pub mqtt_port: u16,
    /// The certificate authority to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It is no TOML.
    #[error("read {path} as TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// It is, with mistakes in it.
    #[error("{path} has {} mistake(s):{}", .mistakes.len(), Lines(.mistakes))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them.
        mistakes: Vec<Mistake>,
    },
}

struct Lines<'a>(&'a [Mistake]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a file; other files that it names are read too.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let table = daemon::settings::table(text).map_err(|message| ConfigError::Syntax {
            path: path.to_owned(),
            message,
        })?;
        let mistakes = Rc::default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let config = read(Reader::new(table, Rc::clone(&mistakes)), folder);
        let mistakes: Vec<_> = RefCell::take(&mistakes);
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            Some(_) | None => Err(ConfigError::Mistakes {
                path: path.to_owned(),
                mistakes,
            }),
        }
    }
}

fn read(mut root: Reader, folder: &Path) -> Option<Config> {
    let state_dir = root.require("state_dir", text);
    let gateway_id = root.table("gateway").take("id", text);
    let mut hub = root.table("hub");
    let hub = HubConfig {
        mqtt_port: hub.take("mqtt_port", port).unwrap_or(DEFAULT_MQTT_PORT),
        ca_file: hub.take("ca_file", text).map(|path| folder.join(path)),
    };
    let local_mqtt = root
        .has("local_mqtt")
        .then(|| driver::read_local_mqtt(root.table("local_mqtt")))
        .flatten();
    let mut timing = root.table("timing");
    let link = timing::read_link(&mut timing);
    let defaults = timing::read_engine(&mut timing);
    drop(timing);

    let mut seen = BTreeSet::new();
    let mut devices = Vec::new();
    if !root.has("device") {
        root.mistake("device", "is missing: expected at least one [[device]]");
    }
    for table in root.tables("device") {
        let Some(device) = device::read(table, &defaults, folder) else {
            continue;
        };
        if matches!(device.driver, DriverConfig::Mqtt(_)) && local_mqtt.is_none() {
            root.mistake(
                "local_mqtt",
                format!("is missing: device {} needs it", device.id),
            );
        }
        if !seen.insert(device.id.clone()) {
            root.mistake("device", format!("{} is there twice", device.id));
        }
        devices.push(device);
    }
    let hosts = devices
        .iter()
        .filter(|device| matches!(device.driver, DriverConfig::Host(_)))
        .count();
    if hosts > 1 {
        root.mistake("device", "only one device can be the gateway's host");
    }
    Some(Config {
        state_dir: folder.join(state_dir?),
        gateway_id: gateway_id.unwrap_or_else(|| "device-gateway".to_owned()),
        hub,
        local_mqtt,
        link,
        devices,
    })
}

#[cfg(test)]
mod tests;
