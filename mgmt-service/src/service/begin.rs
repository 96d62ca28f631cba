//! Beginning an attempt, or finding out that it cannot begin.

use std::sync::Arc;

use iot_hub::{identity::DeviceId, reboot::RequestId};
use jiff::Timestamp;
use tokio::time::timeout;

use super::{Caller, Log, Now, Service, runner::Runner};
use crate::{
    attempt::{Asked, Attempt, Input, Reading, View},
    error::Error,
    store::{Change, Created},
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
        self.take_turn(id, caller).await?;
        let now = Timestamp::now();
        let (mut attempt, step) = Attempt::begin(
            id,
            device.clone(),
            asked.clone(),
            inner.timing.default_deadline,
            now,
        );
        attempt.trace = traces::current();
        attempt.owner.clone_from(&caller.who);
        let change = Change {
            attempt: attempt.clone(),
            events: step.events.clone(),
        };
        let audit = Self::line(caller, "REBOOT", &attempt.view, "");
        let log = match inner.store.create(change, audit).await? {
            Created::New => {
                tracing::info!(%id, %device, mode = %asked.mode, who = caller.who, from = caller.from, "a reboot is asked for");
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

    /// Waits until the hub's quota has room for another request of this caller. A repeated request
    /// asks nothing of the hub.
    async fn take_turn(&self, id: RequestId, caller: &Caller) -> Result<(), Error> {
        let inner = &self.inner;
        if inner.live().contains_key(&id) || inner.hub.try_begin() {
            return Ok(());
        }
        if inner.store.get(id).await?.is_some() {
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
