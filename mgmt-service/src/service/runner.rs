//! One attempt's task: feeds the machine, stores what comes out, and then does it.

mod again;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use iot_hub::{
    identity::DeviceId,
    method::MethodCall,
    reboot::{Dialect, RequestId, method},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::{
    INPUTS, Inner, Live, Log, Question,
    hanging::{Hanging, Hint},
};
use crate::{
    attempt::{Attempt, CancelAnswer, Effect, Input, Reading, Step, Trouble, Written},
    durations::Estimate,
    hub::CallOutcome,
    poller::{Expectation, Follower, Forecast, TwinRead},
    quota::Claim,
    store::{Change, StoreError},
    traces,
};

/// The longest sleep: after it the wall clock is looked at again, for it may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The pause before the store is tried again.
const STORE_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Runner {
    inner: Arc<Inner>,
    attempt: Attempt,
    log: Arc<Log>,
    follower: Follower,
    questions: mpsc::Receiver<Box<Question>>,
    calls: FuturesUnordered<BoxFuture<'static, Input>>,
    hanging: Hanging,
    /// When the state last changed, for the cadence.
    since: Instant,
}

/// What happened next.
enum Happened {
    Asked(Box<Question>),
    Read(TwinRead),
    Called(Input),
    Hinted(Hint),
    Woke,
    Looked,
    Stopping,
}

impl Runner {
    /// Starts an attempt's task with what is to be done first.
    pub(super) fn spawn(
        inner: &Arc<Inner>,
        attempt: Attempt,
        log: Arc<Log>,
        follower: Follower,
        effects: Vec<Effect>,
        input: Option<Input>,
    ) {
        let (inputs, questions) = mpsc::channel(INPUTS);
        let id = attempt.view.id;
        let live = Live {
            inputs,
            log: log.clone(),
        };
        inner.live().insert(id, live);
        inner.taken_up.notify_waiters();
        // A task is as large as the largest of all that it ever waits for, twice over for what is moved
        // into it, and most of them wait for a device: whatever is large has a place of its own.
        let mut runner = Box::new(Self {
            inner: inner.clone(),
            attempt,
            log,
            follower,
            questions,
            calls: FuturesUnordered::new(),
            hanging: Hanging::default(),
            since: Instant::now(),
        });
        let span = traces::attempt_span(&runner.attempt);
        let task = async move {
            let (inner, log) = (runner.inner.clone(), runner.log.clone());
            runner.live(effects, input).await;
            inner.retire(id, &log);
            // Nothing will change any more; whoever still waits learns why.
            log.wake();
        };
        inner.tasks.spawn(task.instrument(span));
    }

    async fn run(&mut self, effects: Vec<Effect>, input: Option<Input>) {
        self.perform(effects);
        if let Some(input) = input
            && !Box::pin(self.take(input)).await
        {
            return;
        }
        while self.is_needed() {
            let device = &self.attempt.view.device;
            let wanted = self.attempt.needs_reading() && self.log.is_watched();
            // What the attempt itself has to call goes first.
            if self.calls.is_empty() || self.hanging.is_held() {
                self.hanging.keep(wanted, &self.inner, device);
            }
            self.follower.expect(self.expectation());
            let go_on = match self.next().await {
                Happened::Asked(question) => {
                    let go_on = Box::pin(self.take(question.input)).await;
                    // Whoever asked may be gone.
                    let _ = question.taken.send(());
                    go_on
                }
                Happened::Read(read) => Box::pin(self.read(read)).await,
                Happened::Called(input) => Box::pin(self.take(input)).await,
                Happened::Hinted(hint) => {
                    if hint == Hint::Read {
                        self.follower.read_now();
                    }
                    true
                }
                Happened::Woke => Box::pin(self.take(Input::Tick)).await,
                // What is expected depends on who waits for it.
                Happened::Looked => true,
                Happened::Stopping => false,
            };
            if !go_on {
                return;
            }
        }
    }

    /// An ended attempt is kept only while its device may be seen again.
    fn is_needed(&self) -> bool {
        let view = &self.attempt.view;
        if !view.state.is_terminal() {
            return true;
        }
        let given_up = view
            .end_time
            .and_then(|end| end.checked_add(self.inner.timing.recovery_limit).ok())
            .is_none_or(|limit| limit <= Timestamp::now());
        self.attempt.has_aftermath() && !given_up
    }

