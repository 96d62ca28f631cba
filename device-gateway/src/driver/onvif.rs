//! Cameras and other devices that speak ONVIF: they are asked to reboot, and seen to go and to come back.
//!
//! ```text
//!   GetSystemDateAndTime ── nobody has to sign in for it: the look, and the clock to sign by
//!   SystemReboot ────────── the command; the words of its answer are for people and are not read
//!   GetDeviceInformation ── the health, or a snapshot
//! ```
//!
//! - `service`: the way to the device, and signing in by its clock.
//! - `soap`: envelopes, tokens, faults.

mod service;
mod soap;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use service::{Service, no_soap};
pub(crate) use soap::fuzz;

use super::{
    Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered,
    http::{ClientError, Trouble},
    reading::{Proofs, Reading},
};
use crate::config::OnvifConfig;

/// How evidence from ONVIF is named.
const METHOD: &str = "onvif";

/// It shows that it is there, and nothing of its boots.
const PROOFS: Proofs = Proofs {
    identity: false,
    cause: false,
    uptime: false,
    health: true,
};

/// A device that speaks ONVIF.
#[derive(Debug)]
pub struct OnvifDriver {
    service: Service,
    snapshot: Option<String>,
}

impl OnvifDriver {
    /// A device behind those settings.
    pub fn new(config: OnvifConfig) -> Result<Self, ClientError> {
        Ok(Self {
            service: Service::new(config.endpoint, config.user)?,
            snapshot: config.snapshot,
        })
    }

    /// Reads what shows that the device answers whom it knows.
    async fn information(&self) -> Result<(), Trouble> {
        let said = self.service.ask("GetDeviceInformation").await?;
        said.map(drop).map_err(no_soap)
    }

    /// Reads the beginning of a picture.
    async fn picture(&self, path: &str) -> Result<(), Trouble> {
        let answer = self.service.begin(path).await?;
        let kind = answer.header("content-type").unwrap_or_default();
        match answer.status {
            200..300 if kind.starts_with("image/") => Ok(()),
            200..300 => Err(Trouble::Error("its snapshot is no picture".to_owned())),
            status => Err(Trouble::Status(status, "no snapshot".to_owned())),
        }
    }

    async fn give(&self, order: &Order) -> Result<Triggered, DriverError> {
        order.needs_no_outlet()?;
        if order.dry_run {
            self.information().await.map_err(Trouble::while_looking)?;
            return Ok(Triggered::Rehearsed);
        }
        match self.service.ask("SystemReboot").await {
            Ok(_) => Ok(Triggered::Acknowledged),
            Err(trouble) => trouble.after_command(),
        }
    }
}

impl Driver for OnvifDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            self.information().await.map_err(Trouble::while_looking)?;
            Ok(PROOFS.probe(None))
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let clock = self.service.look().await.map_err(Trouble::while_looking)?;
            Ok(Baseline {
                detail: told(clock.shows),
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
            let clock = self.service.look().await.map_err(Trouble::while_looking)?;
            Ok(Observation {
                detail: told(clock.shows),
                ..Reading::default().observation(METHOD)
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async {
            let well = match &self.snapshot {
                Some(path) => self.picture(path).await,
                None => self.information().await,
            };
            match well {
                Ok(()) => Ok(Health::Healthy),
                Err(trouble) => trouble.while_checking(),
            }
        })
    }
}

/// What a look saw, for a person. A device's clock proves nothing.
fn told(clock: Option<Timestamp>) -> String {
    match clock {
        Some(clock) => format!("it answers, by its clock at {clock}"),
        None => "it answers".to_owned(),
    }
}

#[cfg(test)]
mod tests;
