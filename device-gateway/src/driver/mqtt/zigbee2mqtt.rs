//! Zigbee2MQTT, by the topics of its bridge. It is the bridge that is restarted, not the devices behind it.
//!
//! It restarts within its process, so that no identity and no uptime of it changes: all it shows is
//! that it went and came back.

mod bridge;

use std::time::Duration;

use bridge::View;
pub(crate) use bridge::fuzz;
use futures_util::future::BoxFuture;
use iot_hub::reboot::Mode;
use serde_json::json;

use super::watched::{Picture as _, Watched, no_answer};
use crate::{
    driver::{
        Baseline, Driver, DriverError, Health, Hints, Observation, Order, Probe, Triggered,
        reading::{Proofs, Reading},
    },
    local_mqtt::{Elsewhere, LocalDevice},
};

/// How evidence from its presence is named.
const METHOD: &str = "zigbee2mqtt-state";

/// A Zigbee2MQTT.
#[derive(Debug)]
pub struct Zigbee2MqttDriver {
    watched: Watched<View>,
    base_topic: String,
    answer_limit: Duration,
}

/// The topics of one with that base topic.
pub fn topics(base_topic: &str) -> Elsewhere {
    let heard = ["state", "response/restart", "response/health_check"];
    Elsewhere {
        prefixes: vec![format!("{base_topic}/")],
        heard: heard
            .map(|name| format!("{base_topic}/bridge/{name}"))
            .into(),
        question: Some((format!("{base_topic}/bridge/request/health_check"), "")),
    }
}

impl Zigbee2MqttDriver {
    /// Begins to listen to the bridge of that base topic.
    pub fn start(device: LocalDevice, base_topic: &str, answer_limit: Duration) -> Self {
        Self {
            watched: Watched::start(device, View::new(base_topic)),
            base_topic: base_topic.to_owned(),
            answer_limit,
        }
    }

    fn request(&self, what: &str) -> String {
        format!("{}/bridge/request/{what}", self.base_topic)
    }

    fn look(&self) -> Observation {
        let mut view = self.watched.picture();
        let present = view.is_online();
        Observation {
            present,
            was_absent: view.contact().was_absent(),
            detail: if present { "online" } else { "not online" }.to_owned(),
            ..Reading::default().observation(METHOD)
        }
    }

    fn if_online(&self) -> Result<Observation, DriverError> {
        let seen = self.look();
        if seen.present {
            Ok(seen)
        } else {
            Err(DriverError::Unreachable("it is not online".to_owned()))
        }
    }

    async fn give(&self, order: &Order) -> Result<Triggered, DriverError> {
        match order.mode {
            Mode::Graceful => {}
            Mode::Forced | Mode::PowerCycle => {
                let why = "a bridge only restarts gracefully";
                return Err(DriverError::Unsupported(why.to_owned()));
            }
        }
        self.if_online()?;
        if order.dry_run {
            return Ok(Triggered::Rehearsed);
        }
        let payload = json!({ "transaction": order.id }).to_string();
        self.watched
            .command(order, &self.request("restart"), payload, self.answer_limit)
            .await
    }
}

impl Driver for Zigbee2MqttDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            let proofs = Proofs {
                identity: false,
                cause: false,
                uptime: false,
                health: true,
            };
            Ok(Probe {
                modes: vec![Mode::Graceful],
                ..proofs.probe(None)
            })
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let seen = self.if_online()?;
            Ok(Baseline {
                detail: seen.detail,
                ..Baseline::default()
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
            if self.watched.picture().is_undecided() {
                return Err(no_answer("it has not said that it works".to_owned()));
            }
            Ok(self.look())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async {
            let before = self.watched.picture().count();
            let newer = |view: &mut View| view.newer_than(before);
            self.watched
                .ask(&self.request("health_check"), "", self.answer_limit, newer)
                .await
        })
    }

    fn hints(&self) -> Option<Hints> {
        Some(self.watched.hints())
    }
}

#[cfg(test)]
#[path = "zigbee2mqtt/tests.rs"]
mod tests;
