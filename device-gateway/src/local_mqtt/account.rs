//! One device's corner of the endpoint: what outlives its connections, and the one it has.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use daemon::panics::caught;
use mqtt_wire::{LastWill, Packet};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use tokio::sync::{Mutex as Seat, MutexGuard as SeatGuard, Notify, oneshot};

use super::{
    Event, Inbound, Listener, PublishError,
    broker::Outgoing,
    is_for_hub,
    session::{Next, Retained, Session, Violation},
    topics::Topics,
};
use crate::{
    queue::{self, Receiver, Sender},
    rising::Rising,
};

/// The largest packet of a device: a message as large as a hub takes it, and a bit, so that a device
/// learns that one is too large.
const MAX_PACKET: usize = 260 * 1024;

/// The largest packet of a device that was made for another server. A Zigbee2MQTT tells of all its
/// nodes in one.
const MAX_STRANGE_PACKET: usize = 4 * 1024 * 1024;

/// One device's corner.
#[derive(Debug)]
pub(super) struct Account {
    device: String,
    topics: Topics,
    password: Option<SecretString>,
    at_broker: bool,
    corner: Mutex<Corner>,
    /// Held by the connection that the device has.
    seat: Seat<()>,
    newest: Newest,
    /// There is something to be written.
    wake: Notify,
}

/// The one connection that a device has.
#[derive(Debug)]
pub(super) struct Seated<'a> {
    number: u64,
    newest: &'a Newest,
    _seat: SeatGuard<'a, ()>,
}

impl Seated<'_> {
    /// Ends when a newer connection wants this place.
    pub(super) async fn is_wanted(&self) {
        self.newest.is_above(self.number).await;
    }
}

/// The number of the newest connection. It rises with every one that signs in; an older one then has to
/// leave.
#[derive(Debug, Default)]
struct Newest(Rising);

impl Newest {
    /// The number of one more connection.
    fn next(&self) -> u64 {
        self.0.rise()
    }

    /// Makes every connection leave, and every one that comes.
    fn end(&self) {
        self.0.rise_to(ENDED);
    }

    /// Ends when there is a newer connection than the one of that number, or there shall be none.
    async fn is_above(&self, number: u64) {
        let is_above = |newest| newest > number || newest >= ENDED;
        self.0.until(is_above).await;
    }
}

/// From this number of the newest connection on there shall be none any more. There are never that many.
const ENDED: u64 = 1 << 63;

#[derive(Debug, Default)]
struct Corner {
    /// Boxed, for many devices are away.
    session: Option<Box<Session>>,
    retained: Retained,
    listeners: Vec<Weak<dyn Listener>>,
    bridge: Option<Sender<Inbound>>,
    /// Nothing that it has for the hub can be kept, and that is its own trouble.
    barred: bool,
    /// Where messages for the device go, while there is a line to its broker.
    broker: Option<Sender<Outgoing>>,
    /// It was heard on that line.
    heard: bool,
}

impl Account {
    pub(super) fn new(
        device: &str,
        topics: Topics,
        password: Option<SecretString>,
        at_broker: bool,
    ) -> Self {
        Self {
            device: device.to_owned(),
            topics,
            password,
            at_broker,
            corner: Mutex::default(),
            seat: Seat::default(),
            newest: Newest::default(),
            wake: Notify::new(),
        }
    }

    pub(super) fn device(&self) -> &str {
        &self.device
    }

    /// A topic of its corner.
    pub(super) fn own_topic(&self, name: &str) -> String {
        self.topics.own(name)
    }

    pub(super) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The largest packet that is taken of it.
    pub(super) fn max_packet(&self) -> usize {
        if self.topics.are_of_a_stranger() {
            MAX_STRANGE_PACKET
        } else {
            MAX_PACKET
        }
    }

