//! Devices that speak the native MQTT contract on the local endpoint.
//!
//! The device proves its boot by its birth: the first message of each connection, with the boot's
//! identity and the command that caused it. An acknowledgement, a retained message and the word
//! `online` prove nothing. The contract is written down in `docs/native-mqtt.md`.

mod contact;
pub mod tasmota;
#[cfg(test)]
mod test_endpoint;
mod view;
mod watched;
pub mod zigbee2mqtt;

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use iot_hub::reboot::{Grade, Mode};
use serde_json::json;
pub(crate) use view::fuzz;
use view::{Boot, View};
use watched::{Picture as _, Watched};

use super::{Baseline, Driver, DriverError, Health, Hints, Observation, Order, Probe, Triggered};
use crate::local_mqtt::LocalDevice;

/// How long a device has to acknowledge a command.
pub const DEFAULT_ACK_LIMIT: Duration = Duration::from_secs(10);

/// How evidence from a birth is named.
const METHOD: &str = "mqtt-birth";

/// A device that speaks the native MQTT contract.
#[derive(Debug)]
pub struct MqttDriver {
    watched: Watched<View>,
    ack_limit: Duration,
}

impl MqttDriver {
    /// Begins to listen to the device. To be called before the endpoint serves, so that nothing
    /// of what the device says is missed; the listening ends with the endpoint or with the driver.
    pub fn start(device: LocalDevice, ack_limit: Duration) -> Self {
        Self {
            watched: Watched::start(device, View::default()),
            ack_limit,
        }
    }

    async fn give(&self, order: &Order) -> Result<Triggered, DriverError> {
        order.needs_no_outlet()?;
        self.present_boot()?;
        if order.dry_run {
            return Ok(Triggered::Rehearsed);
        }
        let command = json!({
            "v": 1,
            "id": order.id,
            "mode": order.mode,
            "reason": order.reason,
        });
        let topic = self.watched.device().own_topic("cmd/reboot");
        self.watched
            .command(order, &topic, command.to_string(), self.ack_limit)
            .await
    }

    /// The boot of a device that is there and has said which one it is in.
    fn present_boot(&self) -> Result<Boot, DriverError> {
        let mut view = self.watched.picture();
        let present = view.contact().is_present();
        match view.boot() {
            Some(boot) if present => Ok(boot.clone()),
            Some(_) | None if present => Err(DriverError::Unreachable(
                "it is connected and has not sent its birth".into(),
            )),
            Some(_) | None => Err(DriverError::Unreachable("it is not connected".into())),
        }
    }
}

impl Driver for MqttDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            Ok(Probe {
                modes: vec![Mode::Graceful, Mode::Forced],
                best_grade: Grade::Healthy,
                // Every firmware can draw a number at boot; not every one has memory that
                // survives the boot and could name its cause.
                required_grade: Grade::BootChanged,
                boot_id: self.watched.picture().boot().map(|boot| boot.id.clone()),
                restarts_gateway: false,
            })
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let boot = self.present_boot()?;
            let uptime = boot.uptime(Instant::now());
            Ok(Baseline {
                detail: describe(&boot, uptime),
                boot_id: Some(boot.id),
                uptime,
                boot_count: None,
            })
        })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(self.give(order))
    }

    fn observe<'a>(
        &'a self,
        _baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            self.watched.is_heard()?;
            let now = Instant::now();
            let mut view = self.watched.picture();
            let present = view.contact().is_present();
            let uptime = view.boot().and_then(|boot| boot.uptime(now));
            let detail = match view.boot() {
                Some(boot) => describe(boot, uptime),
                None if present => "connected, no birth yet".to_owned(),
                None => "not connected".to_owned(),
            };
            Ok(Observation {
                present,
                was_absent: view.contact().was_absent(),
                boot_id: view.boot().map(|boot| boot.id.clone()),
                uptime,
                boot_count: None,
                caused_by: view.boot().and_then(|boot| boot.cause),
                method: METHOD,
                detail,
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async {
            let mut view = self.watched.picture();
            if view.contact().is_present() {
                Ok(view.health())
            } else {
                Err(DriverError::Unreachable("it is not connected".into()))
            }
        })
    }

    fn hints(&self) -> Option<Hints> {
        Some(self.watched.hints())
    }
}

fn describe(boot: &Boot, uptime: Option<Duration>) -> String {
    let mut words = format!("boot {}", boot.id);
    if let Some(uptime) = uptime {
        words += &format!(", up {} s", uptime.as_secs());
    }
    if let Some(reason) = &boot.reset_reason {
        words += &format!(", {reason}");
    }
    words
}

#[cfg(test)]
#[path = "mqtt/tests.rs"]
mod tests;
