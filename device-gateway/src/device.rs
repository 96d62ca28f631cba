//! The task of one device: whatever happens to it goes through one loop, into the engine, and what
//! the engine says is carried out.
//!
//! ```text
//!   hub link ─┐                          ┌─ storage, synced
//!   driver  ──┼─► Event ─► engine ─► Step ├─ answers, outbox ─► hub link
//!   timers  ──┘                          └─ driver
//! ```

mod bridge;
mod desired;
pub(crate) mod drive;
mod held;
mod mail;
mod unread;
mod watches;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bridge::Bridge;
use desired::Desired;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use held::Held;
use iot_hub::{
    identity::DeviceId,
    reboot::{GatewayInfo, Refusal, RefusalCode, Report, RequestId, method},
};
use jiff::Timestamp;
use mail::Mail;
use tokio::{
    sync::{mpsc, watch},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
use uuid::Uuid;
use watches::Watches;

use crate::{
    backlog::Bounds,
    driver::{Delay, Driver, Hints, Notice},
    engine::{Answer, Call, Engine, Input, Now, Outcome, Settings, Step, Ticket},
    hub_link::{LinkEvent, LinkHandle, MethodCall, Reply},
    instruments::Desk,
    local_mqtt::{Inbound, LocalDevice},
    pulse::Pulse,
    safety::Safety,
    storage::{Kept, Storage, StorageError},
};

/// What a caller is told while nothing can be begun.
const UNWRITABLE: &str = "the gateway cannot write its journal";

/// All that can happen to a device.
enum Event {
    Link(LinkEvent),
    Driven(Ticket, Outcome),
    Hint,
    Notice(Notice),
    Due(Due),
    /// The watchdog wants to know whether this loop goes round.
    Pulse,
    /// The gateway's host is about to go down, or is not any more.
    HostGoesDown(Option<Timestamp>),
    /// It shall end as soon as nothing is cut short by that.
    Drain,
    /// A local device has something for the hub.
    Local(Inbound),
    Stop,
}

/// What it is time for.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// A device that goes down is held up no longer.
    Farewell,
    /// The engine wants to know the time.
    Wake,
    /// The outbox may have something to send.
    Mail,
    /// What waits for the twin has waited long enough.
    Unread,
    /// The time of a held `rebootWatch` is up.
    WatchOver,
    /// What could not be written may be tried again.
    Retry,
}

/// What a device's task is made of.
pub(crate) struct Parts {
    pub(crate) id: DeviceId,
    pub(crate) settings: Arc<Settings>,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) safety: Arc<Safety>,
    /// The local device that is bridged with the hub, and how much of its telemetry is kept.
    pub(crate) bridged: Option<(LocalDevice, Bounds)>,
    pub(crate) storage: Storage,
    pub(crate) link: LinkHandle,
    pub(crate) gateway: GatewayInfo,
    pub(crate) report_delay: Duration,
    /// How long to wait before writing or sending again what failed.
    pub(crate) retry: Duration,
    pub(crate) pulse: Pulse,
    pub(crate) desk: Desk,
    /// Where the monotonic clock begins.
    pub(crate) began: Instant,
}

/// How a device's task is told to end. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// At once; an open attempt stays in the journal.
    pub(crate) now: CancellationToken,
    /// As soon as no attempt is open, and the hub knows how the newest ended or cannot be told now.
    pub(crate) drained: CancellationToken,
}

/// One device.
pub(crate) struct Device {
    id: DeviceId,
    engine: Engine,
    mail: Mail,
    bridge: Option<Bridge>,
    watches: Watches,
    held: Held,
    desired: Desired,
    driver: Arc<dyn Driver>,
    safety: Arc<Safety>,
    /// Since when the gateway's host is about to go down.
    host: Option<watch::Receiver<Option<Timestamp>>>,
    hints: Option<Hints>,
    notices: Option<mpsc::Receiver<Notice>>,
    /// Holds the device up while the hub is told, until this moment at the latest.
    farewell: Option<(Delay, Instant)>,
    storage: Storage,
    link: LinkHandle,
    driving: FuturesUnordered<BoxFuture<'static, (Ticket, Outcome)>>,
    replies: BTreeMap<String, Reply>,
    /// Where the monotonic clock begins.
    began: Instant,
    /// What waits for the disk.
    stalled: VecDeque<Input>,
    retry_at: Option<Instant>,
    /// Since when nothing could be written.
    unwritten: Option<Instant>,
    retry: Duration,
    pulse: Pulse,
    desk: Desk,
    draining: bool,
}

