//! A call of `rebootWatch` that is left hanging at a device's gateway, which answers it as soon as
//! the twin holds another report.
//!
//! ```text
//!   a read shows report n ──► hang after n ──► answered: n+1 ──► read at once ──► …
//!                                  │ answered: n, the time was up ──► hang again
//!                                  └ no quota, no answer, nonsense ──► only poll, for a while
//! ```
//!
//! It is a hint and nothing more: what has happened is read from the twin. While a call hangs, the
//! twin is polled at the longest pause all the same, for a gateway that dies with the call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use iot_hub::{
    identity::DeviceId,
    method::MethodCall,
    reboot::{Report, WatchAnswer, WatchCall, method},
};

use super::Inner;
use crate::{hub::CallOutcome, quota::PacedHub};

/// How long a gateway is asked to wait. The hub does not tell at once when a gateway dies with a
/// call, so this bounds how long polling may be slow for nothing.
const WAIT: Duration = Duration::from_secs(60);

/// How much longer the hub waits than the gateway, so that the gateway's answer arrives.
const MARGIN: Duration = Duration::from_secs(10);

/// How long a device is only polled after a call came to nothing.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// How soon it is tried again when there was no quota to spare.
const AFTER_SHORTAGE: Duration = Duration::from_secs(2);

/// The least time from one call to the next: a gateway that always answers at once is no faster.
const LEAST_PAUSE: Duration = Duration::from_millis(500);

/// A call of `rebootWatch` that is left hanging, or may be.
#[derive(Default)]
pub(super) struct Hanging {
    /// The number of the newest report that was read, of a device whose gateway offers this.
    seen: Option<u64>,
    call: Option<Call>,
    /// What the twin must not hold any more, after the last hint.
    disproved: Option<u64>,
    not_before: Option<Instant>,
}

struct Call {
    after: u64,
    begun: Instant,
    outcome: BoxFuture<'static, CallOutcome>,
    _slot: Slot,
}

/// What a hanging call led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// The twin holds a report that was not read.
    Read,
    /// Nothing is known; it may be time for another call.
    Nothing,
}

impl Hanging {
    /// The twin was read.
    pub(super) fn saw(&mut self, report: Option<&Report>) {
        self.seen = report.and_then(|report| {
            let capabilities = report.capabilities.as_ref()?;
            capabilities.watch.then_some(report.seq)
        });
        if self
            .disproved
            .take()
            .is_some_and(|seq| self.seen == Some(seq))
        {
            // The twin holds what it held: whoever hinted otherwise is not to be believed.
            self.not_before = Some(Instant::now() + AFTER_FAILURE);
        }
    }

    /// A call hangs at this moment.
    pub(super) fn is_held(&self) -> bool {
        self.call.is_some()
    }

    /// Leaves a call hanging if that is wanted and may be, and gives up one that is not wanted.
    pub(super) fn keep(&mut self, wanted: bool, inner: &Inner, device: &DeviceId) {
        let Some(after) = self.seen.filter(|_| wanted) else {
            self.call = None;
            return;
        };
        let now = Instant::now();
        if self.call.is_some() || self.not_before.is_some_and(|at| now < at) {
            return;
        }
        let Some(slot) = inner.slots.take(&inner.hub) else {
            self.not_before = Some(now + AFTER_SHORTAGE);
            return;
        };
        let call = WatchCall {
            after: Some(after),
            wait: WAIT,
        };
        let call = MethodCall {
            name: method::WATCH
                .parse()
                .expect("the methods of the contract are valid names"),
            payload: call.to_payload(),
            response_timeout: WAIT + MARGIN,
            connect_timeout: Duration::ZERO,
        };
        let (hub, device) = (inner.hub.clone(), device.clone());
        self.call = Some(Call {
            after,
            begun: now,
            outcome: Box::pin(async move { hub.hang(&device, &call).await }),
            _slot: slot,
        });
    }

    /// Waits for the answer, or until there may be another call.
    pub(super) async fn next(&mut self) -> Hint {
        let Some(call) = &mut self.call else {
            match self.not_before.filter(|_| self.seen.is_some()) {
                Some(at) if at > Instant::now() => tokio::time::sleep_until(at.into()).await,
                Some(_) | None => std::future::pending().await,
            }
            return Hint::Nothing;
        };
        let outcome = (&mut call.outcome).await;
        let (after, begun) = (call.after, call.begun);
        self.call = None;
        let pause = begun + LEAST_PAUSE;
        let answer = match &outcome {
            CallOutcome::Answered(result) if result.status == 200 => {
                result.payload.as_json().and_then(WatchAnswer::from_payload)
            }
            CallOutcome::Answered(_) | CallOutcome::Undelivered(_) | CallOutcome::Ambiguous(_) => {
                None
            }
        };
        match answer {
            Some(answer) if answer.seq != after => {
                // The next call says what that read has shown.
                self.seen = None;
                self.disproved = Some(after);
                self.not_before = Some(pause);
                Hint::Read
            }
            Some(_) => {
                self.not_before = Some(pause);
                Hint::Nothing
            }
            None => {
                tracing::debug!(?outcome, "a call that hung came to nothing");
                self.not_before = Some(Instant::now() + AFTER_FAILURE);
                Hint::Nothing
            }
        }
    }
}

/// How many calls may hang at once. Each holds a connection to the hub.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<AtomicUsize>,
}

/// One of [`Slots`], until it is dropped.
struct Slot(Arc<AtomicUsize>);

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self {
            free: Arc::new(AtomicUsize::new(count)),
        }
    }

    /// Takes a slot and a part of the quota, if there is one of either to spare.
    fn take(&self, hub: &PacedHub) -> Option<Slot> {
        let less = |free: usize| free.checked_sub(1);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.free.fetch_update(set, fetch, less).ok()?;
        let slot = Slot(self.free.clone());
        hub.try_hang().then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use iot_hub::reboot::{Capabilities, Grade};

    use super::*;

    fn report(seq: u64, watch: bool) -> Report {
        Report {
            seq,
            capabilities: Some(Capabilities {
                modes: BTreeMap::new(),
                cancel: true,
                watch,
                best_grade: Grade::Caused,
                required_grade: Grade::Caused,
                typical_duration_sec: None,
            }),
            ..Report::default()
        }
    }

    #[test]
    fn only_a_gateway_that_offers_it_is_called() {
        let mut hanging = Hanging::default();
        hanging.saw(Some(&report(5, false)));
        assert_eq!(hanging.seen, None);
        hanging.saw(None);
        assert_eq!(hanging.seen, None);
        hanging.saw(Some(&report(5, true)));
        assert_eq!(hanging.seen, Some(5));
    }

    #[test]
    fn a_gateway_that_hints_at_nothing_is_left_alone_for_a_while() {
        let mut hanging = Hanging {
            disproved: Some(5),
            ..Hanging::default()
        };
        let now = Instant::now();
        hanging.saw(Some(&report(5, true)));
        assert!(
            hanging
                .not_before
                .is_some_and(|at| at >= now + AFTER_FAILURE)
        );
        let mut hanging = Hanging {
            disproved: Some(5),
            ..Hanging::default()
        };
        hanging.saw(Some(&report(6, true)));
        assert_eq!(hanging.not_before, None);
    }

    #[test]
    fn a_slot_comes_back() {
        let free = Arc::new(AtomicUsize::new(0));
        drop(Slot(free.clone()));
        assert_eq!(free.load(Ordering::Relaxed), 1);
    }
}
