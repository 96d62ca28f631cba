//! The service without its API: begins attempts, keeps them going, and lets others follow them.

mod begin;
mod cancel;
mod draft;
mod hanging;
mod log;
mod runner;
mod tags;

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use daemon::panics::caught_in;
use iot_hub::{identity::DeviceId, reboot::RequestId, twin::Twin};
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{hanging::Slots, runner::Runner};
pub use self::{
    log::{Log, Now, Reader, Told},
    tags::{Age, Tags},
};
use crate::{
    access::Caller,
    attempt::{Input, Rules, View},
    error::Error,
    hub::{Hub, Page},
    metrics::Instruments,
    poller::Poller,
    quota::{HubQuota, PacedHub},
    store::{Audit, AuditQuery, Audited, ListQuery, Store, StoreError, Verdict},
    vital::Vital,
};

/// How many inputs may wait for one attempt: each is one caller that asks to cancel it.
const INPUTS: usize = 16;

/// How long an attempt may be stored before it has a task: far longer than it takes.
const TAKING_UP: Duration = Duration::from_secs(1);

/// How often the retention is enforced.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// How patient the service is with itself and its callers.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// How long a call waits for the device's answer.
    pub answer_timeout: Duration,
    /// How long an attempt may take when the caller does not say.
    pub default_deadline: Duration,
    /// How often a lost attempt's device is looked for.
    pub recovery_pause: Duration,
    /// For how long it is looked for.
    pub recovery_limit: Duration,
    /// How long ended attempts and the audit are kept.
    pub retention: Duration,
    /// The pauses of the attempts themselves.
    pub rules: Rules,
}

/// Begins attempts, keeps them going, and lets others follow them.
#[derive(Debug, Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    hub: Arc<PacedHub>,
    slots: Slots,
    poller: Poller,
    timing: Timing,
    live: Mutex<HashMap<RequestId, Live>>,
    /// Tells of each attempt that gets a task.
    taken_up: Notify,
    tags: tags::Memory,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// An attempt that has a task.
#[derive(Debug, Clone)]
struct Live {
    /// A channel sets room aside for 32 of what goes through it.
    inputs: mpsc::Sender<Box<Question>>,
    log: Arc<Log>,
}

/// An input from outside, and who wants to know that it was taken in.
#[derive(Debug)]
struct Question {
    input: Input,
    taken: oneshot::Sender<()>,
}

impl Service {
    /// Takes up every attempt that the store has open.
    pub async fn start(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        poller: Poller,
        quota: &HubQuota,
        timing: Timing,
        vital: &Vital,
        shutdown: CancellationToken,
    ) -> Result<Self, StoreError> {
        let inner = Arc::new(Inner {
            store,
            hub: Arc::new(PacedHub::new(hub, quota, vital)),
            slots: Slots::new(quota.hanging_calls),
            poller,
            timing,
            live: Mutex::default(),
            taken_up: Notify::new(),
            tags: tags::Memory::default(),
            tasks: TaskTracker::new(),
            shutdown,
        });
        for attempt in inner.store.unsettled(inner.lost_since()).await? {
            let id = attempt.view.id;
            tracing::info!(%id, device = %attempt.view.device, state = %attempt.view.state, "resuming an attempt");
            let events = inner.store.events(id).await?;
            let log = Arc::new(Log::new(attempt.clone(), events));
            let follower = inner.poller.follow(attempt.view.device.clone());
            let resumed = Some(Input::Resumed);
            Runner::spawn(&inner, attempt, log, follower, Vec::new(), resumed);
        }
        let pruned = inner.clone();
        inner.tasks.spawn(async move { pruned.prune().await });
        Ok(Self { inner })
    }

