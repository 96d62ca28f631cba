//! A look at what the settings say, without a gateway that serves: whether the hub can be reached, and
//! what each device would do.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::{
    identity::{DeviceId, HubHost},
    reboot::{Mode, RequestId},
};
use serde::Serialize;
use tokio::time;
use uuid::Uuid;

use crate::{
    config::{Config, DeviceConfig, HomeConfig},
    driver::{Driver, DriverError, Order, Triggered},
    fleet::{NoDriver, driver_of, powered},
    hub_link::Dialer,
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

/// Whether each hub can be reached, and what each device's driver says of it. No session is begun,
/// since that would end the one of a gateway that runs.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    match Dialer::new(&config.hub) {
        Ok(dialer) => {
            let hosts = config
                .devices
                .iter()
                .filter_map(|device| host_of(config, device))
                .map(|host| (host.to_string(), host));
            let hosts: BTreeMap<_, _> = hosts.collect();
            for host in hosts.into_values() {
                let found = match time::timeout(LIMIT, dialer.reach(host)).await {
                    Ok(Ok(())) => Ok("can be reached, and its certificate is good".to_owned()),
                    Ok(Err(error)) => Err(format!("cannot be reached: {error}")),
                    Err(_) => Err(format!("does not answer within {LIMIT:?}")),
                };
                findings.push(Finding::of(host, found));
            }
        }
        Err(error) => findings.push(Finding::of("hub", Err(error.to_string()))),
    }
    for device in &config.devices {
        findings.push(Finding::of(&device.id, look(device, probe).await));
    }
    findings
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
            findings.push(Finding::of(&device.id, look(device, go_through).await));
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
    look: impl AsyncFnOnce(&DeviceConfig, &dyn Driver) -> Result<String, DriverError>,
) -> Result<String, String> {
    let driver = match driver_of(device, None) {
        Ok(driver) => powered(device, driver),
        Err(NoDriver::NoEndpoint) => {
            return Ok("connects to the gateway by itself, see `status`".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    match time::timeout(LIMIT, look(device, &*driver)).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {LIMIT:?}")),
    }
}

async fn probe(device: &DeviceConfig, driver: &dyn Driver) -> Result<String, DriverError> {
    let probe = driver.probe().await?;
    let required = device.settings.required_grade;
    let required = required.unwrap_or(probe.required_grade);
    if required > probe.best_grade {
        return Err(DriverError::Unsupported(format!(
            "evidence of grade {}: {} is its best",
            required.name(),
            probe.best_grade.name()
        )));
    }
    let modes: Vec<_> = probe.modes.iter().map(|mode| mode.name()).collect();
    Ok(format!(
        "answers; reboots {}; can prove {}, has to prove {}",
        modes.join(", "),
        probe.best_grade.name(),
        required.name()
    ))
}

async fn go_through(_: &DeviceConfig, driver: &dyn Driver) -> Result<String, DriverError> {
    driver.baseline().await?;
    let blockers = driver.blockers(Mode::Graceful).await?;
    let order = Order {
        id: RequestId(Uuid::new_v4()),
        mode: Mode::Graceful,
        force: false,
        dry_run: true,
        reason: "a rehearsal".to_owned(),
    };
    match driver.trigger(&order).await? {
        Triggered::Rehearsed => {}
        Triggered::Acknowledged | Triggered::Unacknowledged | Triggered::Seen(_) => {
            return Err(DriverError::Failed {
                doing: "rehearse",
                message: "the driver gave the command".to_owned(),
            });
        }
    }
    let blockers: Vec<_> = blockers
        .values()
        .map(|blocker| format!("{} ({})", blocker.who, blocker.why))
        .collect();
    Ok(if blockers.is_empty() {
        "would be rebooted".to_owned()
    } else {
        format!("would be rebooted after: {}", blockers.join(", "))
    })
}
