//! A look at what the settings say, without a gateway that serves: whether the hub can be reached and
//! lets each device in, and what each device would do.

mod device;
mod kept;
mod running;
mod sessions;
mod state_dir;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use iot_hub::{
    identity::{DeviceId, HubHost},
    reboot::Grade,
};
use jiff::Timestamp;
pub use kept::kept;
pub use running::{Running, running};
use serde::Serialize;
use tokio::time;

use crate::{
    causes::chain,
    config::{BrokerConfig, Config, DeviceConfig, HomeConfig, MqttPlace},
    driver::{Driver, DriverError},
    fleet::{NoDriver, driver_of, powered},
    hub_link::{Dialer, LinkError, advice},
    local_mqtt::BrokerSettings,
};

/// How long each look may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at: a hub or a device.
    pub subject: String,
    /// It is as it should be.
    pub good: bool,
    /// What was found.
    pub found: String,
}

impl Finding {
    fn of(subject: impl ToString, found: Result<String, String>) -> Self {
        Self {
            subject: subject.to_string(),
            good: found.is_ok(),
            found: found.unwrap_or_else(|error| error),
        }
    }
}

/// Whether each hub can be reached, what each device's driver says of it, and whether its hub lets it
/// in. Nobody signs in where that could end the session of a gateway that runs.
pub async fn check(config: &Config) -> Vec<Finding> {
    let running = running(config).await;
    let mut sessions = Vec::new();
    let mut findings = Vec::new();
    match Dialer::new(&config.hub) {
        Ok(dialer) => {
            let hosts = config
                .devices
                .iter()
                .filter_map(|device| host_of(config, device))
                .map(|host| (host.to_string(), host));
            let hosts: BTreeMap<_, _> = hosts.collect();
            let mut unreachable = BTreeSet::new();
            for host in hosts.into_values() {
                let found = match time::timeout(LIMIT, dialer.reach(host)).await {
                    Ok(Ok(())) => Ok("can be reached, and its certificate is good".to_owned()),
                    Ok(Err(source)) => {
                        let error = LinkError::Dial {
                            host: host.to_string(),
                            source,
                        };
                        Err(format!("cannot be reached: {}", said(&error)))
                    }
                    Err(_) => Err(format!("does not answer within {LIMIT:?}")),
                };
                if found.is_err() {
                    unreachable.insert(host.to_string());
                }
                findings.push(Finding::of(host, found));
            }
            sessions = sessions::check(config, &dialer, &running, &unreachable).await;
        }
        Err(error) => findings.push(Finding::of("hub", Err(error.to_string()))),
    }
    if let Some(MqttPlace::Broker(broker)) = config.local_mqtt.as_ref().map(|local| &local.place) {
        let subject = format!("broker {}:{}", broker.host, broker.port);
        findings.push(Finding::of(subject, try_broker(broker).await));
    }
    if let Some(trouble) = state_dir::trouble(config) {
        findings.push(Finding::of("state_dir", Err(trouble)));
    }
    for device in &config.devices {
        let found = match seen(device, &running) {
            Some(seen) => seen,
            None => look(device, device::probe).await,
        };
        findings.push(Finding::of(&device.id, found));
    }
    findings.append(&mut sessions);
    findings
}

/// Whether the broker of the local devices lets the gateway in.
async fn try_broker(broker: &BrokerConfig) -> Result<String, String> {
    let settings = BrokerSettings::new(broker).map_err(|error| chain(&error))?;
    let tried = settings.try_once().await;
    tried.map_err(|error| format!("cannot sign in: {}", chain(&error)))?;
    Ok(format!("lets {} in", broker.user))
}

/// An error of a link with its causes, and what to look at.
fn said(error: &LinkError) -> String {
    let said = chain(error);
    match advice(error, Timestamp::now()) {
        Some(advice) => format!("{said} ({advice})"),
        None => said,
    }
}

/// What the gateway that runs sees of a device that connects to it.
fn seen(device: &DeviceConfig, running: &Running) -> Option<Result<String, String>> {
    let Running::Tells(status) = running else {
        return None;
    };
    let local = status.devices.get(device.id.as_str())?.local?;
    Some(if local {
        Ok("is connected to the gateway that runs".to_owned())
    } else {
        Err("is not connected to the gateway that runs".to_owned())
    })
}

/// Rehearses the reboot of the devices of these ids; of all, when there is no id.
pub async fn rehearse(config: &Config, ids: &[DeviceId]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for id in ids {
        if !config.devices.iter().any(|device| device.id == *id) {
            let found = Err("is not in the settings".to_owned());
            findings.push(Finding::of(id, found));
        }
    }
    for device in &config.devices {
        if ids.is_empty() || ids.contains(&device.id) {
            findings.push(Finding::of(
                &device.id,
                look(device, device::go_through).await,
            ));
        }
    }
    findings
}

/// The first host that a device connects to: its hub, or who knows its hub.
fn host_of<'a>(config: &'a Config, device: &'a DeviceConfig) -> Option<&'a HubHost> {
    match &device.identity.home {
        HomeConfig::Fixed(connection) => {
            Some(connection.gateway.as_ref().unwrap_or(&connection.host))
        }
        HomeConfig::Registered { .. } => Some(&config.hub.provisioning.as_ref()?.host),
    }
}

async fn look(
    device: &DeviceConfig,
    look: impl AsyncFnOnce(Option<Grade>, &dyn Driver) -> Result<String, DriverError>,
) -> Result<String, String> {
    let driver = match driver_of(device, None) {
        Ok(driver) => powered(device, driver),
        Err(NoDriver::NoEndpoint) => {
            return Ok("connects by itself, to a gateway that runs or to its broker".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    match time::timeout(LIMIT, look(device.settings.required_grade, &*driver)).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {LIMIT:?}")),
    }
}
