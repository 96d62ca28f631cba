//! Operations of the store.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// From memory to a disk that spins up first.
const BUCKETS: [f64; 11] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0,
];

/// What is counted of the store's operations.
#[derive(Debug)]
pub(crate) struct StoreMetrics {
    took: Family<Operation, Histogram>,
    failed: Family<Operation, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

impl StoreMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            took: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            failed: Family::default(),
        };
        for operation in ["create", "save"] {
            drop(metrics.failed.get_or_create(&Operation { operation }));
        }
        registry.register_with_unit(
            "store_operation",
            "How long operations of the store took",
            Unit::Seconds,
            metrics.took.clone(),
        );
        registry.register(
            "store_failures",
            "Operations of the store that failed",
            metrics.failed.clone(),
        );
        metrics
    }

    /// An operation is over.
    pub(crate) fn done(&self, operation: &'static str, took: Duration, failed: bool) {
        let label = Operation { operation };
        self.took.get_or_create(&label).observe(took.as_secs_f64());
        if failed {
            self.failed.get_or_create(&label).inc();
        }
    }
}
