//! A request that is not stored yet.
//!
//! Before a device is called, its twin has to be read, and the request and the intent to call have
//! to be on disk. With the twin read first that is one write, and the call waits for the disk once.
//! Until then nothing was done and nobody was told anything, so nothing is lost with a draft.

use std::{sync::Arc, time::Duration};

use iot_hub::reboot::Mode;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    Inner, Log,
    runner::{Runner, input_of, withdrawn},
};
use crate::{
    attempt::{Attempt, Effect, Event, Input, Step},
    error::Error,
    poller::{Follower, TwinRead},
    store::{Audit, Change, StoreError, Taken},
};

/// How long the read is waited for: a hub in the same region answers sooner. The request is stored
/// without it then, so that it is known to those who look for it, and outlives its caller.
const READ_LIMIT: Duration = Duration::from_millis(250);

/// A request that is not stored yet.
pub(super) struct Draft {
    attempt: Attempt,
    follower: Follower,
    events: Vec<Event>,
    effects: Vec<Effect>,
    /// What the attempt's task has to take in first.
    input: Option<Input>,
    last_read: Option<Timestamp>,
}

impl Draft {
    /// Takes a request as far as it can go before it is stored.
    pub(super) async fn new(inner: &Inner, attempt: Attempt, step: Step) -> Result<Self, Error> {
        let mut draft = Self {
            follower: inner.poller.follow(attempt.view.device.clone()),
            attempt,
            events: step.events,
            effects: step.effects,
            input: None,
            last_read: None,
        };
        let reads = draft.effects == [Effect::Read];
        // Nobody waits for what is to start later.
        if !reads || draft.attempt.is_under_way() {
            return Ok(draft);
        }
        draft.effects.clear();
        draft.follower.read_now();
        let read = timeout(READ_LIMIT, draft.follower.next());
        tokio::select! {
            read = read => {
                if let Ok(read) = read {
                    draft.take(inner, &read).await;
                }
                Ok(draft)
            }
            () = inner.shutdown.cancelled() => Err(Error::Stopping),
        }
    }

    async fn take(&mut self, inner: &Inner, read: &TwinRead) {
        let input = input_of(inner, &self.attempt, read).await;
        if let Input::Read(reading) = &input {
            self.last_read = Some(reading.begun);
        }
        let mut next = self.attempt.clone();
        let step = next.handle(input.clone(), &inner.timing.rules, Timestamp::now());
        if withdrawn(&step).is_some() {
            // The request is stored all the same, for the audit, and its task withdraws it.
            self.input = Some(input);
            return;
        }
        self.attempt = next;
        self.events.extend(step.events);
        self.effects = step.effects;
    }

    /// How the reboot is to be done.
    pub(super) fn mode(&self) -> Mode {
        self.attempt.view.mode
    }

    /// Stores the request and begins the attempt, unless something is in its way.
    pub(super) async fn begin(
        self,
        inner: Arc<Inner>,
        audit: Audit,
    ) -> Result<Result<Arc<Log>, Taken>, StoreError> {
        let change = Change {
            attempt: self.attempt.clone(),
            events: self.events.clone(),
        };
        if let Some(taken) = inner.store.create(change, audit).await? {
            return Ok(Err(taken));
        }
        let log = Arc::new(Log::new(self.attempt.clone(), self.events));
        if let Some(at) = self.last_read {
            log.set_last_read(at);
        }
        Runner::spawn(
            &inner,
            self.attempt,
            log.clone(),
            self.follower,
            self.effects,
            self.input,
        );
        Ok(Ok(log))
    }
}
