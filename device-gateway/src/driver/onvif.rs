//! Cameras and other devices that speak ONVIF: they are asked to reboot, and seen to go and to come back,
//! in another boot where they tell the time of their last one.
//!
//! ```text
//!   GetSystemDateAndTime ── nobody has to sign in for it: the look, and the clock to sign by
//!   LastReboot, an event ── the boot, of a device that tells it
//!   SystemReboot ────────── the command; the words of its answer are for people and are not read
//!   GetDeviceInformation ── the health, or a snapshot
//! ```
//!
//! - `boots`: which boot it is, whatever becomes of the device's clock.
//! - `events`: the conversation that brings the time of the last boot.
//! - `service`: the way to the device, and signing in by its clock.
//! - `soap`: envelopes, tokens, faults.

mod boots;
mod events;
mod service;
mod soap;

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use boots::{Boot, Boots};
use events::Events;
use futures_util::future::BoxFuture;
use service::{Clock, Service, no_soap};
pub(crate) use soap::fuzz;

use super::{
    Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered,
    http::{ClientError, Trouble},
    reading::{Proofs, Reading},
};
use crate::config::OnvifConfig;

/// How evidence from ONVIF is named.
const METHOD: &str = "onvif";

/// What is proved by a device that tells the time of its last boot, or shows only that it is there.
fn proofs(tells_boot: bool) -> Proofs {
    Proofs {
        identity: tells_boot,
        cause: false,
        uptime: false,
        health: true,
    }
}

/// A device that speaks ONVIF.
#[derive(Debug)]
pub struct OnvifDriver {
    service: Service,
    snapshot: Option<String>,
    /// Where the time of the last boot is asked for, if it is.
    events: Option<Events>,
    boots: Mutex<Boots>,
}

/// What a look saw.
#[derive(Debug)]
struct Look {
    clock: Clock,
    /// What the device told of its boot, and it can be made use of.
    boot: Option<Boot>,
}

impl OnvifDriver {
    /// A device behind those settings.
    pub fn new(config: OnvifConfig) -> Result<Self, ClientError> {
        Ok(Self {
            service: Service::new(config.endpoint, config.user)?,
            snapshot: config.snapshot,
            events: config.last_reboot.then(Events::default),
            boots: Mutex::default(),
        })
    }

    /// Looks whether the device is there, at its clock, and at its last boot.
    async fn look(&self) -> Result<Look, Trouble> {
        let before = self.service.look().await?;
        let (Some(events), Some(_)) = (&self.events, before.shows) else {
            return Ok(Look::at(before));
        };
        // A device that does not tell, does not tell now, or says so in some other way, has shown its
        // clock nevertheless.
        let Ok(times) = events.times(&self.service, before).await else {
            return Ok(Look::at(before));
        };
        let clock = self.service.look().await?;
        let boot = clock.after(before).and_then(|now| Boot::of(times, now));
        Ok(Look { clock, boot })
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

    async fn observed(&self, baseline: &Baseline) -> Result<Observation, Trouble> {
        let first = Boot::in_baseline(baseline);
        let look = match first {
            Some(_) => self.look().await,
            None => self.service.look().await.map(Look::at),
        };
        let mut boots = lock(&self.boots);
        if let Err(Trouble::Silence(_)) = &look {
            boots.miss();
        }
        let look = look?;
        let seen = look.boot.zip(first);
        let boot_id = seen.and_then(|(boot, first)| boots.name(boot, look.clock.at, first));
        let reading = Reading {
            boot_id,
            ..Reading::default()
        };
        Ok(Observation {
            detail: look.to_string(),
            ..reading.observation(METHOD)
        })
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
            let boot = self.look().await.map_err(Trouble::while_looking)?.boot;
            // What it tells is no name to know the boot by for long: its clock may be set.
            Ok(proofs(boot.is_some_and(Boot::is_sound)).probe(None))
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let look = self.look().await.map_err(Trouble::while_looking)?;
            let sound = look.boot.filter(|boot| boot.is_sound());
            let name = |boot| lock(&self.boots).begin(boot, look.clock.at);
            Ok(Baseline {
                detail: look.to_string(),
                boot_id: sound.map(name),
                uptime: sound.map(Boot::uptime),
                ..Baseline::default()
            })
        })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(self.give(order))
    }

    fn observe<'a>(
        &'a self,
        baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            self.observed(baseline)
                .await
                .map_err(Trouble::while_looking)
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

impl Look {
    /// A look at no more than the clock.
    fn at(clock: Clock) -> Self {
        Self { clock, boot: None }
    }
}

/// The same for a person. A device's clock proves nothing.
impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it answers")?;
        if let Some(clock) = self.clock.shows {
            write!(f, ", by its clock at {clock}")?;
        }
        if let Some(boot) = self.boot {
            write!(f, ", booted {}", boot.began)?;
        }
        Ok(())
    }
}

fn lock(boots: &Mutex<Boots>) -> MutexGuard<'_, Boots> {
    // No holder of the lock can leave the value half changed.
    boots.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