impl Device {
    /// What [`Device::start`] said, waited for as long as it takes until it can go on; until then
    /// every call is refused. `None` when told to stop before that.
    pub(crate) async fn when_possible(
        started: Result<Box<Self>, Box<(Parts, StorageError)>>,
        stop: &Stop,
    ) -> Option<Box<Self>> {
        match started {
            Ok(device) => Some(device),
            Err(failed) => Box::pin(unread::wait(failed, stop)).await,
        }
    }

    /// Goes on where the journal ends.
    pub(crate) async fn start(parts: Box<Parts>) -> Result<Box<Self>, Box<(Parts, StorageError)>> {
        match take_up(&parts).await {
            Ok((engine, kept, step)) => Ok(Self::new(*parts, engine, kept, step)),
            Err(error) => Err(Box::new((*parts, error))),
        }
    }

    fn new(parts: Parts, engine: Engine, kept: Kept, step: Step) -> Box<Self> {
        let bridge = parts
            .bridged
            .map(|(local, bounds)| Bridge::new(local, bounds, kept.desired, kept.telemetry));
        let mut device = Box::new(Self {
            id: parts.id,
            engine,
            mail: Mail::new(
                kept.outbox,
                parts.gateway,
                bridge.is_some(),
                parts.report_delay,
                parts.retry,
            ),
            bridge,
            watches: Watches::default(),
            held: Held::default(),
            desired: Desired::default(),
            hints: parts.driver.hints(),
            notices: parts.driver.notices(),
            farewell: None,
            driver: parts.driver,
            host: parts.safety.member().going_down(),
            safety: parts.safety,
            storage: parts.storage,
            link: parts.link,
            driving: FuturesUnordered::new(),
            replies: BTreeMap::new(),
            began: parts.began,
            stalled: VecDeque::new(),
            retry_at: None,
            unwritten: None,
            retry: parts.retry,
            pulse: parts.pulse,
            desk: parts.desk,
            draining: false,
        });
        device.safety.member().stands(device.engine.open());
        device.carry_out(step);
        device
    }

    /// Works until told to stop. An open attempt stays in the journal.
    ///
    /// What it does about an event is in a box of its own: it waits nearly all of its life, and
    /// thousands may wait.
    pub(crate) async fn run(mut self: Box<Self>, stop: &Stop) {
        loop {
            let event = self.next(stop).await;
            if matches!(event, Event::Stop) {
                break;
            }
            Box::pin(self.handle(event)).await;
            if self.draining && self.is_drained() {
                break;
            }
        }
        Box::pin(self.mail.put_away(&self.id, &self.storage)).await;
    }

    /// Nothing would be cut short if the device ended now.
    fn is_drained(&self) -> bool {
        let idle = self.engine.open().is_none() && self.retry_at.is_none();
        idle && self.replies.is_empty() && self.held.is_empty() && self.mail.is_delivered()
    }

    async fn next(&mut self, stop: &Stop) -> Event {
        let (due_at, due) = self.next_due().unzip();
        tokio::select! {
            event = self.link.events.recv() => event.map_or(Event::Stop, Event::Link),
            Some((ticket, outcome)) = self.driving.next() => Event::Driven(ticket, outcome),
            () = hinted(&mut self.hints) => Event::Hint,
            notice = noticed(&mut self.notices) => Event::Notice(notice),
            since = told(&mut self.host) => Event::HostGoesDown(since),
            inbound = local(&mut self.bridge) => Event::Local(inbound),
            Some(due) = async { at(due_at).await; due } => Event::Due(due),
            () = self.pulse.beat() => Event::Pulse,
            () = stop.drained.cancelled(), if !self.draining => Event::Drain,
            () = stop.now.cancelled() => Event::Stop,
        }
    }

