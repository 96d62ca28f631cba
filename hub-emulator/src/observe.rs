//! What a test can see of a running emulator, and await.

use iot_hub::identity::DeviceId;
use iot_hub::twin::Twin;
use jiff::Timestamp;
use serde_json::Value;

use crate::counters::{Counters, Meters};
use crate::emulator::Emulator;
use crate::hub::{EntityId, FeedbackRecord, MethodRecord, Telemetry};
use crate::switchboard::State;

/// What an emulator holds for clients that are there now. All of it goes with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// TCP connections at either front door.
    pub connections: usize,
    /// Devices and modules that are connected.
    pub devices: usize,
    /// Service calls that wait for a device.
    pub callers: usize,
    /// Messages that a fault keeps back.
    pub withheld: usize,
}

impl Emulator {
    /// A device's twin as the REST API would show it, or null when there is no such device. Not
    /// counted as a read.
    #[must_use]
    pub fn twin(&self, device: &str) -> Value {
        self.switchboard
            .read(|state| twin_value(state, device))
            .unwrap_or_default()
    }

    /// Waits until a device's twin is as wanted, and returns it. Looks after every change, so no
    /// state in between is missed. A device that does not exist yet is waited for.
    pub async fn watch_twin(&self, device: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.switchboard
            .wait_for(|state| twin_value(state, device).filter(&wanted))
            .await
    }

    /// Whether a device is connected now.
    #[must_use]
    pub fn is_connected(&self, device: &str) -> bool {
        self.switchboard.read(|state| is_connected(state, device))
    }

    /// Waits until a device is connected.
    pub async fn connected(&self, device: &str) {
        self.switchboard
            .wait_until(|state| is_connected(state, device))
            .await;
    }

    /// Waits until a device is not connected.
    pub async fn disconnected(&self, device: &str) {
        self.switchboard
            .wait_until(|state| !is_connected(state, device))
            .await;
    }

    /// Waits until a device is connected and subscribed to methods: a call would reach it now.
    pub async fn callable(&self, device: &str) {
        let callable =
            |state: &State| device_entity(device).is_some_and(|id| state.hub.callable(&id).is_ok());
        self.switchboard.wait_until(callable).await;
    }

    /// The newest messages that devices sent to the cloud, oldest first; at most 1000.
    #[must_use]
    pub fn telemetry(&self) -> Vec<Telemetry> {
        self.switchboard
            .read(|state| state.hub.telemetry().cloned().collect())
    }

    /// What became of messages to devices whose senders wished to know, oldest first, as long as no
    /// service has taken it; at most 1000.
    #[must_use]
    pub fn feedback(&self) -> Vec<FeedbackRecord> {
        self.switchboard.read(|state| state.hub.feedback())
    }

    /// The newest direct methods that were delivered to devices, oldest first; at most 1000.
    #[must_use]
    pub fn methods(&self) -> Vec<MethodRecord> {
        self.switchboard.read(method_records)
    }

    /// Waits until the delivered methods are as wanted.
    pub async fn watch_methods(
        &self,
        wanted: impl Fn(&[MethodRecord]) -> bool,
    ) -> Vec<MethodRecord> {
        let look = |state: &State| Some(method_records(state)).filter(|records| wanted(records));
        self.switchboard.wait_for(look).await
    }

    /// Waits until a job is as wanted, and returns it as the REST API would show it. A job that does
    /// not exist yet is waited for.
    pub async fn watch_job(&self, job: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let look = |state: &State| {
            let job = state.hub.job(&job.parse().ok()?).ok()?;
            Some(job).filter(&wanted)
        };
        self.switchboard.wait_for(look).await
    }

    /// What the emulator holds for clients that are there now.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        self.switchboard.read(State::holdings)
    }

    /// Waits until the emulator holds nothing for any client.
    pub async fn deserted(&self) {
        self.switchboard
            .wait_until(|state| state.holdings() == Holdings::default())
            .await;
    }

    /// What clients cost so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.switchboard.read(|state| state.meters.read())
    }

    /// How many messages were used today of those that the hub takes in a day: each 4 KB of telemetry,
    /// methods, twins, queries' answers and messages to devices is one.
    #[must_use]
    pub fn messages_used(&self) -> u64 {
        self.switchboard
            .read(|state| state.quota.used(Timestamp::now()))
    }

    /// Sets every counter to zero.
    pub fn reset_counters(&self) {
        self.switchboard
            .change(|state, _| state.meters = Meters::default());
    }

    /// Waits until the counters are as wanted.
    pub async fn counted(&self, wanted: impl Fn(&Counters) -> bool) -> Counters {
        self.switchboard
            .wait_for(|state| Some(state.meters.read()).filter(&wanted))
            .await
    }
}

fn method_records(state: &State) -> Vec<MethodRecord> {
    state.hub.method_records().cloned().collect()
}

fn device_entity(device: &str) -> Option<EntityId> {
    device.parse::<DeviceId>().ok().map(EntityId::from)
}

fn twin_value(state: &State, device: &str) -> Option<Value> {
    state
        .hub
        .twin(&device_entity(device)?)
        .ok()
        .map(Twin::to_value)
}

fn is_connected(state: &State, device: &str) -> bool {
    device_entity(device).is_some_and(|id| state.hub.link_of(&id).is_some())
}
