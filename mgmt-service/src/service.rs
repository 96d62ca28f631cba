//! The service without its API: begins attempts, keeps them going, and lets others follow them.

mod log;
mod runner;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use iot_hub::{identity::DeviceId, reboot::RequestId, twin::Twin};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::log::{Log, Now};
use self::runner::Runner;
use crate::{
    attempt::{Asked, Attempt, Input, Reading, Rules, View},
    error::Error,
    hub::{Hub, Page},
    poller::Poller,
    store::{Audit, Change, Created, ListQuery, Store, StoreError},
};

/// How many inputs may wait for one attempt: each is one caller that asks to cancel it.
const INPUTS: usize = 16;

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
    hub: Arc<Hub>,
    poller: Poller,
    timing: Timing,
    live: Mutex<HashMap<RequestId, Live>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// An attempt that has a task.
#[derive(Debug, Clone)]
struct Live {
    inputs: mpsc::Sender<Question>,
    log: Arc<Log>,
}

/// An input from outside, and who wants to know that it was taken in.
#[derive(Debug)]
struct Question {
    input: Input,
    taken: oneshot::Sender<()>,
}

/// Who makes a call, for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name.
    pub who: String,
    /// Its address.
    pub from: String,
}

impl Service {
    /// Takes up every attempt that the store has open.
    pub async fn start(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        poller: Poller,
        timing: Timing,
        shutdown: CancellationToken,
    ) -> Result<Self, StoreError> {
        let inner = Arc::new(Inner {
            store,
            hub,
            poller,
            timing,
            live: Mutex::default(),
            tasks: TaskTracker::new(),
            shutdown,
        });
        let now = Timestamp::now();
        let lost_since = now
            .checked_sub(inner.timing.recovery_limit)
            .unwrap_or(Timestamp::MIN);
        for attempt in inner.store.unsettled(lost_since).await? {
            let id = attempt.view.id;
            tracing::info!(%id, device = %attempt.view.device, state = %attempt.view.state, "resuming an attempt");
            let events = inner.store.events(id).await?;
            let log = Arc::new(Log::new(attempt.clone(), events));
            Runner::spawn(&inner, attempt, log, Vec::new(), Some(Input::Resumed));
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

    /// Asks for a reboot; returns when it is under way, or known not to be.
    pub async fn reboot(
        &self,
        id: RequestId,
        device: DeviceId,
        asked: Asked,
        caller: &Caller,
    ) -> Result<View, Error> {
        let inner = &self.inner;
        if inner.shutdown.is_cancelled() {
            return Err(Error::Stopping);
        }
        let now = Timestamp::now();
        let (attempt, step) = Attempt::begin(
            id,
            device.clone(),
            asked.clone(),
            inner.timing.default_deadline,
            now,
        );
        let change = Change {
            attempt: attempt.clone(),
            events: step.events.clone(),
        };
        let audit = Self::line(caller, "REBOOT", &attempt.view, "");
        let log = match inner.store.create(change, audit).await? {
            Created::New => {
                tracing::info!(%id, %device, mode = %asked.mode, from = caller.from, "a reboot is asked for");
                let log = Arc::new(Log::new(attempt.clone(), step.events));
                Runner::spawn(inner, attempt, log.clone(), step.effects, None);
                log
            }
            Created::Known(known) if known.view.device == device && known.asked == asked => {
                self.log(&device, id).await?
            }
            Created::Known(_) => {
                let refused = Self::line(caller, "REBOOT", &attempt.view, "REQUEST_ID_USED");
                inner.store.audit(refused).await?;
                return Err(Error::IdUsed);
            }
            Created::Busy(holder) => {
                let refused = Self::line(caller, "REBOOT", &attempt.view, "DEVICE_BUSY");
                inner.store.audit(refused).await?;
                return Err(Error::Busy { device, holder });
            }
        };
        self.begun(&log).await
    }

    /// Waits for the outcome of the first call to the device.
    async fn begun(&self, log: &Log) -> Result<View, Error> {
        let settled = |now: &Now| {
            now.withdrawn.is_some()
                || now.attempt.is_under_way()
                || now.attempt.view.state.is_terminal()
        };
        let waited = timeout(self.inner.timing.answer_timeout, async {
            tokio::select! {
                now = log.wait_for(settled) => now,
                () = self.inner.shutdown.cancelled() => log.now(),
            }
        });
        let now = match waited.await {
            Ok(now) => now,
            Err(_) => {
                let id = log.now().attempt.view.id;
                self.ask(id, Input::CallerGone).await;
                log.now()
            }
        };
        let view = now.attempt.view.clone();
        let device = view.device.clone();
        if let Some(trouble) = now.withdrawn {
            return Err(Error::Trouble { device, trouble });
        }
        match now.attempt.refused() {
            Some(refused) => Err(Error::Refused {
                device,
                message: view.error.map(|error| error.message).unwrap_or_default(),
                refused: Box::new(refused.clone()),
            }),
            None => Ok(view),
        }
    }

    /// Checks a request as far as that is possible without touching the device.
    pub async fn validate(
        &self,
        id: RequestId,
        device: DeviceId,
        asked: &Asked,
    ) -> Result<View, Error> {
        if let Some(holder) = self.open_on(&device).await? {
            return Err(Error::Busy { device, holder });
        }
        let twin = self.twin(&device).await?;
        let now = Timestamp::now();
        let reading = Reading::of(&twin, now);
        if let Err(trouble) = reading.check(asked) {
            return Err(Error::Trouble { device, trouble });
        }
        let (attempt, _) = Attempt::begin(
            id,
            device,
            asked.clone(),
            self.inner.timing.default_deadline,
            now,
        );
        Ok(View {
            dialect: reading.dialect,
            ..attempt.view
        })
    }

    /// Cancels an attempt; returns when the device has decided, or cannot be asked for now.
    pub async fn cancel(
        &self,
        device: &DeviceId,
        id: RequestId,
        reason: &str,
        abandon: bool,
        caller: &Caller,
    ) -> Result<View, Error> {
        let log = self.log(device, id).await?;
        let view = log.now().attempt.view.clone();
        if view.state.is_terminal() {
            return Ok(view);
        }
        let action = if abandon { "ABANDON" } else { "CANCEL" };
        let line = |verdict: &str| Audit {
            why: reason.to_owned(),
            ..Self::line(caller, action, &view, verdict)
        };
        self.inner.store.audit(line("ASKED")).await?;
        self.ask(id, Input::Cancel { abandon }).await;
        let settled =
            |now: &Now| now.attempt.view.state.is_terminal() || now.attempt.is_cancel_settled();
        let waited = timeout(self.inner.timing.answer_timeout, async {
            tokio::select! {
                now = log.wait_for(settled) => now,
                () = self.inner.shutdown.cancelled() => log.now(),
            }
        });
        let now = waited.await.unwrap_or_else(|_| log.now());
        let view = now.attempt.view.clone();
        if view.state.is_terminal() {
            self.inner.store.audit(line(view.state.name())).await?;
            Ok(view)
        } else if view.cancel_requested {
            Ok(view)
        } else {
            self.inner.store.audit(line("TOO_LATE")).await?;
            Err(Error::TooLate(view.state))
        }
    }

    /// Gives an attempt's task something to take in, and waits until it has.
    async fn ask(&self, id: RequestId, input: Input) {
        let Some(live) = self.inner.live().get(&id).cloned() else {
            return;
        };
        let (taken, told) = oneshot::channel();
        if live.inputs.send(Question { input, taken }).await.is_ok() {
            // An attempt that ends first needs no telling.
            drop(told.await);
        }
    }

    /// Finds an attempt's log: that of its task, or what is stored of it.
    pub async fn log(&self, device: &DeviceId, id: RequestId) -> Result<Arc<Log>, Error> {
        let missing = || Error::NoAttempt(device.clone(), id);
        let live = self.inner.live().get(&id).map(|live| live.log.clone());
        let log = match live {
            Some(log) => log,
            None => {
                let attempt = self.inner.store.get(id).await?.ok_or_else(missing)?;
                let events = self.inner.store.events(id).await?;
                Arc::new(Log::new(attempt, events))
            }
        };
        let now = log.now();
        if now.attempt.view.device == *device && now.withdrawn.is_none() {
            Ok(log)
        } else {
            Err(missing())
        }
    }

    /// Lists attempts, newest first.
    pub async fn list(&self, query: ListQuery) -> Result<Vec<View>, Error> {
        Ok(self.inner.store.list(query).await?)
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
    pub async fn twin(&self, device: &DeviceId) -> Result<Arc<Twin>, Error> {
        let read = self.inner.poller.read(device.clone()).await;
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
    ) -> Result<Page, Error> {
        let page = self.inner.hub.query(text, page_size, continuation);
        page.await.map_err(Error::Hub)
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
            id: view.id,
            device: view.device.clone(),
            why: view.reason.clone(),
            verdict: verdict.to_owned(),
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
            if let Err(error) = self.store.prune(before).await {
                tracing::error!(error = ?error, "failed to remove what is past the retention");
            }
            tokio::select! {
                () = tokio::time::sleep(PRUNE_EVERY) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }
}