    /// What it is time for next, and when. A device waits for that alone: each timer has its room in
    /// the task.
    fn next_due(&self) -> Option<(Instant, Due)> {
        let wake = self.began.checked_add(self.engine.wake_at());
        let all = [
            (
                self.farewell.as_ref().map(|(_, until)| *until),
                Due::Farewell,
            ),
            (wake.filter(|_| self.retry_at.is_none()), Due::Wake),
            (self.mail.wakes_at(), Due::Mail),
            (self.held.wakes_at(), Due::Unread),
            (self.watches.wakes_at(), Due::WatchOver),
            (self.retry_at, Due::Retry),
        ];
        all.into_iter()
            .filter_map(|(at, due)| Some((at?, due)))
            .min_by_key(|(at, _)| *at)
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Link(event) => self.on_link(event).await,
            Event::Driven(ticket, outcome) => {
                self.desk.driven(&outcome);
                self.feed(Input::Driven(ticket, outcome)).await;
            }
            Event::Hint => self.feed(Input::Hint).await,
            Event::Notice(Notice::ShutdownBegins(delay)) => {
                tracing::info!("the device announces that it goes down");
                self.safety.member().announces(true);
                self.feed(Input::GoingDown).await;
                self.farewell = Some((delay, Instant::now() + self.engine.settings.farewell));
            }
            Event::Notice(Notice::ShutdownCalledOff) => {
                tracing::info!("the device stays up, after all");
                self.farewell = None;
                self.safety.member().announces(false);
                self.feed(Input::StayingUp).await;
            }
            Event::Due(due) => self.on_due(due).await,
            Event::HostGoesDown(since) => self.mail.mark(since, self.engine.report()),
            Event::Local(inbound) => {
                if let Some(bridge) = &mut self.bridge {
                    bridge
                        .take(inbound, &self.id, &mut self.mail, &self.storage, &self.link)
                        .await;
                }
            }
            Event::Drain => {
                self.draining = true;
                self.watches.finish();
            }
            Event::Pulse | Event::Stop => {}
        }
        self.desk
            .stands(self.engine.open(), !self.mail.is_settled());
        if let Some(seq) = self.mail.acknowledges() {
            self.watches.on_reported(seq);
            self.feed(Input::ReportAcked(seq)).await;
        }
        if self.retry_at.is_none() && self.mail.is_delivered() {
            self.farewell = None;
            if self.mail.is_marked() {
                self.safety.member().has_told();
            }
        }
    }

    async fn on_due(&mut self, due: Due) {
        match due {
            Due::Farewell => self.farewell = None,
            Due::Wake => self.feed(Input::Tick).await,
            Due::Mail => self.mail.send(&self.id, &self.storage, &self.link).await,
            Due::Unread => self.held.give_up(),
            Due::WatchOver => self.watches.on_time(Instant::now()),
            Due::Retry => {
                self.retry_at = None;
                if let Some(since) = self.unwritten.take() {
                    self.engine.leave_out(since.elapsed());
                }
                for input in std::mem::take(&mut self.stalled) {
                    self.feed(input).await;
                }
            }
        }
    }

    async fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up(epoch) => {
                self.desk.linked(true);
                self.mail.on_up(epoch);
                self.bridge_link(true).await;
            }
            LinkEvent::Down => {
                self.desk.linked(false);
                self.mail.on_down();
                self.desired.on_down();
                self.bridge_link(false).await;
                self.held.forget();
                self.watches.forget();
            }
            LinkEvent::Renewing => self.watches.finish(),
            LinkEvent::Call(call) => self.on_call(call).await,
            LinkEvent::AnswerAcked(rid) => self.feed(Input::AnswerAcked(rid)).await,
            LinkEvent::Twin { reported, desired } => {
                self.mail.on_twin(&reported);
                // Before anything is begun, and before what the twin holds counts as acknowledged.
                if let Some(told) = Report::from_reported(&reported) {
                    self.feed(Input::Reported(Box::new(told))).await;
                }
                if self.desired.on_twin(desired) {
                    self.on_desired().await;
                }
                for call in self.held.release() {
                    self.on_call(call).await;
                }
            }
            LinkEvent::Checked { number, desired } => {
                // What is newer than the check is as good.
                if self.desired.on_twin(desired) {
                    self.on_desired().await;
                }
                let request = self.desired.reboot();
                self.feed(Input::Checked(number, request)).await;
            }
            LinkEvent::Desired { version, patch } => {
                if self.desired.on_patch(version, patch) {
                    self.on_desired().await;
                }
            }
            LinkEvent::PatchApplied => self.mail.on_applied(),
            LinkEvent::PatchRefused { status, message } => {
                if self.mail.on_refused(status, &message)
                    && let Some(bridge) = &self.bridge
                {
                    bridge.refuse("twin/reported", &message);
                }
            }
            LinkEvent::MessageAcked(number) => {
                if let Some(bridge) = &mut self.bridge {
                    bridge
                        .on_acked(number, &self.id, &self.storage, &self.link)
                        .await;
                }
            }
            LinkEvent::PatchUnanswered => self.mail.on_unanswered(),
        }
    }

    async fn bridge_link(&mut self, connected: bool) {
        if let Some(bridge) = &mut self.bridge {
            bridge
                .on_link(connected, &self.id, &self.storage, &self.link)
                .await;
        }
    }

    /// Lets everybody know what is desired now.
    async fn on_desired(&mut self) {
        if let Some(bridge) = &mut self.bridge {
            let (version, properties) = self.desired.all();
            bridge
                .on_desired(version, properties, &self.id, &self.storage)
                .await;
        }
        self.feed(Input::Desired(self.desired.reboot())).await;
    }

    async fn on_call(&mut self, call: MethodCall) {
        if !self.mail.knows_twin() && Held::concerns(&call.name) {
            let limit = self.engine.settings.survey_limit;
            return self.held.hold(call, Instant::now() + limit);
        }
        tracing::info!(method = call.name, rid = call.rid, "called");
        let payload = match call.payload {
            Ok(payload) => payload,
            Err(error) => {
                let message = format!("payload must be JSON: {error}");
                return refuse(call.reply, RefusalCode::Invalid, message);
            }
        };
        if call.name == method::WATCH {
            let begun = self.watches.begin(&payload, call.reply, Instant::now());
            if let Err((reply, error)) = begun {
                refuse(reply, RefusalCode::Invalid, error.to_string());
            }
            return;
        }
        if self.retry_at.is_some() {
            return refuse(call.reply, RefusalCode::Internal, UNWRITABLE.to_owned());
        }
        if self.replies.contains_key(&call.rid) {
            // The hub delivered it again, and what is answered to the first time answers both. Of a
            // caller that names no request nothing else tells that it is the same.
            return;
        }
        self.replies.insert(call.rid.clone(), call.reply);
        self.feed(Input::Call(Call {
            rid: call.rid,
            method: call.name,
            payload,
            fresh: RequestId(Uuid::new_v4()),
        }))
        .await;
    }

    /// Lets the engine take in what happened. When the journal cannot be written, it has not
    /// happened: the engine is as it was, and is told again later.
    async fn feed(&mut self, input: Input) {
        if self.retry_at.is_some() {
            self.stall(input);
            return;
        }
        let begun = Instant::now();
        let now = Now::new(Timestamp::now(), begun.duration_since(self.began));
        let before = self.engine.clone();
        let mut step = self.engine.step(now, input.clone());
        let record = step.persist.take();
        let ended = record.as_ref().map(|record| record.ended.clone());
        if let Some(record) = record
            && let Err(error) = self.storage.write_record(&self.id, *record).await
        {
            self.desk.journal(Some(&error));
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot write the journal; nothing is begun until it can be"
            );
            self.mail.trouble(Some(mail::trouble_of(&error)));
            self.engine = before;
            self.retry_at = Some(Instant::now() + self.retry);
            self.unwritten = Some(begun);
            let answers = self.engine.abandon(UNWRITABLE);
            self.answer(answers);
            self.stall(input);
            return;
        }
        if let Some(ended) = ended {
            // A disk may also take its time.
            self.engine.leave_out(begun.elapsed());
            self.desk.journal(None);
            self.mail.trouble(None);
            self.desk.ended(&ended);
        }
        self.safety.member().stands(self.engine.open());
        let span = self.span(&before);
        let _entered = span.enter();
        if self.engine.open() != before.open() {
            match self.engine.report().attempt {
                Some(attempt) => tracing::info!(
                    attempt = %attempt.request_id,
                    state = %attempt.state,
                    error = attempt.error.as_ref().map(tracing::field::display),
                    "attempt"
                ),
                None => tracing::debug!("no attempt"),
            }
        }
        self.carry_out(step);
    }

    /// What a step belongs to: the attempt that is open, or was until this step.
    fn span(&self, before: &Engine) -> Span {
        let engine = if self.engine.open().is_some() {
            &self.engine
        } else {
            before
        };
        match engine.open() {
            Some((id, _)) => {
                let trace_id = engine.trace().map(|trace| trace.trace());
                tracing::info_span!("attempt", %id, trace_id)
            }
            None => Span::none(),
        }
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            if let Some(reply) = self.replies.remove(&answer.rid) {
                reply.send(answer.status, &answer.payload);
            }
        }
    }

    fn stall(&mut self, input: Input) {
        match input {
            Input::Call(call) => {
                if let Some(reply) = self.replies.remove(&call.rid) {
                    refuse(reply, RefusalCode::Internal, UNWRITABLE.to_owned());
                }
            }
            Input::Desired(_)
            | Input::Checked(_, _)
            | Input::Reported(_)
            | Input::AnswerAcked(_)
            | Input::ReportAcked(_)
            | Input::Driven(_, _)
            | Input::Hint
            | Input::GoingDown
            | Input::StayingUp
            | Input::Tick => self.stalled.push_back(input),
        }
    }

    /// Does what a step says, after its journal is synced.
    fn carry_out(&mut self, step: Step) {
        self.answer(step.answers);
        if let Some(reporting) = step.report {
            self.desk.reported(reporting.report.attempt.as_ref());
            self.mail.post(&reporting);
        }
        if let Some(number) = step.check {
            self.link.check(number);
        }
        for (ticket, asked) in step.drive {
            let driver = self.driver.clone();
            let safety = self.safety.clone();
            let driving = drive::drive(driver, safety, ticket, asked).in_current_span();
            self.driving.push(Box::pin(driving));
        }
    }
}