    async fn next(&mut self) -> Happened {
        let wake = self.attempt.wake_at().map_or(LONGEST_SLEEP, |at| {
            let left = at.duration_since(Timestamp::now());
            Duration::try_from(left)
                .unwrap_or_default()
                .min(LONGEST_SLEEP)
        });
        // While a call is out its answer is worth waiting for; the drain has a limit of its own.
        let stopping = self.inner.shutdown.clone();
        let idle = self.calls.is_empty();
        tokio::select! {
            Some(question) = self.questions.recv() => Happened::Asked(question),
            read = self.follower.next() => Happened::Read(read),
            Some(input) = self.calls.next() => Happened::Called(input),
            hint = self.hanging.next() => Happened::Hinted(hint),
            () = tokio::time::sleep(wake) => Happened::Woke,
            () = self.log.looked() => Happened::Looked,
            () = stopping.cancelled(), if idle => Happened::Stopping,
        }
    }

    async fn read(&mut self, read: TwinRead) -> bool {
        let input = input_of(&self.inner, &self.attempt, &read).await;
        if let Input::Read(reading) = &input {
            self.log.set_last_read(reading.begun);
            self.hanging.saw(reading.report.as_ref());
        }
        self.take(input).await
    }

    /// Feeds the machine. Says whether to go on.
    async fn take(&mut self, input: Input) -> bool {
        let mut next = self.attempt.clone();
        let step = next.handle(input, &self.inner.timing.rules, Timestamp::now());
        if let Some(trouble) = withdrawn(&step) {
            return self.withdraw(trouble).await;
        }
        if next != self.attempt {
            let change = Change {
                attempt: next.clone(),
                events: step.events.clone(),
            };
            if !self.save(change).await {
                return false;
            }
            if next.view.state != self.attempt.view.state {
                self.since = Instant::now();
            }
            for event in &step.events {
                tracing::info!(id = %next.view.id, device = %next.view.device, state = %event.view.state, "{}", event.message);
            }
            self.attempt = next.clone();
            self.log.add(next, step.events);
        }
        self.perform(step.effects);
        true
    }

    /// Stores a change, however long that takes: without it nothing may be done or told.
    async fn save(&mut self, change: Change) -> bool {
        let inner = &self.inner;
        let save = || inner.store.save(change.clone());
        let stored = until_done(inner, change.attempt.view.id, save).await;
        stored.is_some()
    }

    async fn withdraw(&mut self, trouble: Trouble) -> bool {
        let id = self.attempt.view.id;
        tracing::info!(%id, device = %self.attempt.view.device, %trouble, "the request is withdrawn");
        let inner = &self.inner;
        let forget = || inner.store.forget(id, trouble.to_string());
        if until_done(inner, id, forget).await.is_some() {
            // Whoever is told may use the id again at once.
            inner.retire(id, &self.log);
            self.log.withdraw(trouble);
        }
        false
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Read => self.follower.read_now(),
                Effect::Call { method, payload } => {
                    let claim = if self.attempt.is_repeated() {
                        Claim::First
                    } else {
                        // They took turns by caller before anything was stored.
                        Claim::Of("")
                    };
                    let outcome = self.call(&method, payload, claim);
                    self.calls.push(Box::pin(async move {
                        match outcome.await {
                            CallOutcome::Answered(result) => Input::Answered(result),
                            CallOutcome::Undelivered(trouble) => Input::Undelivered(trouble),
                            CallOutcome::Ambiguous(why) => Input::Ambiguous(why),
                        }
                    }));
                }
                Effect::AskToCancel { payload } => {
                    let outcome = self.call(method::CANCEL, payload, Claim::First);
                    self.calls.push(Box::pin(async move {
                        Input::CancelAnswered(match outcome.await {
                            CallOutcome::Answered(result) => CancelAnswer::Answered(result),
                            CallOutcome::Undelivered(trouble) => CancelAnswer::Undelivered(trouble),
                            CallOutcome::Ambiguous(why) => CancelAnswer::Ambiguous(why),
                        })
                    }));
                }
                Effect::Enqueue { request, etag } => {
                    let written = self.write(etag, request);
                    let written = async move { Input::Enqueued(written.await) };
                    self.calls.push(Box::pin(written));
                }
                Effect::Dequeue { etag } => {
                    let written = self.write(etag, Value::Null);
                    let written = async move { Input::Dequeued(written.await) };
                    self.calls.push(Box::pin(written));
                }
                // Was dealt with before anything else.
                Effect::Withdraw(_) => {}
            }
        }
    }

    fn call(
        &self,
        method: &str,
        payload: Value,
        claim: Claim<'static>,
    ) -> impl Future<Output = CallOutcome> + use<> {
        let (inner, device) = (self.inner.clone(), self.attempt.view.device.clone());
        let call = MethodCall {
            name: method
                .parse()
                .expect("the methods of the contract are valid names"),
            payload,
            response_timeout: self.inner.timing.answer_timeout,
            connect_timeout: Duration::ZERO,
        };
        // A device that knows no deadline would begin after it.
        let left = self.attempt.call_by().duration_since(Timestamp::now());
        let patience = Duration::try_from(left).unwrap_or_default();
        async move { inner.hub.call(&device, &call, claim, patience).await }
    }

    /// Writes the request that the device finds in its twin.
    fn write(&self, etag: String, request: Value) -> impl Future<Output = Written> + use<> {
        let (inner, device) = (self.inner.clone(), self.attempt.view.device.clone());
        async move { inner.hub.write_request(&device, &etag, &request).await }
    }

    fn expectation(&self) -> Expectation {
        if self.attempt.has_aftermath() {
            return Expectation::Someday(self.inner.timing.recovery_pause);
        }
        if !self.attempt.needs_reading() {
            return Expectation::Nothing;
        }
        // A call that hangs tells when it is time to read.
        if !self.log.is_watched() || self.hanging.is_held() {
            return Expectation::Unhurried;
        }
        match self.attempt.return_forecast() {
            Some((gone, forecast)) => {
                let ago = Timestamp::now().duration_since(gone);
                let ago = Duration::try_from(ago).unwrap_or_default();
                let since = Instant::now().checked_sub(ago).unwrap_or(self.since);
                Expectation::Change { since, forecast }
            }
            None => Expectation::Change {
                since: self.since,
                forecast: Forecast::UNKNOWN,
            },
        }
    }
}