    /// Waits until the attempts' tasks have ended, which begins with the shutdown.
    pub async fn stopped(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Gives an attempt's task something to take in, and waits until it has.
    async fn ask(&self, id: RequestId, input: Input) {
        let Some(live) = self.inner.live().get(&id).cloned() else {
            return;
        };
        let (taken, told) = oneshot::channel();
        let question = Box::new(Question { input, taken });
        if live.inputs.send(question).await.is_ok() {
            // An attempt that ends first needs no telling.
            drop(told.await);
        }
    }

    /// Finds an attempt's log: that of its task, or what is stored of it.
    pub async fn log(&self, device: &DeviceId, id: RequestId) -> Result<Arc<Log>, Error> {
        let missing = || Error::NoAttempt(device.clone(), id);
        let inner = &self.inner;
        let limit = Instant::now() + TAKING_UP;
        let log = loop {
            let mut taken_up = pin!(inner.taken_up.notified());
            // From here on it tells of those that are taken up before anybody waits.
            taken_up.as_mut().enable();
            let live = inner.live().get(&id).map(|live| live.log.clone());
            if let Some(log) = live {
                log.look();
                break log;
            }
            let attempt = inner.store.get(id).await?.ok_or_else(missing)?;
            let is_stopping = inner.shutdown.is_cancelled();
            if attempt.view.state.is_terminal() || is_stopping || limit <= Instant::now() {
                let events = inner.store.events(id).await?;
                break Arc::new(Log::new(attempt, events));
            }
            // It was stored a moment ago: a log of what is stored would never tell how it goes on.
            tokio::select! {
                () = taken_up => {}
                () = inner.shutdown.cancelled() => {}
                () = tokio::time::sleep_until(limit.into()) => {}
            }
        };
        let now = log.now();
        if now.attempt.view.device == *device && now.withdrawn.is_none() {
            Ok(log)
        } else {
            Err(missing())
        }
    }

    /// Has every watcher look again, for something that is in no log.
    pub fn wake_watchers(&self) {
        let logs: Vec<Arc<Log>> = self
            .inner
            .live()
            .values()
            .map(|live| live.log.clone())
            .collect();
        logs.iter().for_each(|log| log.wake());
    }

    /// Lists attempts, newest first.
    pub async fn list(&self, query: ListQuery) -> Result<Vec<View>, Error> {
        Ok(self.inner.store.list(query).await?)
    }

    /// Lists the audit, newest first.
    pub async fn audited(&self, query: AuditQuery) -> Result<Vec<Audited>, Error> {
        Ok(self.inner.store.audited(query).await?)
    }

    /// Every open attempt by its device.
    pub fn open(&self) -> HashMap<DeviceId, RequestId> {
        let live = self.inner.live();
        let views = live.values().map(|live| live.log.now().attempt);
        views
            .filter(|attempt| !attempt.view.state.is_terminal())
            .map(|attempt| (attempt.view.device.clone(), attempt.view.id))
            .collect()
    }

    /// Finds the open attempt on a device.
    pub async fn open_on(&self, device: &DeviceId) -> Result<Option<RequestId>, Error> {
        let query = ListQuery {
            device: Some(device.clone()),
            conditions: vec![crate::store::Condition::Open(true)],
            after: None,
            limit: 1,
        };
        let open = self.inner.store.list(query).await?;
        Ok(open.first().map(|view| view.id))
    }

    /// Reads a device's twin.
    pub async fn twin(&self, device: &DeviceId, caller: &Caller) -> Result<Arc<Twin>, Error> {
        let read = self.inner.poller.read(device.clone(), &caller.who).await?;
        read.result.map_err(|trouble| Error::Trouble {
            device: device.clone(),
            trouble,
        })
    }

    /// Reads one page of a twin query.
    pub async fn query(
        &self,
        text: &str,
        page_size: u32,
        continuation: Option<&str>,
        caller: &Caller,
    ) -> Result<Page, Error> {
        let page = self
            .inner
            .hub
            .query(text, page_size, continuation, &caller.who);
        page.await
    }

    /// Lets `instruments` see how old the oldest reading among the open attempts' twins is.
    pub(crate) fn measure_staleness(&self, instruments: &Instruments) {
        // The instruments may outlive the service.
        let inner = Arc::downgrade(&self.inner);
        instruments.measure_staleness(move || {
            let inner = inner.upgrade()?;
            let now = Timestamp::now();
            let live = inner.live();
            let polled = live
                .values()
                .filter(|live| live.log.now().attempt.needs_reading());
            polled
                .filter_map(|live| live.log.last_read())
                .filter_map(|read| Duration::try_from(now.duration_since(read)).ok())
                .max()
        });
    }

    /// Ends when the service stops.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.inner.shutdown
    }

    /// A line of the audit; an empty verdict is filled in when the attempt has ended.
    fn line(caller: &Caller, action: &'static str, view: &View, verdict: &str) -> Audit {
        Audit {
            time: Timestamp::now(),
            who: caller.who.clone(),
            from: caller.from.clone(),
            action,
            id: Some(view.id),
            device: Some(view.device.clone()),
            why: view.reason.clone(),
            verdict: Verdict::allowed(verdict),
        }
    }
}

impl Inner {
    fn live(&self) -> MutexGuard<'_, HashMap<RequestId, Live>> {
        match self.live.lock() {
            Ok(live) => live,
            // Each holder changes one entry in one step.
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Whoever was lost since then is still looked for.
    fn lost_since(&self) -> Timestamp {
        let limit = self.timing.recovery_limit;
        Timestamp::now()
            .checked_sub(limit)
            .unwrap_or(Timestamp::MIN)
    }

    /// The task of this log is over; the id may have a new one already.
    fn retire(&self, id: RequestId, log: &Arc<Log>) {
        let mut live = self.live();
        if live
            .get(&id)
            .is_some_and(|live| Arc::ptr_eq(&live.log, log))
        {
            live.remove(&id);
        }
    }

    /// Enforces the retention until the service stops.
    async fn prune(&self) {
        loop {
            let before = Timestamp::now()
                .checked_sub(self.timing.retention)
                .unwrap_or(Timestamp::MIN);
            // A fault in it must not end it: the next hour is another try.
            let pruned = caught_in(self.store.prune(before)).await;
            if let Err(error) = pruned.unwrap_or_else(|panicked| Err(panicked.into())) {
                tracing::error!(error = ?error, "failed to remove what is past the retention");
            }
            tokio::select! {
                () = tokio::time::sleep(PRUNE_EVERY) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
