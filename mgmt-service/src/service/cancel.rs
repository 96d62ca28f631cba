//! Cancelling and abandoning an attempt.

use iot_hub::{identity::DeviceId, reboot::RequestId};
use tokio::time::timeout;

use super::{Caller, Now, Service};
use crate::{
    attempt::{Input, View},
    error::Error,
    store::Audit,
};

impl Service {
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
            self.note(line(view.state.name())).await;
            Ok(view)
        } else if view.cancel_requested {
            Ok(view)
        } else {
            self.note(line("TOO_LATE")).await;
            Err(Error::TooLate(view.state))
        }
    }

    /// Writes what came of it. That this cannot be written does not change what came of it.
    async fn note(&self, line: Audit) {
        if let Err(error) = self.inner.store.audit(line).await {
            let error = anyhow::Error::from(error);
            tracing::error!("failed to {error:#}");
        }
    }
}
