//! Joins the hub's state to the connections and callers that wait on it.
//!
//! One mutex holds everything; it is never held across an await. Whoever changes something does so
//! in [`Switchboard::change`], which carries out the resulting effects before it lets go of the
//! lock (so effects keep their order) and then wakes whoever waits for a state.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use iot_hub::error::{ErrorCode, HubError};
use iot_hub::identity::{DeviceId, HubHost};
use iot_hub::topic::HubTopic;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use crate::auth::HubNames;
use crate::bearer::BearerTokens;
use crate::certificate::DeviceAuthorities;
use crate::config::EmulatorConfig;
use crate::counters::Meters;
use crate::emulator::new_key;
use crate::faults::{Fault, FaultId, Plan, Times};
pub(crate) use crate::hub::CloseReason;
use crate::hub::{CallId, Effect, EntityId, Hub, LinkId, MethodAnswer};
use crate::observe::Holdings;
use crate::policies::Policies;
use crate::provisioning::Provisioning;
use crate::setup::DeviceSetup;
use crate::state_file::{StateError, StateFile};
use crate::throttle::{Kind, Quota, Throttle, Tier};

/// How many messages may wait for one device. A client that lets more pile up does not read, and
/// loses its connection.
const LINK_QUEUE: usize = 256;
/// How many messages faults keep back. A device can have so many that wait to be acknowledged.
const MAX_WITHHELD: usize = u16::MAX as usize;

/// The hub, its connections and its waiting callers.
#[derive(Debug)]
pub(crate) struct Switchboard {
    pub(crate) config: EmulatorConfig,
    pub(crate) policies: Policies,
    pub(crate) authorities: DeviceAuthorities,
    /// The names under which clients may address the hub.
    names: Vec<HubHost>,
    state: Mutex<State>,
    /// Ticks on every change.
    changed: watch::Sender<()>,
    paused: watch::Sender<bool>,
}

/// What the mutex holds.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) hub: Hub,
    pub(crate) provisioning: Provisioning,
    pub(crate) faults: Plan,
    pub(crate) meters: Meters,
    pub(crate) bearer_tokens: BearerTokens,
    throttle: Throttle,
    pub(crate) quota: Quota,
    pub(crate) open_connections: usize,
    links: HashMap<LinkId, LinkSender>,
    callers: HashMap<CallId, oneshot::Sender<MethodAnswer>>,
    withheld: Vec<Withheld>,
    file: Option<StateFile>,
}

#[derive(Debug)]
struct LinkSender {
    /// Boxed, because the channel sets aside room for many as soon as it is made.
    messages: mpsc::Sender<Box<Outgoing>>,
    close: Option<oneshot::Sender<CloseReason>>,
}

/// What a connection is to send.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ToDevice {
    Publish {
        topic: HubTopic,
        payload: Bytes,
    },
    /// To be acknowledged under this id.
    Deliver {
        packet_id: u16,
        duplicate: bool,
        topic: HubTopic,
        payload: Bytes,
    },
    Ack {
        packet_id: u16,
    },
}

/// What a connection takes out of its queue at once.
#[derive(Debug)]
pub(crate) enum Outgoing {
    One(ToDevice),
    /// What a fault kept back. However much it is, it takes one place in the queue: the client is not
    /// to blame.
    Released(Vec<ToDevice>),
}

/// A message that a fault keeps back.
#[derive(Debug)]
struct Withheld {
    fault: FaultId,
    link: LinkId,
    message: ToDevice,
}

/// What the hub has for a device.
pub(crate) type Messages = mpsc::Receiver<Box<Outgoing>>;

/// The receiving ends that a connection's task holds.
#[derive(Debug)]
pub(crate) struct LinkReceiver {
    pub(crate) messages: Messages,
    pub(crate) close: oneshot::Receiver<CloseReason>,
}

/// The time of a change, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: Timestamp,
    pub(crate) instant: Instant,
}

impl Now {
    /// What the wall's clock says when it is so far ahead.
    pub(crate) fn skewed(self, by: SignedDuration) -> Timestamp {
        self.wall.saturating_add(by).unwrap_or(self.wall)
    }
}

