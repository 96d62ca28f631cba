//! Beginning an attempt, or finding out that it cannot begin.

use std::sync::Arc;

use daemon::panics::caught_in;
use iot_hub::{identity::DeviceId, reboot::RequestId};
use jiff::Timestamp;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{Caller, Log, Now, Service, draft::Draft};
use crate::{
    attempt::{Asked, Attempt, Input, Reading, Step, View},
    error::Error,
    store::{StoreError, Taken},
    traces,
};

impl Service {
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
        let limit = inner.timing.default_deadline;
        let now = Timestamp::now();
        let (mut attempt, step) = Attempt::begin(id, device.clone(), asked.clone(), limit, now);
        attempt.trace = traces::current();
        attempt.owner.clone_from(&caller.who);
        let view = attempt.view.clone();
        let log = match self.begin(attempt, step, caller).await? {
            Ok(log) => log,
            Err(Taken::Known(known)) if known.view.device == device && known.asked == asked => {
                self.log(&device, id).await?
            }
            Err(Taken::Known(_)) => {
                let refused = Self::line(caller, "REBOOT", &view, "REQUEST_ID_USED");
                inner.store.audit(refused).await?;
                return Err(Error::IdUsed);
            }
            Err(Taken::Busy(holder)) => {
                let refused = Self::line(caller, "REBOOT", &view, "DEVICE_BUSY");
                inner.store.audit(refused).await?;
                return Err(Error::Busy { device, holder });
            }
        };
        self.begun(&log).await
    }

    /// Begins a new attempt, unless something is in its way. That is looked for first, for what
    /// is in the way asks nothing of the hub; the store has the last word.
    async fn begin(
        &self,
        attempt: Attempt,
        step: Step,
        caller: &Caller,
    ) -> Result<Result<Arc<Log>, Taken>, Error> {
        let inner = &self.inner;
        let (id, device) = (attempt.view.id, attempt.view.device.clone());
        if let Some(taken) = inner.store.find(id, device.clone()).await? {
            return Ok(Err(taken));
        }
        self.take_turn(caller).await?;
        let audit = Self::line(caller, "REBOOT", &attempt.view, "");
        let draft = Draft::new(inner, attempt, step).await?;
        let mode = draft.mode();
        // From here on the caller may be gone, and what it asked for must not be stored with nobody to
        // work on it.
        let begun = caught_in(draft.begin(inner.clone(), audit)).in_current_span();
        let Ok(begun) = inner.tasks.spawn(begun).await else {
            return Err(Error::Stopping);
        };
        // A fault may have struck when it was stored already.
        let begun = begun.unwrap_or_else(|panicked| Err(StoreError::unsettled(panicked)));
        let begun = begun.map_err(|error| match error {
            source @ StoreError::Unsettled(_) => Error::Unsettled {
                device: device.clone(),
                id,
                source,
            },
            error @ (StoreError::Database { .. }
            | StoreError::Newer { .. }
            | StoreError::Damaged(_)
            | StoreError::Panicked(_)
            | StoreError::InUse
            | StoreError::Closed) => Error::Store(error),
        })?;
        if begun.is_ok() {
            tracing::info!(%id, %device, %mode, who = caller.who, from = caller.from, "a reboot is asked for");
        }
        Ok(begun)
    }

    /// Waits until the hub's quota has room for another request of this caller.
    async fn take_turn(&self, caller: &Caller) -> Result<(), Error> {
        let inner = &self.inner;
        if inner.hub.try_begin() {
            return Ok(());
        }
        tokio::select! {
            turn = inner.hub.begin(&caller.who) => Ok(turn?),
            () = inner.shutdown.cancelled() => Err(Error::Stopping),
        }
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
        caller: &Caller,
    ) -> Result<View, Error> {
        if let Some(holder) = self.open_on(&device).await? {
            return Err(Error::Busy { device, holder });
        }
        let twin = self.twin(&device, caller).await?;
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
}
