//! What the service counts and measures, for Prometheus.
//!
//! No label names a device or an attempt: their number has no bound.

mod attempts;
mod hub;
mod rpc;
mod store;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use daemon::admin::Pages;
use prometheus_client::{
    encoding::text::encode,
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};

pub use self::hub::{Asked, Contact, HubResult};
pub(crate) use self::rpc::OpenRpc;
use self::{attempts::Attempts, hub::HubMetrics, rpc::RpcMetrics, store::StoreMetrics};
use crate::readiness::Readiness;

/// What the names of all metrics of this program begin with.
const PREFIX: &str = "mgmt_service";

/// What those who run the service see of it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Instruments {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    readiness: Readiness,
    attempts: Attempts,
    hub: HubMetrics,
    rpcs: RpcMetrics,
    store: StoreMetrics,
    watchers: Gauge,
    ready: Gauge,
    staleness: FloatGauge,
    read_staleness: OnceLock<Box<dyn Fn() -> Option<Duration> + Send + Sync>>,
}

type FloatGauge = Gauge<f64, AtomicU64>;

/// One watcher, counted until it is dropped.
#[derive(Debug)]
pub struct Watching(Gauge<i64, AtomicI64>);

impl Instruments {
    /// Nothing is counted yet. `hub_limit` is how long the hub may fail to answer before the
    /// service is not ready; `calls_per_second` is how often it may be asked.
    pub fn new(hub_limit: Duration, calls_per_second: &[(Asked, f64)]) -> Self {
        let mut all = Registry::default();
        daemon::process::register(&mut all, PREFIX, env!("CARGO_PKG_VERSION"));
        let registry = all.sub_registry_with_prefix(PREFIX);
        let attempts = Attempts::register(registry);
        let hub = HubMetrics::register(registry, calls_per_second);
        let rpcs = RpcMetrics::register(registry);
        let store = StoreMetrics::register(registry);
        let watchers = Gauge::default();
        registry.register("watchers", "Open watches of attempts", watchers.clone());
        let ready = Gauge::default();
        registry.register(
            "ready",
            "1 while the service can do its work",
            ready.clone(),
        );
        let staleness = FloatGauge::default();
        registry.register_with_unit(
            "twin_staleness",
            "Age of the newest reading of the twin that was read longest ago, over all open attempts",
            Unit::Seconds,
            staleness.clone(),
        );
        let inner = Inner {
            registry: all,
            readiness: Readiness::new(hub_limit),
            attempts,
            hub,
            rpcs,
            store,
            watchers,
            ready,
            staleness,
            read_staleness: OnceLock::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Whether the service can do its work.
    pub fn readiness(&self) -> &Readiness {
        &self.inner.readiness
    }

    /// Counts a watcher.
    pub fn watching(&self) -> Watching {
        self.inner.watchers.inc();
        Watching(self.inner.watchers.clone())
    }

    /// Says how to find out how old the oldest reading is.
    pub fn measure_staleness(&self, read: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        // Only the first service of a process is measured.
        let _ = self.inner.read_staleness.set(Box::new(read));
    }

    /// A call of the hub is over.
    pub(crate) fn hub_asked(&self, asked: Asked, result: &impl HubResult, took: Duration) {
        let hub = &self.inner.hub;
        hub.called(asked, result.word(), took);
        match result.contact() {
            Contact::Reached => self.readiness().hub_answered(),
            Contact::Failed(trouble) => self.readiness().hub_failed(&trouble.to_string()),
            Contact::Unknown => {}
        }
        hub.reached(self.readiness().condition().is_hub_reached());
    }

    /// A call of the API begins. `method` is one of a small set.
    pub(crate) fn rpc(&self, method: &'static str) -> OpenRpc {
        OpenRpc::begin(self.clone(), method)
    }

    pub(crate) fn store(&self) -> &StoreMetrics {
        &self.inner.store
    }

    pub(crate) fn attempts(&self) -> &Attempts {
        &self.inner.attempts
    }
}

impl Pages for Instruments {
    fn metrics(&self) -> String {
        let inner = &self.inner;
        inner.ready.set(i64::from(self.trouble().is_none()));
        let staleness = inner.read_staleness.get().and_then(|read| read());
        let staleness = staleness.unwrap_or_default().as_secs_f64();
        inner.staleness.set(staleness);
        let mut text = String::new();
        match encode(&mut text, &inner.registry) {
            Ok(()) => text,
            // Half of them would be taken for all of them.
            Err(fmt::Error) => String::new(),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.inner.readiness.condition().trouble()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instruments").finish_non_exhaustive()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.dec();
    }
}