/// What a read of its device's twin is to an attempt.
pub(super) async fn input_of(inner: &Inner, attempt: &Attempt, read: &TwinRead) -> Input {
    match &read.result {
        Ok(twin) => {
            let mut reading = Reading::of(twin, read.begun);
            if attempt.wants_estimate() {
                let (device, class) = (twin.device.clone(), reading.class.clone());
                reading.estimate = estimate(inner, device, class).await;
            }
            if attempt.wants_owed() && reading.dialect != Some(Dialect::Native) {
                reading.owed = owed(inner, &twin.device, &reading).await;
            }
            Input::Read(Box::new(reading))
        }
        Err(trouble) => {
            tracing::debug!(id = %attempt.view.id, %trouble, "failed to read the twin");
            Input::NotRead(trouble.clone())
        }
    }
}

/// How long a reboot of this device takes. Without knowing that, the attempt goes on as well.
async fn estimate(inner: &Inner, device: DeviceId, class: String) -> Option<Estimate> {
    match inner.store.durations(class, device).await {
        Ok(learned) => Some(Estimate::of(learned)),
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::warn!("failed to {error:#}");
            None
        }
    }
}

/// How many earlier attempts may be what the device claims next. Without knowing that, one: a claim too
/// many is asked for rather than a wrong one taken.
async fn owed(inner: &Inner, device: &DeviceId, reading: &Reading) -> u32 {
    match inner.store.ended(device.clone(), inner.lost_since()).await {
        Ok(ended) => {
            let now = Timestamp::now();
            let owed = ended
                .iter()
                .filter(|attempt| attempt.may_yet_be_claimed(reading, now));
            u32::try_from(owed.count()).unwrap_or(u32::MAX)
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::warn!("failed to {error:#}");
            1
        }
    }
}

/// Repeats what the store could not do until it is done; `None` when the service stops before that.
async fn until_done<'a, T>(
    inner: &Inner,
    id: RequestId,
    work: impl Fn() -> BoxFuture<'a, Result<T, StoreError>>,
) -> Option<T> {
    loop {
        match work().await {
            Ok(done) => return Some(done),
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!(%id, "failed to {error:#}");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(STORE_PAUSE) => {}
            () = inner.shutdown.cancelled() => return None,
        }
    }
}

/// Why nothing came of it, when nothing did.
pub(super) fn withdrawn(step: &Step) -> Option<Trouble> {
    step.effects.iter().find_map(|effect| match effect {
        Effect::Withdraw(trouble) => Some(trouble.clone()),
        Effect::Call { .. }
        | Effect::AskToCancel { .. }
        | Effect::Enqueue { .. }
        | Effect::Dequeue { .. }
        | Effect::Read => None,
    })
}
