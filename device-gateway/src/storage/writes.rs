//! What is measured of writes to the disk.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, histogram::Histogram},
    registry::{Registry, Unit},
};

/// From a fast disk to a memory card that has to erase first.
const BUCKETS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0];

/// What is measured of writes. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Writes {
    took: Histogram,
    failed: Counter,
    /// Why the newest use failed.
    trouble: Arc<Mutex<Option<String>>>,
}

impl Default for Writes {
    fn default() -> Self {
        Self {
            took: Histogram::new(BUCKETS),
            failed: Counter::default(),
            trouble: Arc::default(),
        }
    }
}

impl Writes {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "journal_write",
            "How long synced writes of the journal took",
            Unit::Seconds,
            self.took.clone(),
        );
        registry.register(
            "journal_failures",
            "Uses of the journal that failed",
            self.failed.clone(),
        );
    }

    /// Why the journal could not be used the last time.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.place().clone()
    }

    pub(super) fn succeeded(&self) {
        *self.place() = None;
    }

    /// A synced write took so long, from when it came.
    pub(super) fn took(&self, took: Duration) {
        self.took.observe(took.as_secs_f64());
    }

    pub(super) fn failed(&self, why: String) {
        self.failed.inc();
        *self.place() = Some(why);
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
