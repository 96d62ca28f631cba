//! What those who run the gateway see of it: metrics, readiness, and where each device stands.
//!
//! No label names a device: a gateway may hold a thousand. `GET /status` does, on request.

mod desk;
mod status;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use daemon::admin::Pages;
use iot_hub::identity::DeviceId;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

pub(crate) use self::desk::Desk;
pub use self::status::{DeviceStatus, Status, Trouble};
use crate::{local_mqtt::Accounts, storage::Writes};

/// What the names of all metrics of this program begin with.
const PREFIX: &str = "device_gateway";

/// What is counted and measured. Clones are the same.
#[derive(Clone)]
pub struct Instruments(Arc<Inner>);

struct Inner {
    registry: Registry,
    writes: Writes,
    accounts: Option<Accounts>,
    devices: Mutex<BTreeMap<DeviceId, DeviceStatus>>,
    held: Gauge,
    connected: Gauge,
    connects: Counter,
    disconnects: Counter,
    open: Gauge,
    undelivered: Gauge,
    local_sessions: Gauge,
    /// With a broker alone.
    broker: Gauge,
    ended: Family<Verdict, Counter>,
    driver_errors: Family<Kind, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    state: &'static str,
    error: String,
    grade: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

impl Instruments {
    /// Nothing is counted yet. Those that local devices meet the gateway by are watched, too.
    pub(crate) fn new(writes: Writes, accounts: Option<Accounts>) -> Self {
        let mut all = Registry::default();
        daemon::process::register(&mut all, PREFIX, env!("CARGO_PKG_VERSION"));
        let registry = all.sub_registry_with_prefix(PREFIX);
        writes.register(registry);
        let mut gauge = |name, help| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let held = gauge("devices", "Devices that are held");
        let connected = gauge("hub_sessions", "Devices that are connected to the hub");
        let open = gauge("attempts", "Open attempts");
        let undelivered = gauge("outbox", "Devices whose report the hub does not have yet");
        let local_sessions = gauge("local_mqtt_sessions", "Local devices that are connected");
        let broker = match accounts.as_ref().and_then(Accounts::broker) {
            Some(_) => gauge(
                "local_mqtt_broker_connected",
                "Whether the broker of the local devices can be used",
            ),
            None => Gauge::default(),
        };
        let mut counter = |name, help| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let connects = counter(
            "hub_connects",
            "Sessions with the hub that began, renewals too",
        );
        let disconnects = counter("hub_disconnects", "Sessions with the hub that were lost");
        let ended = Family::default();
        registry.register(
            "attempts_ended",
            "Attempts that ended, by state, failure and grade of evidence",
            ended.clone(),
        );
        let driver_errors = Family::default();
        registry.register(
            "driver_errors",
            "Steps of drivers that failed, by the kind of failure",
            driver_errors.clone(),
        );
        Self(Arc::new(Inner {
            registry: all,
            writes,
            accounts,
            devices: Mutex::default(),
            held,
            connected,
            connects,
            disconnects,
            open,
            undelivered,
            local_sessions,
            broker,
            ended,
            driver_errors,
        }))
    }

    /// The place where one more device says how it stands, until it is dropped.
    pub(crate) fn desk(&self, id: &DeviceId) -> Desk {
        Desk::new(self.clone(), id.clone())
    }

    /// Where everything stands.
    pub fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trouble: self.trouble(),
            devices: self
                .devices()
                .iter()
                .map(|(id, device)| {
                    let accounts = self.0.accounts.as_ref();
                    let local = accounts.and_then(|all| all.is_connected(id.as_str()));
                    let device = DeviceStatus {
                        local,
                        ..device.clone()
                    };
                    (id.to_string(), device)
                })
                .collect(),
        }
    }

    /// What is wrong with the broker, where local devices are at one.
    fn broker_trouble(&self) -> Option<String> {
        self.0.accounts.as_ref()?.broker()?.trouble()
    }

    fn devices(&self) -> MutexGuard<'_, BTreeMap<DeviceId, DeviceStatus>> {
        // No holder of the lock can leave it half changed.
        self.0
            .devices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages for Instruments {
    fn metrics(&self) -> String {
        let inner = &self.0;
        {
            let devices = self.devices();
            let count = |wanted: fn(&DeviceStatus) -> bool| {
                let count = devices.values().filter(|device| wanted(device)).count();
                i64::try_from(count).unwrap_or(i64::MAX)
            };
            inner.held.set(count(|_| true));
            inner.connected.set(count(|device| device.connected));
            inner.open.set(count(|device| device.attempt.is_some()));
            inner.undelivered.set(count(|device| device.undelivered));
        }
        let local = inner.accounts.as_ref().map_or(0, Accounts::connected);
        inner
            .local_sessions
            .set(i64::try_from(local).unwrap_or(i64::MAX));
        inner.broker.set(i64::from(self.broker_trouble().is_none()));
        let mut text = String::new();
        match encode(&mut text, &inner.registry) {
            Ok(()) => text,
            // Half of them would be taken for all of them.
            Err(fmt::Error) => String::new(),
        }
    }

    fn trouble(&self) -> Option<String> {
        if let Some(error) = self.0.writes.trouble() {
            return Some(format!("the journal cannot be used: {error}"));
        }
        if let Some(error) = self.broker_trouble() {
            return Some(format!(
                "the broker of the local devices cannot be used: {error}"
            ));
        }
        let devices = self.devices();
        let cut_off = !devices.is_empty() && !devices.values().any(|device| device.connected);
        cut_off.then(|| "no device is connected to the hub".to_owned())
    }

    fn document(&self, path: &str) -> Option<String> {
        let status = (path == "/status").then(|| self.status())?;
        serde_json::to_string(&status).ok()
    }
}

impl fmt::Debug for Instruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instruments").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::BrokerConfig,
        local_mqtt::{BrokerClient, BrokerSettings},
        storage::Storage,
    };

    #[test]
    fn a_broker_that_is_away_is_told_and_where_there_is_none_nothing_is() {
        const METRIC: &str = "device_gateway_local_mqtt_broker_connected";
        let writes = Storage::in_memory().writes();
        let without = Instruments::new(writes.clone(), None);
        assert_eq!(without.trouble(), None);
        assert!(!without.metrics().contains(METRIC));
        let settings = BrokerSettings::new(&BrokerConfig {
            host: "127.0.0.1".to_owned(),
            port: 1,
            user: "gw".to_owned(),
            password: "secret".into(),
            client_id: "edge-1".to_owned(),
            tls: false,
            ca_file: None,
        });
        let client = BrokerClient::new(settings.unwrap());
        let instruments = Instruments::new(writes, Some(client.accounts()));
        assert_eq!(
            instruments.trouble().unwrap(),
            "the broker of the local devices cannot be used: not connected yet"
        );
        let metrics = instruments.metrics();
        assert!(metrics.contains(&format!("{METRIC} 0")), "{metrics}");
    }
}