/// Waits as long as limits and faults want it so. Even a timer that is due at once fires a millisecond
/// later, which is ten times what a request takes.
pub(crate) async fn hold_up(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

impl Switchboard {
    pub(crate) fn new(
        config: EmulatorConfig,
        policies: Policies,
        authorities: DeviceAuthorities,
        names: Vec<HubHost>,
        mut state: State,
    ) -> Self {
        state.bearer_tokens = BearerTokens::new(config.bearer_tokens.clone());
        state.throttle = Throttle::new(config.tier, config.shaping);
        let of_the_tier = config.tier.map(Tier::daily_messages);
        let lock = SignedDuration::try_from(config.message_lock);
        state
            .hub
            .set_message_lock(lock.unwrap_or(SignedDuration::MAX));
        state.quota = Quota::new(config.daily_messages.or(of_the_tier));
        Self {
            config,
            policies,
            authorities,
            names,
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            paused: watch::Sender::new(false),
        }
    }

    /// The names under which clients may address the hub.
    pub(crate) fn names(&self) -> HubNames<'_> {
        HubNames { hosts: &self.names }
    }

    /// Reads the state.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    /// Changes the state. The change carries out its effects with [`State::carry_out`].
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State, Now) -> T) -> T {
        let now = Now {
            wall: Timestamp::now(),
            instant: Instant::now(),
        };
        let result = {
            let mut state = self.lock();
            let result = change(&mut state, now);
            state.keep();
            state.remember_twins(now.wall);
            result
        };
        self.changed.send_replace(());
        result
    }

    /// How long the tier makes something wait; fails with 429 when it admits no more of it.
    pub(crate) fn admit(&self, kind: Kind, cost: u64) -> Result<Duration, HubError> {
        if self.config.tier.is_none() {
            return Ok(Duration::ZERO);
        }
        self.change(|state, now| state.admit(kind, cost, now.instant))
    }

    /// Waits as long as the tier wants it so; fails with 429 when it admits no more.
    pub(crate) async fn pass(&self, kind: Kind, cost: u64) -> Result<(), HubError> {
        hold_up(self.admit(kind, cost)?).await;
        Ok(())
    }

    /// Waits until the state is as wanted; looks again after every change, so nothing is missed.
    pub(crate) async fn wait_until(&self, wanted: impl Fn(&State) -> bool) {
        self.wait_for(|state| wanted(state).then_some(())).await;
    }

    /// Waits until `look` finds something.
    pub(crate) async fn wait_for<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(found) = self.read(&look) {
                return found;
            }
            // The sender lives in `self`, so this cannot fail while we wait.
            let _ = changed.changed().await;
        }
    }

    /// Closes a device's connection. Returns whether there was one.
    pub(crate) fn close_device(&self, device: &DeviceId, reason: CloseReason) -> bool {
        let id = EntityId::from(device.clone());
        self.change(|state, now| {
            let effects = state.hub.close(&id, reason, now.wall);
            let closed = !effects.is_empty();
            state.carry_out(effects);
            closed
        })
    }

    /// Closes every connection.
    pub(crate) fn close_all(&self, reason: CloseReason) {
        self.change(|state, now| {
            let links: Vec<LinkId> = state.hub.links().collect();
            for link in links {
                state.carry_out([Effect::Close { link, reason }]);
                let effects = state.hub.disconnect(link, now.wall);
                state.carry_out(effects);
            }
        });
    }

    /// Makes the hub unreachable or reachable.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.send_replace(paused);
        if paused {
            self.close_all(CloseReason::Fault);
        }
    }

    /// Lets go of the file that keeps the state.
    pub(crate) fn close_state_file(&self) {
        let file = self.change(|state, _| state.file.take());
        if let Some(file) = file {
            file.close();
        }
    }

    /// Follows whether the hub is unreachable.
    pub(crate) fn paused(&self) -> watch::Receiver<bool> {
        self.paused.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held has already failed its own request; the others go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long the tier makes something wait; fails with 429 when it admits no more of it.
    pub(crate) fn admit(
        &mut self,
        kind: Kind,
        cost: u64,
        now: Instant,
    ) -> Result<Duration, HubError> {
        match self.throttle.pass(kind, cost, now) {
            Some(wait) => {
                if !wait.is_zero() {
                    self.meters.delayed.count_one(now);
                }
                Ok(wait)
            }
            None => {
                self.meters.throttled.count_one(now);
                Err(HubError::new(
                    ErrorCode::ThrottlingException,
                    "Too many requests: the hub's tier allows no more at present",
                ))
            }
        }
    }

    /// Counts a message of so many bytes; fails with 403 when the day's messages are used up.
    pub(crate) fn spend(&mut self, bytes: usize, now: Timestamp) -> Result<(), HubError> {
        if self.quota.spend(bytes, now) {
            return Ok(());
        }
        Err(HubError::new(
            ErrorCode::IotHubQuotaExceeded,
            "The messages that the hub takes in a day are used up",
        ))
    }

    /// Registers the connection behind `link`.
    pub(crate) fn add_link(&mut self, link: LinkId) -> LinkReceiver {
        let (messages, message_receiver) = mpsc::channel(LINK_QUEUE);
        let (close, close_receiver) = oneshot::channel();
        self.links.insert(
            link,
            LinkSender {
                messages,
                close: Some(close),
            },
        );
        LinkReceiver {
            messages: message_receiver,
            close: close_receiver,
        }
    }

    /// Forgets the connection behind `link`, with what waits for it.
    pub(crate) fn remove_link(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.withheld.retain(|withheld| withheld.link != link);
    }

    /// What is held for clients that are there now.
    pub(crate) fn holdings(&self) -> Holdings {
        Holdings {
            connections: self.open_connections,
            devices: self.links.len().max(self.hub.links().count()),
            callers: self.callers.len(),
            withheld: self.withheld.len(),
        }
    }

    /// Registers a caller that waits for the answer to `call`.
    pub(crate) fn add_caller(&mut self, call: CallId) -> oneshot::Receiver<MethodAnswer> {
        let (sender, receiver) = oneshot::channel();
        self.callers.insert(call, sender);
        receiver
    }

    /// Forgets a caller that waits no longer.
    pub(crate) fn remove_caller(&mut self, call: CallId, now: Timestamp) {
        self.callers.remove(&call);
        self.hub.end_call(call, now);
    }

    /// Takes up the state of an earlier run, and keeps this one's in the same file.
    pub(crate) fn take_up(
        &mut self,
        path: &Path,
        policies: &mut Policies,
    ) -> Result<(), StateError> {
        self.file = Some(StateFile::open(path, policies, &mut self.hub)?);
        Ok(())
    }

    /// Registers what is to be there from the start.
    pub(crate) fn set_up(&mut self, setup: &DeviceSetup, now: Timestamp) -> Result<(), HubError> {
        self.hub.set_up(setup, new_key, now)?;
        self.keep();
        Ok(())
    }

    /// Keeps what changed, before anybody is told of it.
    fn keep(&mut self) {
        if let Some(file) = &mut self.file {
            file.keep(&mut self.hub);
        }
    }

    /// Carries out effects in their order.
    pub(crate) fn carry_out(&mut self, effects: impl IntoIterator<Item = Effect>) {
        self.keep();
        for effect in effects {
            match effect {
                Effect::Publish {
                    link,
                    topic,
                    payload,
                } => {
                    self.send(link, ToDevice::Publish { topic, payload });
                }
                Effect::Deliver {
                    link,
                    packet_id,
                    duplicate,
                    topic,
                    payload,
                } => {
                    let message = ToDevice::Deliver {
                        packet_id,
                        duplicate,
                        topic,
                        payload,
                    };
                    self.send(link, message);
                }
                Effect::Close { link, reason } => self.close(link, reason),
                Effect::Answer { call, answer } => {
                    if let Some(caller) = self.callers.remove(&call) {
                        // The caller may have stopped waiting this very moment.
                        let _ = caller.send(answer);
                    }
                }
            }
        }
    }

    /// Sends to a device, unless a fault keeps the message back.
    fn send(&mut self, link: LinkId, message: ToDevice) {
        let withheld_by =
            self.hub
                .owner(link)
                .map(|id| &id.device)
                .and_then(|device| match &message {
                    ToDevice::Ack { .. } => self.faults.withhold_ack(device),
                    ToDevice::Publish {
                        topic: HubTopic::TwinResponse { .. },
                        ..
                    } => self.faults.withhold_twin_answer(device),
                    ToDevice::Publish { .. } | ToDevice::Deliver { .. } => None,
                });
        match withheld_by {
            // A client that goes on all the same is none that waits for what is withheld.
            Some(_) if self.withheld.len() >= MAX_WITHHELD => {
                self.close(link, CloseReason::TooSlow);
            }
            Some(fault) => self.withheld.push(Withheld {
                fault,
                link,
                message,
            }),
            None => self.send_now(link, Outgoing::One(message)),
        }
    }

    /// Acknowledges a device's QoS 1 message.
    pub(crate) fn acknowledge(&mut self, link: LinkId, packet_id: u16) {
        self.keep();
        self.send(link, ToDevice::Ack { packet_id });
    }

    /// Adds a fault, and begins what it needs.
    pub(crate) fn add_fault(&mut self, fault: Fault, times: Times) -> FaultId {
        let id = self.faults.add(fault, times);
        if self.faults.longest_query_delay().is_some() {
            self.hub.remember_twins();
        }
        id
    }

    /// Ends what only removed faults needed, and sends what only they kept back.
    pub(crate) fn end_effects_of_removed_faults(&mut self) {
        if self.faults.longest_query_delay().is_none() {
            self.hub.forget_remembered_twins();
        }
        self.release_withheld();
    }

    /// Notes how twins look now, while queries may see them later.
    fn remember_twins(&mut self, now: Timestamp) {
        if let Some(delay) = self.faults.longest_query_delay() {
            self.hub.note_twins(delay, now);
        }
    }

    fn release_withheld(&mut self) {
        let (kept, released): (Vec<_>, Vec<_>) = std::mem::take(&mut self.withheld)
            .into_iter()
            .partition(|withheld| self.faults.contains(withheld.fault));
        self.withheld = kept;
        let mut by_link: BTreeMap<LinkId, Vec<ToDevice>> = BTreeMap::new();
        for Withheld { link, message, .. } in released {
            by_link.entry(link).or_default().push(message);
        }
        for (link, messages) in by_link {
            self.send_now(link, Outgoing::Released(messages));
        }
    }

    fn send_now(&mut self, link: LinkId, message: Outgoing) {
        let Some(sender) = self.links.get(&link) else {
            return;
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = sender.messages.try_send(Box::new(message))
        {
            self.close(link, CloseReason::TooSlow);
        }
    }

    fn close(&mut self, link: LinkId, reason: CloseReason) {
        if let Some(close) = self
            .links
            .get_mut(&link)
            .and_then(|sender| sender.close.take())
        {
            // The connection may have ended by itself this very moment.
            let _ = close.send(reason);
        }
    }
}
