//! A device that does what a test says.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use device_gateway::driver::{
    Baseline, Driver, DriverError, Health, Hinter, Hints, Observation, Order, Probe, Triggered,
};
use futures_util::future::BoxFuture;
use iot_hub::reboot::{Blocker, Grade, Mode, RequestId};
use tokio::sync::Notify;

/// What the device does with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Script {
    /// It reboots.
    #[default]
    Reboots,
    /// It says yes and does nothing.
    Lies,
    /// It waits for [`ScriptedDevice::boot`].
    Waits,
    /// Its driver panics before it gives the command.
    PanicsBefore,
    /// Its driver panics once it has given the command; else like [`Self::Waits`].
    PanicsAfter,
}

#[derive(Debug)]
pub(crate) struct ScriptedDevice {
    state: Mutex<State>,
    hinter: Hinter,
    triggered: Notify,
}

#[derive(Debug, Default)]
struct State {
    script: Script,
    boot: u32,
    caused_by: Option<RequestId>,
    orders: Vec<Order>,
    blockers: BTreeMap<String, Blocker>,
}

impl Default for ScriptedDevice {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            hinter: Hinter::default(),
            triggered: Notify::new(),
        }
    }
}

impl ScriptedDevice {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn follow(&self, script: Script) {
        self.state().script = script;
    }

    /// The commands that it got, over its whole life.
    pub(crate) fn orders(&self) -> Vec<Order> {
        self.state().orders.clone()
    }

    /// Waits until it has got a command.
    pub(crate) async fn ordered(&self) {
        loop {
            let notified = self.triggered.notified();
            if !self.state().orders.is_empty() {
                return;
            }
            notified.await;
        }
    }

    /// Boots it, for the newest command or for nobody.
    pub(crate) fn boot(&self, caused_by: Option<RequestId>) {
        let mut state = self.state();
        state.boot += 1;
        state.caused_by = caused_by;
        drop(state);
        self.hinter.hint();
    }
}

impl State {
    fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }
}

impl Driver for ScriptedDevice {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            Ok(Probe {
                modes: vec![Mode::Graceful, Mode::Forced],
                best_grade: Grade::Healthy,
                required_grade: Grade::BootChanged,
                boot_id: Some(self.state().boot_id()),
                restarts_gateway: false,
            })
        })
    }

    fn blockers(&self, _: Mode) -> BoxFuture<'_, Result<BTreeMap<String, Blocker>, DriverError>> {
        Box::pin(async { Ok(self.state().blockers.clone()) })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            Ok(Baseline {
                boot_id: Some(self.state().boot_id()),
                ..Baseline::default()
            })
        })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(async {
            if order.dry_run {
                return Ok(Triggered::Rehearsed);
            }
            let script = self.state().script;
            assert_ne!(script, Script::PanicsBefore, "a fault in the driver");
            self.state().orders.push(order.clone());
            self.triggered.notify_waiters();
            assert_ne!(script, Script::PanicsAfter, "a fault in the driver");
            if script == Script::Reboots {
                self.boot(Some(order.id));
            }
            Ok(Triggered::Acknowledged)
        })
    }

    fn observe<'a>(&'a self, _: &'a Baseline) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            let state = self.state();
            Ok(Observation {
                present: true,
                was_absent: false,
                boot_id: Some(state.boot_id()),
                uptime: None,
                boot_count: None,
                caused_by: state.caused_by,
                method: "script",
                detail: String::new(),
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async { Ok(Health::Healthy) })
    }

    fn hints(&self) -> Option<Hints> {
        Some(self.hinter.hints())
    }
}