    /// Compares in a time that tells nothing of the password but its length.
    pub(super) fn is_password(&self, given: &[u8]) -> bool {
        self.password.as_ref().is_some_and(|password| {
            let expected = password.expose_secret().as_bytes();
            expected.ct_eq(given).into()
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        let corner = self.corner();
        corner.session.is_some() || corner.heard
    }

    pub(super) fn listen(&self, listener: Weak<dyn Listener>) {
        if self.at_broker
            && let Some(listener) = listener.upgrade()
        {
            listener.hear(&Event::Unheard);
        }
        let listeners = &mut self.corner().listeners;
        // There is one, nearly always.
        listeners.reserve_exact(1);
        listeners.push(listener);
    }

    pub(super) fn bridge(&self) -> Receiver<Inbound> {
        // One at a time: the device's connection waits for the answer.
        let (sender, receiver) = queue::bounded(1);
        let mut corner = self.corner();
        corner.bridge = Some(sender);
        corner.barred = false;
        receiver
    }

    pub(super) fn bar(&self, barred: bool) {
        let before = mem::replace(&mut self.corner().barred, barred);
        if self.at_broker && barred && !before {
            tracing::warn!(
                device = self.device,
                "what the device has for the hub is lost until it can be kept: others would wait for it"
            );
        }
    }

    pub(super) fn is_barred(&self) -> bool {
        self.corner().barred
    }

    pub(super) fn retain(&self, name: &str, payload: Bytes) {
        let topic = self.topics.own(name);
        let mut corner = self.corner();
        let corner = &mut *corner;
        corner.retained.put_ours(&topic, &payload);
        if let Some(session) = &mut corner.session
            && session.deliver(&topic, &payload).is_err()
        {
            tracing::debug!(topic, "the device does not read what it is sent");
        }
        if let Some(broker) = &corner.broker {
            // What finds no room is said again with the next line.
            let _ = broker.try_send(Outgoing {
                topic,
                payload,
                retain: true,
            });
        }
        self.wake.notify_one();
    }

    pub(super) fn publish(&self, topic: &str, payload: &Bytes) -> Result<(), PublishError> {
        let mut corner = self.corner();
        if self.at_broker {
            let broker = corner.broker.as_ref().ok_or(PublishError::NoBroker)?;
            let message = Outgoing {
                topic: topic.to_owned(),
                payload: payload.clone(),
                retain: false,
            };
            return broker.try_send(message).map_err(|_| {
                if broker.is_closed() {
                    PublishError::NoBroker
                } else {
                    PublishError::Busy
                }
            });
        }
        let session = corner.session.as_mut().ok_or(PublishError::NotConnected)?;
        if !session.is_subscribed(topic) {
            return Err(PublishError::NotSubscribed);
        }
        session
            .deliver(topic, payload)
            .map_err(|_| PublishError::Busy)?;
        self.wake.notify_one();
        Ok(())
    }

    /// There is a line to the broker. Returns what the device has to be told: what it could have missed,
    /// and that it is to speak.
    pub(super) fn raise(&self, broker: Sender<Outgoing>) -> Vec<Outgoing> {
        let kept: Vec<_> = {
            let mut corner = self.corner();
            corner.broker = Some(broker);
            let kept = corner.retained.ours().map(|(topic, payload)| Outgoing {
                topic: topic.clone(),
                payload: payload.clone(),
                retain: true,
            });
            kept.collect()
        };
        kept.into_iter().chain(self.question()).collect()
    }

    /// What makes a device speak that was not heard on this line. It goes to nobody while there is none.
    pub(super) fn question(&self) -> Option<Outgoing> {
        let (topic, payload) = self.topics.question();
        let question = Outgoing {
            topic,
            payload: Bytes::from_static(payload.as_bytes()),
            retain: false,
        };
        (!self.corner().heard).then_some(question)
    }

    /// It said that, live, at its broker.
    pub(super) async fn hear(&self, event: Event) {
        let heard = mem::replace(&mut self.corner().heard, true);
        if !heard {
            self.tell(Event::Connected).await;
        }
        self.tell(event).await;
    }

    /// The line to the broker is cut.
    pub(super) async fn unhear(&self) {
        {
            let mut corner = self.corner();
            corner.broker = None;
            corner.heard = false;
        }
        self.tell(Event::Unheard).await;
    }

    /// Makes the device's other connection leave, waits until it has, and takes its place. `None`
    /// when a newer connection came meanwhile and wants it too.
    pub(super) async fn take_seat(&self) -> Option<Seated<'_>> {
        let newest = &self.newest;
        let number = newest.next();
        tokio::select! {
            seat = self.seat.lock() => Some(Seated { number, newest, _seat: seat }),
            () = newest.is_above(number) => None,
        }
    }

    /// Makes the connection leave, as a newer one would. At a broker it counts as not heard yet.
    fn hang_up(&self) {
        self.corner().heard = false;
        self.newest.next();
    }

    /// Makes the connection leave, and every one that comes.
    pub(super) fn close_for_good(&self) {
        self.newest.end();
    }

    /// Begins a connection.
    pub(super) fn open(&self, will: Option<LastWill>) -> Result<(), Violation> {
        let session = Session::new(&self.topics, will)?;
        self.corner().session = Some(Box::new(session));
        Ok(())
    }

    /// Ends the connection, and tells of the last will and of the end.
    pub(super) async fn close(&self) {
        let will = {
            let mut corner = self.corner();
            let corner = &mut *corner;
            let session = corner.session.take();
            session.and_then(|session| session.end(&mut corner.retained))
        };
        for event in will.into_iter().chain([Event::Disconnected]) {
            self.tell(event).await;
        }
    }

    pub(super) fn on_packet(&self, packet: Packet) -> Result<Next, Violation> {
        let mut corner = self.corner();
        let corner = &mut *corner;
        match &mut corner.session {
            Some(session) => session.on_packet(packet, &mut corner.retained),
            None => Ok(Next::Disconnect),
        }
    }

    pub(super) fn next_packet(&self) -> Option<Packet> {
        self.corner().session.as_mut()?.next_packet()
    }

    /// Waits until there may be something to be written.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Tells every listener. Returns whether a message for the hub is kept; others need not be.
    pub(super) async fn tell(&self, event: Event) -> bool {
        let (listeners, bridge) = {
            let mut corner = self.corner();
            corner.listeners.retain(|known| known.strong_count() > 0);
            let present = corner.listeners.iter().filter_map(Weak::upgrade);
            (present.collect::<Vec<_>>(), corner.bridge.clone())
        };
        for listener in listeners {
            if caught(|| listener.hear(&event)).is_err() {
                // What it knows of the device may be half changed, and is old from now on.
                listener.hear(&Event::Unheard);
                self.hang_up();
            }
        }
        match event {
            Event::Message { name, payload } if is_for_hub(&name) => {
                // As long as nobody takes it, it may come again.
                let Some(bridge) = bridge else { return false };
                let (kept, answer) = oneshot::channel();
                let inbound = Inbound {
                    name,
                    payload,
                    kept,
                };
                bridge.send(inbound).await.is_ok() && answer.await.unwrap_or(false)
            }
            Event::Message { .. }
            | Event::Elsewhere { .. }
            | Event::Connected
            | Event::Unheard
            | Event::Disconnected => true,
        }
    }

    /// Lets the device send its newest message again: it is not acknowledged.
    pub(super) fn withhold(&self) {
        if let Some(session) = &mut self.corner().session {
            session.withhold();
        }
    }

    fn corner(&self) -> MutexGuard<'_, Corner> {
        // No holder of the lock can leave the corner half changed.
        self.corner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
