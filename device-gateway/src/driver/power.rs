//! Taking a device's power away and giving it back, whatever else reaches the device.
//!
//! ```text
//!   Powered ─┬─ the device's own driver: what it looks like, graceful and forced reboots
//!            └─ Outlet: the power cycle
//! ```
//!
//! An outlet proves power and not the device: whether the device booted is for its own driver to
//! show. What was seen of the outlet goes with the command.

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures_util::future::BoxFuture;
use iot_hub::reboot::{Blocker, Mode};
use tokio::sync::mpsc;

use super::{
    Baseline, Driver, DriverError, Health, Hints, Notice, Observation, Order, Probe, Triggered,
};

/// Something that a device's power goes through.
pub(crate) trait Outlet: fmt::Debug + Send + Sync {
    /// Finds out whether a power cycle could be done, and does nothing.
    fn check(&self) -> BoxFuture<'_, Result<(), DriverError>>;

    /// Takes the power away and gives it back, once, and says what was seen of that. The power is on
    /// when this ends, as far as the outlet can be reached.
    fn cycle(&self) -> BoxFuture<'_, Result<Triggered, DriverError>>;

    /// Waits for the end of a cycle that was commanded before, and gives the power back if that does
    /// not. Where there was none this does nothing.
    fn restore(&self) -> BoxFuture<'_, Result<(), DriverError>>;
}

/// A device whose power goes through an outlet.
#[derive(Debug)]
pub(crate) struct Powered {
    device: Arc<dyn Driver>,
    outlet: Arc<dyn Outlet>,
}

impl Powered {
    /// Adds the power cycle to a device.
    pub(crate) fn new(device: Arc<dyn Driver>, outlet: Arc<dyn Outlet>) -> Self {
        Self { device, outlet }
    }
}

impl Driver for Powered {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            let (probe, outlet) =
                futures_util::future::join(self.device.probe(), self.outlet.check()).await;
            let mut probe = probe?;
            match outlet {
                // What can be done does not depend on what can be reached now.
                Ok(()) | Err(DriverError::Unreachable(_) | DriverError::Absent(_)) => {
                    if !probe.modes.contains(&Mode::PowerCycle) {
                        probe.modes.push(Mode::PowerCycle);
                    }
                }
                Err(
                    error @ (DriverError::Refused(_)
                    | DriverError::Unsupported(_)
                    | DriverError::Failed { .. }),
                ) => tracing::warn!(%error, "no power cycle can be offered"),
            }
            Ok(probe)
        })
    }

    fn blockers(
        &self,
        mode: Mode,
    ) -> BoxFuture<'_, Result<BTreeMap<String, Blocker>, DriverError>> {
        self.device.blockers(mode)
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        self.device.baseline()
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        match order.mode {
            Mode::Graceful | Mode::Forced => self.device.trigger(order),
            Mode::PowerCycle if order.dry_run => Box::pin(async {
                self.outlet.check().await?;
                Ok(Triggered::Rehearsed)
            }),
            Mode::PowerCycle => self.outlet.cycle(),
        }
    }

    fn restore_power(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.outlet.restore()
    }

    fn observe<'a>(
        &'a self,
        baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        self.device.observe(baseline)
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        self.device.health()
    }

    fn hints(&self) -> Option<Hints> {
        self.device.hints()
    }

    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        self.device.notices()
    }
}
