//! The hub, asked no more often than its quotas allow.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use iot_hub::{identity::DeviceId, method::MethodCall};
use serde_json::Value;
use tokio::time::timeout;

use super::{Bucket, Claim, Exhausted, HubQuota, gate::Gate};
use crate::{
    attempt::{Trouble, Written},
    error::Error,
    hub::{CallOutcome, Hub, Page},
    metrics::Asked,
    vital::Vital,
};

/// The part of all method calls that may be new requests: the rest is kept for cancels and for
/// sending again.
const NEW_REQUESTS: f64 = 0.9;

/// The part of all method calls that may be left hanging, at most: they only save reads.
const HANGING: f64 = 0.5;

impl HubQuota {
    /// How often the hub may be asked in a second, by kind. What is left hanging is a part of the methods.
    pub(crate) fn limits(&self) -> [(Asked, f64); 4] {
        [
            (Asked::TwinPatch, self.updates_per_second),
            (Asked::Method, self.methods_per_second),
            (Asked::Hanging, HANGING * self.methods_per_second),
            (Asked::Query, self.queries_per_minute / 60.0),
        ]
    }
}

/// The hub's methods, twin updates and queries, asked no more often than its quotas allow.
#[derive(Debug)]
pub(crate) struct PacedHub {
    hub: Arc<Hub>,
    requests: Gate,
    methods: Gate,
    /// Of the methods, those that may be left hanging.
    hanging: Mutex<Bucket>,
    updates: Gate,
    queries: Gate,
}

impl PacedHub {
    /// Paces a hub.
    pub(crate) fn new(hub: Arc<Hub>, quota: &HubQuota, vital: &Vital) -> Self {
        let (methods, wait) = (quota.methods_per_second, quota.longest_wait);
        Self {
            hub,
            requests: Gate::new(NEW_REQUESTS * methods, wait, vital),
            methods: Gate::new(methods, wait, vital),
            hanging: Mutex::new(Bucket::new(HANGING * methods, Instant::now())),
            updates: Gate::new(quota.updates_per_second, wait, vital),
            queries: Gate::new(quota.queries_per_minute / 60.0, wait, vital),
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

    /// Calls a method of a device, unless it has to wait for that longer than `patience`.
    pub(crate) async fn call(
        &self,
        device: &DeviceId,
        call: &MethodCall,
        claim: Claim<'_>,
        patience: Duration,
    ) -> CallOutcome {
        let retry_after = match timeout(patience, self.methods.pass(claim)).await {
            Ok(Ok(())) => None,
            Ok(Err(Exhausted { retry_after })) => Some(Some(retry_after)),
            Err(_) => Some(None),
        };
        if let Some(retry_after) = retry_after {
            return CallOutcome::Undelivered(Trouble::Throttled { retry_after });
        }
        let outcome = self.hub.call(device, call).await;
        if let CallOutcome::Undelivered(trouble) = &outcome {
            note_refusal(&self.methods, trouble, "a method call");
        }
        outcome
    }

    /// Takes what a call costs that may be left hanging, if nobody waits to call a method and nobody
    /// has to wait for it: whatever is asked for comes first.
    pub(crate) fn try_hang(&self) -> bool {
        let now = Instant::now();
        let mut hanging = self.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        now >= hanging.ready_at()
            && self.requests.is_idle()
            && self.methods.try_pass()
            && hanging.take(now)
    }

    /// Makes a call that [`PacedHub::try_hang`] has been asked for.
    pub(crate) async fn hang(&self, device: &DeviceId, call: &MethodCall) -> CallOutcome {
        let outcome = self.hub.hang(device, call).await;
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

#[cfg(test)]
mod tests {
    use iot_hub::identity::ConnectionString;

    use super::*;
    use crate::hub::HubCredential;

    /// A hub that is never asked.
    fn paced(methods_per_second: f64) -> PacedHub {
        let text = "HostName=localhost;SharedAccessKeyName=service;\
                    SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let Ok(ConnectionString::Service(connection)) = text.parse() else {
            panic!("a service's connection string");
        };
        let quota = HubQuota {
            methods_per_second,
            updates_per_second: 1.0,
            queries_per_minute: 1.0,
            longest_wait: Duration::from_secs(10),
            hanging_calls: 100,
        };
        let hub = Hub::new(&HubCredential::SharedKey(connection), 1, None).unwrap();
        PacedHub::new(Arc::new(hub), &quota, &Vital::new())
    }

    #[tokio::test]
    async fn nothing_hangs_while_a_request_waits() {
        let paced = paced(2.0);
        assert!(paced.try_begin());
        let mut waiting = Box::pin(paced.begin("somebody"));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(!paced.try_hang(), "a new request waits");
        waiting.await.unwrap();
        assert!(paced.try_hang());
    }

    #[tokio::test]
    async fn nothing_hangs_while_a_call_waits() {
        let paced = paced(2.0);
        paced.methods.pass(Claim::First).await.unwrap();
        assert!(!paced.try_hang(), "the quota is used");
        let mut waiting = Box::pin(paced.methods.pass(Claim::First));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(!paced.try_hang(), "a call waits");
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_call_that_would_come_too_late_is_not_made() {
        let paced = paced(0.001);
        paced.methods.pass(Claim::First).await.unwrap();
        let device = "pump-1".parse().unwrap();
        let call = MethodCall {
            name: "reboot".parse().unwrap(),
            payload: Value::Null,
            response_timeout: Duration::from_secs(5),
            connect_timeout: Duration::ZERO,
        };
        let patience = Duration::from_millis(20);
        let calling = paced.call(&device, &call, Claim::Of("a"), patience);
        let limit = Duration::from_secs(30);
        let outcome = timeout(limit, calling).await.expect("it gives up");
        let retry_after = None;
        let unsent = CallOutcome::Undelivered(Trouble::Throttled { retry_after });
        assert_eq!(outcome, unsent);
    }

    #[test]
    fn what_hangs_takes_half_of_the_methods_at_most() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _entered = runtime.enter();
        let paced = paced(1000.0);
        let begun = Instant::now();
        let mut hanging = 0;
        while begun.elapsed() < Duration::from_millis(200) {
            hanging += u32::from(paced.try_hang());
        }
        let most = 1.0 + 500.0 * begun.elapsed().as_secs_f64();
        assert!(f64::from(hanging) <= most, "{hanging} of {most}");
        assert!(hanging >= 10, "{hanging}");
    }
}
