//! Devices that speak the native MQTT contract on the local endpoint.
//!
//! The device proves its boot by its birth: the first message of each connection, with the boot's
//! identity and the command that caused it. An acknowledgement, a retained message and the word
//! `online` prove nothing. The contract is written down in `docs/native-mqtt.md`.

mod view;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use iot_hub::reboot::{Grade, Mode};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    time,
};
pub(crate) use view::fuzz;
use view::{Answer, Boot, View};

use super::{Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered};
use crate::local_mqtt::{Event, LocalDevice, PublishError};

/// How long a device has to acknowledge a command.
pub const DEFAULT_ACK_LIMIT: Duration = Duration::from_secs(10);

/// How evidence from a birth is named.
const METHOD: &str = "mqtt-birth";

/// A device that speaks the native MQTT contract.
#[derive(Debug)]
pub struct MqttDriver {
    device: LocalDevice,
    ack_limit: Duration,
    shared: Arc<Shared>,
}

/// What the driver's calls share with the task that listens to the device.
#[derive(Debug)]
struct Shared {
    view: Mutex<View>,
    /// Rises with every change of the view.
    changes: watch::Sender<u64>,
}

impl MqttDriver {
    /// Begins to listen to the device. To be called before the endpoint serves, so that nothing
    /// of what the device says is missed; the listening ends with the endpoint or with the driver.
    pub fn start(device: LocalDevice, ack_limit: Duration) -> Self {
        let shared = Arc::new(Shared {
            view: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        tokio::spawn(listen(device.subscribe(), shared.clone()));
        Self {
            device,
            ack_limit,
            shared,
        }
    }

    async fn give(&self, order: &Order) -> Result<Triggered, DriverError> {
        order.needs_no_outlet()?;
        self.shared.present_boot()?;
        if order.dry_run {
            return Ok(Triggered::Rehearsed);
        }

        let command = json!({
            "v": 1,
            "id": order.id,
            "mode": order.mode,
            "reason": order.reason,
        });
        let mut changes = self.shared.changes.subscribe();
        self.shared.view().await_answer(order.id);
        let published = self.device.publish("cmd/reboot", command.to_string());
        published.map_err(unreachable)?;

        let answered = async {
            loop {
                if let Some(answer) = self.shared.view().answer() {
                    return Some(answer.clone());
                }
                // The sender lives as long as this driver.
                changes.changed().await.ok()?;
            }
        };
        match time::timeout(self.ack_limit, answered).await {
            Ok(Some(Answer::Accepted)) => Ok(Triggered::Acknowledged),
            Ok(Some(Answer::Refused(message))) => Err(DriverError::Refused(message)),
            Ok(Some(Answer::Gone) | None) | Err(_) => Ok(Triggered::Unacknowledged),
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
                boot_id: self.shared.view().boot().map(|boot| boot.id.clone()),
                restarts_gateway: false,
            })
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let boot = self.shared.present_boot()?;
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
            let now = Instant::now();
            let view = self.shared.view();
            let uptime = view.boot().and_then(|boot| boot.uptime(now));
            let detail = match view.boot() {
                Some(boot) => describe(boot, uptime),
                None if view.is_present() => "connected, no birth yet".to_owned(),
                None => "not connected".to_owned(),
            };
            Ok(Observation {
                present: view.is_present(),
                was_absent: view.was_absent(),
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
            let view = self.shared.view();
            if view.is_present() {
                Ok(view.health())
            } else {
                Err(DriverError::Unreachable("it is not connected".into()))
            }
        })
    }

    fn hints(&self) -> Option<watch::Receiver<u64>> {
        Some(self.shared.changes.subscribe())
    }
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, View> {
        // No holder of the lock can leave the view half changed.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The boot of a device that is there and has said which one it is in.
    fn present_boot(&self) -> Result<Boot, DriverError> {
        let view = self.view();
        match view.boot() {
            Some(boot) if view.is_present() => Ok(boot.clone()),
            Some(_) | None if view.is_present() => Err(DriverError::Unreachable(
                "it is connected and has not sent its birth".into(),
            )),
            Some(_) | None => Err(DriverError::Unreachable("it is not connected".into())),
        }
    }
}

/// Keeps the view up to date until the endpoint ends.
async fn listen(mut events: mpsc::Receiver<Event>, shared: Arc<Shared>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Connected => shared.view().connect(),
            Event::Disconnected => shared.view().disconnect(),
            Event::Message { name, payload } => {
                let understood = shared.view().message(&name, &payload, Instant::now());
                if let Err(error) = understood {
                    tracing::warn!(topic = name, %error, "ignored a message of a local device");
                }
            }
        }
        shared.changes.send_modify(|version| *version += 1);
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

fn unreachable(error: PublishError) -> DriverError {
    DriverError::Unreachable(error.to_string())
}

#[cfg(test)]
#[path = "mqtt/tests.rs"]
mod tests;
