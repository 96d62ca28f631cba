//! A store that is measured: how long its operations take, whether they fail, and what becomes of
//! attempts. Every change of an attempt passes here before anybody is told of it.

use std::{sync::Arc, time::Instant};

use futures_util::{FutureExt as _, future::BoxFuture};
use iot_hub::{identity::DeviceId, reboot::RequestId};
use jiff::Timestamp;
use tracing::Instrument as _;

use super::{Audit, AuditQuery, Audited, Change, ListQuery, Store, StoreError, Taken};
use crate::{
    attempt::{Attempt, Event, View},
    durations::Learned,
    metrics::Instruments,
    traces::child_span,
};

/// A store that is measured.
#[derive(Debug)]
pub struct Measured {
    store: Arc<dyn Store>,
    instruments: Instruments,
}

impl Measured {
    /// Measures a store.
    pub fn new(store: Arc<dyn Store>, instruments: Instruments) -> Self {
        Self { store, instruments }
    }

    /// Measures an operation that writes: that one works says that the store works.
    fn write<'a, T: Send + 'a>(
        &'a self,
        operation: &'static str,
        work: BoxFuture<'a, Result<T, StoreError>>,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        self.read(operation, work)
            .inspect(|result| {
                if result.is_ok() {
                    self.instruments.readiness().store_worked();
                }
            })
            .boxed()
    }

    fn read<'a, T: Send + 'a>(
        &'a self,
        operation: &'static str,
        work: BoxFuture<'a, Result<T, StoreError>>,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        async move {
            let begun = Instant::now();
            let span = child_span!("store", operation);
            let result = work.instrument(span).await;
            let store = self.instruments.store();
            store.done(operation, begun.elapsed(), result.is_err());
            match &result {
                // A row that cannot be read says nothing about the others.
                Ok(_) | Err(StoreError::Damaged(_)) => {}
                Err(
                    error @ (StoreError::Database { .. }
                    | StoreError::Unsettled(_)
                    | StoreError::Newer { .. }
                    | StoreError::Panicked(_)
                    | StoreError::InUse
                    | StoreError::Closed),
                ) => {
                    let readiness = self.instruments.readiness();
                    readiness.store_failed(&error.to_string());
                }
            }
            result
        }
        .boxed()
    }
}

impl Store for Measured {
    fn create(
        &self,
        change: Change,
        audit: Audit,
    ) -> BoxFuture<'_, Result<Option<Taken>, StoreError>> {
        let view = change.attempt.view.clone();
        self.write("create", self.store.create(change, audit))
            .inspect(move |result| match result {
                Ok(None) => self.instruments.attempts().begun(&view),
                Ok(Some(Taken::Known(_) | Taken::Busy(_))) | Err(_) => {}
            })
            .boxed()
    }

    fn find(
        &self,
        id: RequestId,
        device: DeviceId,
    ) -> BoxFuture<'_, Result<Option<Taken>, StoreError>> {
        self.read("find", self.store.find(id, device))
    }

    fn save(&self, change: Change) -> BoxFuture<'_, Result<(), StoreError>> {
        let view = change.attempt.view.clone();
        self.write("save", self.store.save(change))
            .inspect(move |result| {
                if result.is_ok() {
                    let attempts = self.instruments.attempts();
                    attempts.changed(&view, Timestamp::now());
                }
            })
            .boxed()
    }

    fn forget(&self, id: RequestId, verdict: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write("forget", self.store.forget(id, verdict))
            .inspect(move |result| {
                if result.is_ok() {
                    self.instruments.attempts().withdrawn(id);
                }
            })
            .boxed()
    }

    fn audit(&self, audit: Audit) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write("audit", self.store.audit(audit))
    }

    fn get(&self, id: RequestId) -> BoxFuture<'_, Result<Option<Attempt>, StoreError>> {
        self.read("get", self.store.get(id))
    }

    fn unsettled(&self, lost_since: Timestamp) -> BoxFuture<'_, Result<Vec<Attempt>, StoreError>> {
        self.read("unsettled", self.store.unsettled(lost_since))
            .inspect(|result| {
                let resumed = result.iter().flatten();
                resumed.for_each(|attempt| self.instruments.attempts().resumed(&attempt.view));
            })
            .boxed()
    }

    fn ended(
        &self,
        device: DeviceId,
        since: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Attempt>, StoreError>> {
        self.read("ended", self.store.ended(device, since))
    }

    fn events(&self, id: RequestId) -> BoxFuture<'_, Result<Vec<Event>, StoreError>> {
        self.read("events", self.store.events(id))
    }

    fn durations(
        &self,
        class: String,
        device: DeviceId,
    ) -> BoxFuture<'_, Result<Vec<Learned>, StoreError>> {
        self.read("durations", self.store.durations(class, device))
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<View>, StoreError>> {
        self.read("list", self.store.list(query))
    }

    fn audited(&self, query: AuditQuery) -> BoxFuture<'_, Result<Vec<Audited>, StoreError>> {
        self.read("audited", self.store.audited(query))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write("close", self.store.close())
    }

    fn prune(&self, before: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write("prune", self.store.prune(before))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write("check", self.store.check())
    }
}
