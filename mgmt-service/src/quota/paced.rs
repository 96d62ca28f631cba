//! The hub, asked no more often than its quotas allow.

use std::sync::Arc;

use iot_hub::{identity::DeviceId, method::MethodCall};
use serde_json::Value;

use super::{Claim, Exhausted, HubQuota, gate::Gate};
use crate::{
    attempt::{Trouble, Written},
    error::Error,
    hub::{CallOutcome, Hub, Page},
};

/// The part of all method calls that may be new requests: the rest is kept for cancels and for
/// sending again.
const NEW_REQUESTS: f64 = 0.9;

/// The hub's methods, twin updates and queries, asked no more often than its quotas allow.
#[derive(Debug)]
pub(crate) struct PacedHub {
    hub: Arc<Hub>,
    requests: Gate,
    methods: Gate,
    updates: Gate,
    queries: Gate,
}

impl PacedHub {
    /// Paces a hub.
    pub(crate) fn new(hub: Arc<Hub>, quota: &HubQuota) -> Self {
        let (methods, wait) = (quota.methods_per_second, quota.longest_wait);
        Self {
            hub,
            requests: Gate::new(NEW_REQUESTS * methods, wait),
            methods: Gate::new(methods, wait),
            updates: Gate::new(quota.updates_per_second, wait),
            queries: Gate::new(quota.queries_per_minute / 60.0, wait),
        }
    }

    /// Begins something that is going to call a method, if that needs no waiting.
    pub(crate) fn try_begin(&self) -> bool {
        self.requests.try_pass()
    }

    /// Waits until a caller may begin something that is going to call a method. Those who wait here
    /// have cost nothing yet.
    pub(crate) async fn begin(&self, caller: &str) -> Result<(), Exhausted> {
        self.requests.pass(Claim::Of(caller)).await
    }

    /// Calls a method of a device.
    pub(crate) async fn call(
        &self,
        device: &DeviceId,
        call: &MethodCall,
        claim: Claim<'_>,
    ) -> CallOutcome {
        if let Err(Exhausted { retry_after }) = self.methods.pass(claim).await {
            let retry_after = Some(retry_after);
            return CallOutcome::Undelivered(Trouble::Throttled { retry_after });
        }
        let outcome = self.hub.call(device, call).await;
        if let CallOutcome::Undelivered(trouble) = &outcome {
            note_refusal(&self.methods, trouble, "a method call");
        }
        outcome
    }

    /// Writes the request that a device finds in its twin; `null` removes it.
    pub(crate) async fn write_request(
        &self,
        device: &DeviceId,
        etag: &str,
        request: &Value,
    ) -> Written {
        if let Err(Exhausted { retry_after }) = self.updates.pass(Claim::First).await {
            let retry_after = Some(retry_after);
            return Written::Not(Trouble::Throttled { retry_after });
        }
        let written = self.hub.write_request(device, etag, request).await;
        if let Written::Not(trouble) = &written {
            note_refusal(&self.updates, trouble, "a twin's update");
        }
        written
    }

    /// Reads one page of a query for a caller.
    pub(crate) async fn query(
        &self,
        text: &str,
        page_size: u32,
        continuation: Option<&str>,
        caller: &str,
    ) -> Result<Page, Error> {
        self.queries.pass(Claim::Of(caller)).await?;
        let page = self.hub.query(text, page_size, continuation).await;
        page.map_err(|trouble| {
            note_refusal(&self.queries, &trouble, "a query");
            Error::Hub(trouble)
        })
    }
}

/// Slows down when the hub refuses what our own count still allows.
fn note_refusal(gate: &Gate, trouble: &Trouble, what: &str) {
    if let Trouble::Throttled { retry_after } = trouble {
        tracing::warn!(?retry_after, "the hub refused {what} for want of quota");
        gate.refused(*retry_after);
    }
}
