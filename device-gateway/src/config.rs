//! The daemon's settings, and what they have to be to be good ones.

mod device;
mod driver;
mod escalation;
mod hub;
mod identity;
mod local_mqtt;
mod no_proxy;
mod safety;
mod timing;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use daemon::{
    logs::LogSettings,
    settings::{InForce, Mistakes, Section, Sources},
};

pub(crate) use self::device::Likeness;
use crate::local_mqtt::own_prefix;

pub use self::{
    device::DeviceConfig,
    driver::{
        CommandConfig, CommandLine, DEFAULT_BOOT_ID_FILE, DEFAULT_COMMAND_TIMEOUT,
        DEFAULT_UPTIME_FILE, DriverConfig, HostConfig, HostMethod, HttpConfig, MqttDeviceConfig,
        MqttDialect, OnvifConfig, RedfishConfig, SnmpConfig, SshConfig,
    },
    hub::{
        DEFAULT_MQTT_PORT, DEFAULT_WEBSOCKET_PORT, HubConfig, ProvisioningConfig, Proxy,
        ProxyError, Transport,
    },
    identity::{CertificateFiles, HomeConfig, Identity},
    local_mqtt::{BrokerConfig, LocalMqttConfig, MqttPlace},
    no_proxy::{NoProxy, NoProxyError},
    safety::{HookConfig, InterlockConfig, QuestionConfig, SafetyConfig},
    timing::LinkTiming,
};

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
    /// Where to serve metrics, health and the gateway's status over HTTP, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// What is logged, and how.
    pub log: LogSettings,
}

impl Config {
    /// Makes sense of the settings, and says which are in force.
    pub fn read(sources: Sources) -> Result<(Self, InForce), Mistakes> {
        sources.read(read)
    }

    /// Reads settings that are all in one text. Relative paths are relative to `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Mistakes> {
        Ok(Self::read(Sources::of_text(text, folder)?)?.0)
    }
}

fn read(root: &mut Section) -> Option<Config> {
    if !root.flag("allow_readable_secrets").or(false) {
        root.guard_secrets();
    }
    let state_dir = root.path("state_dir").required("a folder for the journal");
    let gateway_id = root
        .section("gateway")
        .filled("id")
        .or("device-gateway".to_owned());
    let hub = hub::read(root);
    let has_endpoint = root.has("local_mqtt");
    let local_mqtt = has_endpoint
        .then(|| local_mqtt::read(root.section("local_mqtt"), &gateway_id))
        .flatten();
    let metrics_listen = root.section("metrics").address("listen").optional();
    let log = LogSettings::read(root.section("log"));
    let mut timing = root.section("timing");
    let link = timing::read_link(&mut timing);
    let defaults = Arc::new(timing::read_engine(&mut timing));
    drop(timing);
    if !root.has("device") {
        root.mistake("device", "", "at least one [[device]]");
    }
    let devices: Vec<_> = root
        .sections("device")
        .into_iter()
        .filter_map(|section| device::read(section, &defaults, hub.provisioning.as_ref()))
        .collect();
    check_together(root, &devices, has_endpoint);
    let listens = local_mqtt
        .as_ref()
        .is_some_and(|local| matches!(local.place, MqttPlace::Listen(_)));
    if listens {
        check_passwords(root, &devices);
    }
    Some(Config {
        state_dir: state_dir?,
        gateway_id,
        hub,
        local_mqtt,
        link,
        devices,
        metrics_listen,
        log,
    })
}

/// Checks what no device can know by itself.
fn check_together(root: &Section, devices: &[DeviceConfig], has_endpoint: bool) {
    let mut seen = BTreeSet::new();
    let mut hosts = 0;
    for device in devices {
        let DeviceConfig {
            id, driver, safety, ..
        } = device;
        if !seen.insert(id) {
            root.mistake("device", "", &format!("one {id}, and it is there twice"));
        }
        if driver.on_local_mqtt().is_some() && !has_endpoint {
            let expected =
                format!("a section with `listen` or `broker`: device {id} connects there");
            root.mistake("local_mqtt", "", &expected);
        }
        if driver.on_local_mqtt().is_some() && id.as_str().contains(['/', '+', '#']) {
            let expected = format!("an id without '/', '+' and '#' for [device.mqtt], not {id}");
            root.mistake("device", "", &expected);
        }
        hosts += usize::from(driver.is_host());
        for asked in safety.devices() {
            let connects = devices
                .iter()
                .any(|other| other.id.as_str() == asked && other.driver.on_local_mqtt().is_some());
            if !connects {
                let expected = "a device of this gateway with [device.mqtt]";
                root.mistake("device.interlock.device", asked, expected);
            }
        }
    }
    check_topics(root, devices);
    if hosts > 1 {
        root.mistake("device", "", "only one that is the gateway's host");
    }
}

/// Checks that whoever connects to the gateway has a password.
fn check_passwords(root: &Section, devices: &[DeviceConfig]) {
    for DeviceConfig { id, driver, .. } in devices {
        let on_local_mqtt = driver.on_local_mqtt();
        if on_local_mqtt.is_some_and(|mqtt| mqtt.password.is_none()) {
            let expected = format!(
                "this, password_file or password_credential: device {id} connects to the gateway"
            );
            root.mistake("device.mqtt.password", "", &expected);
        }
    }
}

/// Checks that no topic belongs to two devices.
fn check_topics(root: &Section, devices: &[DeviceConfig]) {
    let mut prefixes: Vec<_> = devices
        .iter()
        .filter_map(|device| Some((device.id.as_str(), device.driver.on_local_mqtt()?)))
        .flat_map(|(id, mqtt)| {
            let elsewhere = mqtt.elsewhere().prefixes.into_iter();
            elsewhere
                .chain([own_prefix(id)])
                .map(move |prefix| (prefix, id))
        })
        .collect();
    prefixes.sort_unstable();
    // Whatever begins with a prefix follows it, and nothing comes between them that does not. A device
    // may have a prefix within another of its own.
    let mut around: Vec<&(String, &str)> = Vec::new();
    for prefix in &prefixes {
        let (longer, other) = prefix;
        while around
            .pop_if(|(shorter, _)| !longer.starts_with(shorter.as_str()))
            .is_some()
        {}
        if let Some((shorter, one)) = around.last().filter(|(_, one)| one != other) {
            let expected = format!(
                "topics of each device's own: {shorter} of {one} and {longer} of {other} overlap"
            );
            root.mistake("device", "", &expected);
        }
        around.push(prefix);
    }
}

#[cfg(test)]
pub(crate) mod tests;
