//! The program's settings: a TOML file, the environment and the command line, each mistake told.
//!
//! Whatever the command line can say, the file can say too, under the flag's name; devices with
//! keys of their own and faults from the start only it can.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::logs::LogSettings;
use daemon::settings::{InForce, Mistakes, Section, Sources};
use iot_hub::identity::DeviceId;

use crate::config::EmulatorConfig;
use crate::setup::DeviceSetup;
use crate::throttle::{Edition, Shaping, Tier};

mod devices;
mod faults;
mod provisioning;
#[cfg(test)]
mod tests;

/// More than a machine has memory for.
const MAX_DEVICES: u32 = 1_000_000;

/// What the program does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The emulator.
    pub config: EmulatorConfig,
    /// Where to say how to connect, once connections are accepted.
    pub ready_file: Option<PathBuf>,
    /// The log.
    pub log: LogSettings,
}

impl Settings {
    /// Makes sense of the settings, and says which are in force. `named` are devices that the
    /// command line asks for beside those of the settings.
    pub fn read(sources: Sources, named: &[DeviceId]) -> Result<(Self, InForce), Mistakes> {
        sources.read(|root| read(root, named))
    }
}

fn read(root: &mut Section, named: &[DeviceId]) -> Option<Settings> {
    let default = EmulatorConfig::DEFAULT_HOST_NAME.to_owned();
    let host_name = root.text("host").or(default);
    let host_name = host_name.parse().map_err(|error| {
        root.mistake(
            "host",
            &format!("{host_name:?}"),
            &format!("a host name: {error}"),
        );
    });
    let listen = root.text("listen").or("127.0.0.1".to_owned());
    let listen = listen.parse::<IpAddr>().map_err(|_| {
        root.mistake("listen", &format!("{listen:?}"), "an IP address");
    });
    let config = EmulatorConfig {
        host_name: host_name.ok()?,
        listen: listen.ok()?,
        https_port: port(root, "https_port").unwrap_or(443),
        mqtt_port: port(root, "mqtt_port").unwrap_or(8883),
        admin_port: port(root, "admin_port"),
        ca_file: root.path("ca_file").optional(),
        ca_dir: root.path("ca_dir").optional(),
        state_file: root.path("state").optional(),
        device_ca_files: device_ca_files(root),
        bearer_tokens: root
            .optional_secret("bearer_token")
            .into_iter()
            .map(|secret| secret.text)
            .collect(),
        tier: None,
        ..EmulatorConfig::default()
    };
    let config = with_tier(root, config);
    let config = EmulatorConfig {
        devices: all_devices(root, named),
        provisioning: provisioning::read(root.section("provisioning")),
        faults: root
            .sections("fault")
            .into_iter()
            .filter_map(faults::read)
            .collect(),
        ..config
    };
    Some(Settings {
        config,
        ready_file: root.path("ready_file").optional(),
        log: LogSettings::read(root.section("log")),
    })
}

fn port(root: &mut Section, key: &str) -> Option<u16> {
    let port = root.take(key, "a port from 0 to 65535; 0 takes a free one", |value| {
        u16::try_from(value.as_integer()?).ok()
    });
    port.optional()
}

fn device_ca_files(root: &mut Section) -> Vec<PathBuf> {
    let folder = root.folder();
    let files = root.texts("device_ca").or(Vec::new());
    files
        .iter()
        .map(|file| folder.join(Path::new(file)))
        .collect()
}

fn with_tier(root: &mut Section, config: EmulatorConfig) -> EmulatorConfig {
    let edition = root
        .parsed::<Edition>("tier", "\"S1\", \"S2\" or \"S3\"")
        .optional();
    for key in ["units", "burst"] {
        if edition.is_none() && root.has(key) {
            root.mistake(key, "", "a tier beside it");
        }
    }
    let units = root.count("units", 1, 1_000).or(1);
    let burst = root.count("burst", 0, u16::MAX.into()).or(60);
    EmulatorConfig {
        tier: edition.map(|edition| Tier { edition, units }),
        shaping: Shaping {
            credit: Duration::from_secs(burst.into()),
            ..Shaping::default()
        },
        ..config
    }
}

/// The devices of the file, those of the command line, and the numbered ones: one when nothing is
/// asked for.
fn all_devices(root: &mut Section, named: &[DeviceId]) -> Vec<DeviceSetup> {
    let mut devices = devices::read(root);
    devices.extend(named.iter().cloned().map(DeviceSetup::new));
    let count = root.count("devices", 0, MAX_DEVICES).optional();
    let count = count.unwrap_or(u32::from(devices.is_empty()));
    let numbered = (1..=count).filter_map(|number| format!("device-{number}").parse().ok());
    devices.extend(numbered.map(DeviceSetup::new));
    devices
}
