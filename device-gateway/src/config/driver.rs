//! How the gateway reaches a device: exactly one of the sections that drivers have.
//!
//! A driver's settings are a struct with a `read` in a file of its own below this one, a variant of
//! [`DriverConfig`], and a line of `WAYS`.

pub(super) mod command;
mod container;
mod host;
mod http;
mod mqtt;
mod onvif;
mod place;
mod redfish;
pub(super) mod snmp;
mod ssh;

use std::time::Duration;

use daemon::settings::Section;

pub use self::{
    command::{CommandConfig, CommandLine, DEFAULT_COMMAND_TIMEOUT},
    host::{DEFAULT_BOOT_ID_FILE, DEFAULT_UPTIME_FILE, HostConfig, HostMethod},
    http::HttpConfig,
    mqtt::{MqttDeviceConfig, MqttDialect},
    onvif::OnvifConfig,
    redfish::RedfishConfig,
    snmp::SnmpConfig,
    ssh::SshConfig,
};

/// How the gateway reaches a device.
#[derive(Debug, Clone)]
pub enum DriverConfig {
    /// By the local MQTT endpoint.
    Mqtt(MqttDeviceConfig),
    /// By running commands.
    Command(CommandConfig),
    /// It is the gateway's own machine.
    Host(HostConfig),
    /// Over HTTP.
    Http(Box<HttpConfig>),
    /// By what SNMP shows; it is rebooted by its outlet alone.
    Snmp(SnmpConfig),
    /// By SSH.
    Ssh(Box<SshConfig>),
    /// By its BMC.
    Redfish(Box<RedfishConfig>),
    /// By ONVIF.
    Onvif(Box<OnvifConfig>),
}

type Read = fn(Section) -> Option<DriverConfig>;

/// The sections that there are, with how each is read.
pub(super) const WAYS: [(&str, Read); 9] = [
    ("mqtt", |section| {
        MqttDeviceConfig::read(section).map(DriverConfig::Mqtt)
    }),
    ("command", |section| {
        CommandConfig::read(section).map(DriverConfig::Command)
    }),
    ("host", |section| {
        Some(DriverConfig::Host(HostConfig::read(section)))
    }),
    ("http", |section| {
        let http = HttpConfig::read(section)?;
        Some(DriverConfig::Http(Box::new(http)))
    }),
    ("snmp", |section| {
        SnmpConfig::read(section).map(DriverConfig::Snmp)
    }),
    ("container", |section| {
        let http = container::read(section)?;
        Some(DriverConfig::Http(Box::new(http)))
    }),
    ("ssh", |section| {
        let ssh = SshConfig::read(section)?;
        Some(DriverConfig::Ssh(Box::new(ssh)))
    }),
    ("redfish", |section| {
        let redfish = RedfishConfig::read(section)?;
        Some(DriverConfig::Redfish(Box::new(redfish)))
    }),
    ("onvif", |section| {
        let onvif = OnvifConfig::read(section)?;
        Some(DriverConfig::Onvif(Box::new(onvif)))
    }),
];

impl DriverConfig {
    /// What the device is at the local MQTT endpoint, if it connects there.
    pub(crate) fn on_local_mqtt(&self) -> Option<&MqttDeviceConfig> {
        if let Self::Mqtt(mqtt) = self {
            Some(mqtt)
        } else {
            None
        }
    }

    /// How long a device of this kind has to be left alone after a boot.
    pub(super) fn least_cooldown(&self) -> Duration {
        if let Self::Http(http) = self {
            http.least_cooldown
        } else {
            Duration::ZERO
        }
    }

    /// The device is the gateway's own machine.
    pub(crate) fn is_host(&self) -> bool {
        matches!(self, Self::Host(_))
    }
}

pub(super) fn read(device: &mut Section) -> Option<DriverConfig> {
    let given: Vec<_> = WAYS
        .into_iter()
        .filter(|(name, _)| device.has(name))
        .collect();
    if given.len() != 1 {
        let names = |ways: &[(&str, Read)], and| {
            let names: Vec<_> = ways.iter().map(|(name, _)| *name).collect();
            names.join(and)
        };
        let found = match given.len() {
            0 => "none".to_owned(),
            _ => names(&given, " and "),
        };
        let expected = format!("exactly one of {}: there is {found}", names(&WAYS, ", "));
        device.mistake_here(&expected);
    }
    // Those that are too many are read too, so that their mistakes are told.
    let mut read = None;
    for (name, way) in given {
        read = way(device.section(name));
    }
    read
}
