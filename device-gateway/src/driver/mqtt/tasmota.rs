//! Devices with the Tasmota firmware, by its own topics.
//!
//! The device is asked for its `Status 1` before and after: it counts its boots. It writes that count
//! down once a boot has lasted ten seconds and shows the old one until then, so the count of a
//! younger boot is not used. Nor is `StartupUTC`, which changes when the clock is set, nor is the
//! reset reason a cause: whoever restarts it by its web page gives the same one.

mod status;

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use iot_hub::reboot::Mode;
use status::View;
pub(crate) use status::fuzz;
use tokio::time;

use super::watched::{Picture as _, Watched, no_answer};
use crate::{
    driver::{
        Baseline, Driver, DriverError, Health, Hints, Observation, Order, Probe, Triggered,
        reading::{Proofs, Reading},
    },
    local_mqtt::{Elsewhere, LocalDevice},
};

/// How long a boot has to last before its count is believed: the ten seconds of the firmware, whose
/// clock runs in whole ones, and some.
const COUNTED_AFTER: Duration = Duration::from_secs(12);

/// How evidence from a `Status 1` is named.
const METHOD: &str = "tasmota-status";

/// A device with the Tasmota firmware.
#[derive(Debug)]
pub struct TasmotaDriver {
    watched: Watched<View>,
    topic: String,
    answer_limit: Duration,
}

/// The topics of such a device.
pub fn topics(topic: &str) -> Elsewhere {
    let heard = [
        "stat/@/STATUS1",
        "stat/@/RESULT",
        "tele/@/LWT",
        "tele/@/INFO3",
    ];
    Elsewhere {
        prefixes: ["cmnd", "stat", "tele"]
            .map(|prefix| format!("{prefix}/{topic}/"))
            .into(),
        heard: heard.map(|heard| heard.replace('@', topic)).into(),
        question: Some((format!("cmnd/{topic}/Status"), "1")),
    }
}

impl TasmotaDriver {
    /// Begins to listen to the device of that `Topic`.
    pub fn start(device: LocalDevice, topic: &str, answer_limit: Duration) -> Self {
        Self {
            watched: Watched::start(device, View::new(topic)),
            topic: topic.to_owned(),
            answer_limit,
        }
    }

    fn command_topic(&self, command: &str) -> String {
        format!("cmnd/{}/{command}", self.topic)
    }

    /// Asks the device how it is. What it said of itself before may be older than its present boot.
    async fn ask(&self) -> Result<Reading, DriverError> {
        let before = self.watched.picture().count();
        let topic = self.command_topic("Status");
        let newer = |view: &mut View| view.newer_than(before, Instant::now(), COUNTED_AFTER);
        self.watched
            .ask(&topic, "1", self.answer_limit, newer)
            .await
    }

    async fn look(&self) -> Result<Observation, DriverError> {
        let asked = self.ask().await;
        self.watched.is_heard()?;
        let mut view = self.watched.picture();
        let contact = view.contact();
        let (present, was_absent) = (contact.is_present(), contact.was_absent());
        let observation = match asked {
            Ok(reading) => reading.observation(METHOD),
            Err(DriverError::Unreachable(why)) => Observation {
                detail: why,
                ..Reading::default().observation(METHOD)
            },
            Err(error) => return Err(error),
        };
        Ok(Observation {
            present,
            was_absent,
            ..observation
        })
    }

    /// What it shows of a boot that is counted. A younger one is waited for: by its old count any
    /// device would seem to have booted a moment later.
    async fn counted(&self) -> Result<Reading, DriverError> {
        let reading = self.ask().await?;
        match (reading.boot_count, reading.uptime) {
            (None, Some(uptime)) => {
                time::sleep(COUNTED_AFTER.saturating_sub(uptime)).await;
                self.ask().await
            }
            (Some(_), _) | (None, None) => Ok(reading),
        }
    }

    async fn give(&self, order: &Order) -> Result<Triggered, DriverError> {
        order.needs_no_outlet()?;
        let payload = if order.mode == Mode::Forced {
            // Without writing its settings first.
            "99"
        } else {
            "1"
        };
        if order.dry_run {
            return self.ask().await.map(|_| Triggered::Rehearsed);
        }
        let topic = self.command_topic("Restart");
        self.watched
            .command(order, &topic, payload.to_owned(), self.answer_limit)
            .await
    }
}

impl Driver for TasmotaDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            let reading = Reading::if_present(self.ask().await)?;
            let proofs = Proofs {
                identity: true,
                cause: false,
                uptime: true,
                health: false,
            };
            Ok(proofs.probe(reading))
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let reading = self.counted().await?;
            if reading.boot_count.is_none() {
                return Err(no_answer("its status has no boot count".to_owned()));
            }
            Ok(reading.baseline())
        })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(self.give(order))
    }

    fn observe<'a>(
        &'a self,
        _baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(self.look())
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async { Ok(Health::Unknown) })
    }

    fn hints(&self) -> Option<Hints> {
        Some(self.watched.hints())
    }
}

#[cfg(test)]
#[path = "tasmota/tests.rs"]
mod tests;