/// Reads the journal, and writes what follows from that.
async fn take_up(parts: &Parts) -> Result<(Engine, Kept, Step), StorageError> {
    let mut kept = parts.storage.load(&parts.id).await?;
    let journal = std::mem::take(&mut kept.journal);
    let remembered = std::mem::take(&mut kept.remembered);
    let now = Now::new(Timestamp::now(), parts.began.elapsed());
    let (engine, mut step) = Engine::start(parts.settings.clone(), journal, remembered, now);
    if let Some(record) = step.persist.take() {
        parts.storage.write_record(&parts.id, *record).await?;
    }
    if let Some((id, state)) = engine.open() {
        let trace_id = engine.trace().map(|trace| trace.trace());
        tracing::info!(device = %parts.id, attempt = %id, trace_id, %state, "going on with an attempt");
    }
    Ok((engine, kept, step))
}

fn refuse(reply: Reply, code: RefusalCode, message: String) {
    let refusal = Refusal::new(code, message);
    reply.send(refusal.code.method_status(), &refusal.to_payload());
}

pub(crate) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Waits for what a local device has for the hub; for ever, when there will be nothing any more.
async fn local(bridge: &mut Option<Bridge>) -> Inbound {
    if let Some(bridge) = bridge
        && let Some(inbound) = bridge.next().await
    {
        return inbound;
    }
    std::future::pending().await
}

/// Waits until it is worth observing a device; for ever, when its driver never says so.
pub(crate) async fn hinted(hints: &mut Option<Hints>) {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
    }
}

/// Waits for news; for ever, when there is none any more.
async fn told<T: Clone>(news: &mut Option<watch::Receiver<T>>) -> T {
    if let Some(receiver) = news {
        if receiver.changed().await.is_ok() {
            return receiver.borrow_and_update().clone();
        }
        *news = None;
    }
    std::future::pending().await
}

/// Waits for what the driver's device announces next; for ever, when it announces nothing any more.
async fn noticed(notices: &mut Option<mpsc::Receiver<Notice>>) -> Notice {
    if let Some(receiver) = notices {
        if let Some(notice) = receiver.recv().await {
            return notice;
        }
        *notices = None;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests;
