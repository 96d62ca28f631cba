//! One connection of one device, without the connection. Pure: packets in; packets and events out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use mqtt_wire::{
    Filter, LastWill, Packet, PubAck, Publish, QoS, SubAck, Subscribe, SubscribeReasonCode,
    UnsubAck, Unsubscribe,
};

use super::{
    Event,
    topics::{Place, Topics},
};
use crate::safety::naming::clip;

/// The most messages sent to a device that it has not acknowledged.
const IN_FLIGHT: usize = 16;

/// The most packets that wait for a device that does not read, or for room in flight. It is room
/// for every retained message at once.
const WAITING: usize = 64;

/// The most bytes of them, once there is one. A device may listen to itself, and what it sends is large.
const WAITING_BYTES: usize = 512 * 1024;

/// The most subscriptions of a device; the contract needs one.
const SUBSCRIPTIONS: usize = 16;

/// The most retained messages of a device; the contract needs three.
const RETAINED: usize = 32;

/// The most bytes of a device's retained messages, with their topics.
const RETAINED_BYTES: usize = 128 * 1024;

/// What a device may not do. It ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("published to {0:?}, which is not its own")]
    ForeignTopic(String),
    #[error("published with QoS 2, which is not served")]
    ExactlyOnce,
    #[error("sent a packet that has no place here: {0}")]
    Unexpected(&'static str),
    #[error("does not read what it is sent")]
    SlowReader,
}

/// What the device wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// To go on; the event, if there is one, is told before anything else is sent.
    Continue(Option<Event>),
    /// To end, without its last will.
    Disconnect,
}

/// The retained messages of one device, which outlive its connections.
#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<String, (QoS, Bytes)>,
    /// The gateway's own, which a device neither replaces nor crowds out.
    ours: Vec<(String, Bytes)>,
}

impl Retained {
    /// Keeps a message; an empty one deletes. What finds no room is not kept.
    fn put(&mut self, topic: &str, qos: QoS, payload: &Bytes) {
        self.messages.remove(topic);
        if payload.is_empty() || self.is_ours(topic) {
            return;
        }
        let bytes: usize = self
            .messages
            .iter()
            .map(|(topic, (_, payload))| topic.len() + payload.len())
            .sum();
        let own = topic.len() + payload.len();
        if self.messages.len() >= RETAINED || bytes + own > RETAINED_BYTES {
            tracing::warn!(topic = clip(topic), "no room to retain a message");
            return;
        }
        let kept = (qos, payload.clone());
        self.messages.insert(topic.to_owned(), kept);
    }
}

impl Retained {
    /// Keeps a message of the gateway.
    pub(super) fn put_ours(&mut self, topic: &str, payload: &Bytes) {
        self.messages.remove(topic);
        match self.ours.iter_mut().find(|(known, _)| known == topic) {
            Some((_, kept)) => kept.clone_from(payload),
            None => {
                // There are one or two, which nearly every device has.
                self.ours.reserve_exact(1);
                self.ours.push((topic.to_owned(), payload.clone()));
            }
        }
    }

    fn is_ours(&self, topic: &str) -> bool {
        self.ours.iter().any(|(known, _)| known == topic)
    }

    /// Those of the gateway.
    pub(super) fn ours(&self) -> impl Iterator<Item = &(String, Bytes)> {
        self.ours.iter()
    }

    /// All of them, with the quality of service that each was published with.
    fn iter(&self) -> impl Iterator<Item = (&String, QoS, &Bytes)> {
        let ours = self.ours.iter();
        let messages = self.messages.iter();
        messages
            .map(|(topic, (qos, payload))| (topic, *qos, payload))
            .chain(ours.map(|(topic, payload)| (topic, QoS::AtLeastOnce, payload)))
    }
}

/// One connection of one device.
#[derive(Debug)]
pub(super) struct Session {
    topics: Topics,
    will: Option<LastWill>,
    subscriptions: Vec<(Filter, QoS)>,
    in_flight: BTreeSet<u16>,
    last_id: u16,
    /// Messages that wait for room in flight.
    waiting: VecDeque<Publish>,
    /// Packets to be written.
    outbox: VecDeque<Packet>,
}

impl Session {
    /// Begins a connection. The will has to be on a topic of the device's own.
    pub(super) fn new(topics: &Topics, will: Option<LastWill>) -> Result<Self, Violation> {
        if let Some(will) = &will
            && topics.place(&will.topic) == Place::Foreign
        {
            return Err(Violation::ForeignTopic(will.topic.clone()));
        }
        Ok(Self {
            topics: topics.clone(),
            will,
            subscriptions: Vec::new(),
            in_flight: BTreeSet::new(),
            last_id: 0,
            waiting: VecDeque::new(),
            outbox: VecDeque::new(),
        })
    }

    /// Takes a packet from the device.
    pub(super) fn on_packet(
        &mut self,
        packet: Packet,
        retained: &mut Retained,
    ) -> Result<Next, Violation> {
        match packet {
            Packet::Publish(publish) => {
                return self.on_publish(publish, retained).map(Next::Continue);
            }
            Packet::PubAck(PubAck { pkid }) => {
                self.in_flight.remove(&pkid);
                self.send_waiting();
            }
            Packet::Subscribe(subscribe) => self.on_subscribe(subscribe, retained)?,
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(&unsubscribe)?,
            Packet::PingReq => self.write(Packet::PingResp)?,
            Packet::Disconnect => {
                self.will = None;
                return Ok(Next::Disconnect);
            }
            Packet::Connect(_) => return Err(Violation::Unexpected("a second CONNECT")),
            Packet::PubRec(_) => return Err(Violation::Unexpected("PUBREC")),
            Packet::PubRel(_) => return Err(Violation::Unexpected("PUBREL")),
            Packet::PubComp(_) => return Err(Violation::Unexpected("PUBCOMP")),
            Packet::ConnAck(_) => return Err(Violation::Unexpected("CONNACK")),
            Packet::SubAck(_) => return Err(Violation::Unexpected("SUBACK")),
            Packet::UnsubAck(_) => return Err(Violation::Unexpected("UNSUBACK")),
            Packet::PingResp => return Err(Violation::Unexpected("PINGRESP")),
        }
        Ok(Next::Continue(None))
    }

    /// Says whether the device would receive a message on that topic.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.granted(topic).is_some()
    }

    /// Sends the device a message, if it subscribed to it.
    pub(super) fn deliver(&mut self, topic: &str, payload: &Bytes) -> Result<(), Violation> {
        match self.granted(topic) {
            Some(qos) => self.enqueue(topic, qos, payload, false),
            None => Ok(()),
        }
    }

    /// Takes back the acknowledgement of the newest message, which is not written yet.
    pub(super) fn withhold(&mut self) {
        self.outbox
            .retain(|packet| !matches!(packet, Packet::PubAck(_)));
    }

    /// Takes the next packet to be written.
    pub(super) fn next_packet(&mut self) -> Option<Packet> {
        self.outbox.pop_front()
    }

    /// Ends the connection; the last will, unless the device said goodbye, is one more event.
    pub(super) fn end(self, retained: &mut Retained) -> Option<Event> {
        let will = self.will?;
        self.topics
            .told(retained, &will.topic, will.qos, &will.message, will.retain)
    }

    fn on_publish(
        &mut self,
        publish: Publish,
        retained: &mut Retained,
    ) -> Result<Option<Event>, Violation> {
        let foreign = self.topics.place(&publish.topic) == Place::Foreign;
        if foreign && !self.topics.are_of_a_stranger() {
            return Err(Violation::ForeignTopic(publish.topic));
        }
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.write(Packet::PubAck(PubAck::new(publish.pkid)))?,
            QoS::ExactlyOnce => return Err(Violation::ExactlyOnce),
        }
        // A device may listen to itself.
        self.deliver(&publish.topic, &publish.payload)?;
        let Publish {
            topic,
            qos,
            payload,
            retain,
            ..
        } = publish;
        Ok(self.topics.told(retained, &topic, qos, &payload, retain))
    }

    fn on_subscribe(&mut self, subscribe: Subscribe, retained: &Retained) -> Result<(), Violation> {
        let mut granted = Vec::new();
        let mut codes = Vec::new();
        let mut refused = None;
        for wanted in subscribe.filters {
            let Some((filter, qos)) = self.grant(&wanted.path, wanted.qos) else {
                refused.get_or_insert(wanted.path);
                codes.push(SubscribeReasonCode::Failure);
                continue;
            };
            codes.push(SubscribeReasonCode::Success(qos));
            granted.push((filter, qos));
        }
        // One packet has room for tens of thousands of them.
        if let Some(first) = refused {
            let of = codes.len();
            tracing::warn!(
                filter = clip(&first),
                of,
                "refused subscriptions, this one first"
            );
        }
        self.write(Packet::SubAck(SubAck::new(subscribe.pkid, codes)))?;
        for (filter, granted) in &granted {
            for (topic, qos, payload) in retained.iter() {
                if filter.matches(topic) {
                    self.enqueue(topic, lower(qos, *granted), payload, true)?;
                }
            }
        }
        Ok(())
    }

    /// Adds a subscription, or replaces the one of the same filter.
    fn grant(&mut self, path: &str, wanted: QoS) -> Option<(Filter, QoS)> {
        if self.topics.place(path) == Place::Foreign {
            return None;
        }
        let filter: Filter = path.parse().ok()?;
        let qos = lower(wanted, QoS::AtLeastOnce);
        self.subscriptions.retain(|(known, _)| *known != filter);
        if self.subscriptions.len() >= SUBSCRIPTIONS {
            return None;
        }
        self.subscriptions.push((filter.clone(), qos));
        Some((filter, qos))
    }

    fn on_unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Result<(), Violation> {
        self.subscriptions.retain(|(filter, _)| {
            !unsubscribe
                .topics
                .iter()
                .any(|path| path == filter.as_str())
        });
        self.write(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)))
    }

    /// The best quality of service that was granted for a topic.
    fn granted(&self, topic: &str) -> Option<QoS> {
        self.subscriptions
            .iter()
            .filter(|(filter, _)| filter.matches(topic))
            .map(|(_, qos)| *qos)
            .reduce(|a, b| if a < b { b } else { a })
    }

    fn enqueue(
        &mut self,
        topic: &str,
        qos: QoS,
        payload: &Bytes,
        retain: bool,
    ) -> Result<(), Violation> {
        let mut publish = Publish::from_bytes(topic, qos, payload.clone());
        publish.retain = retain;
        if !self.has_room(payload.len()) {
            return Err(Violation::SlowReader);
        }
        self.waiting.push_back(publish);
        self.send_waiting();
        Ok(())
    }

    /// Says whether a message of that size may wait.
    fn has_room(&self, bytes: usize) -> bool {
        let waiting: usize = self.waiting.iter().map(|one| one.payload.len()).sum();
        let fits = self.waiting.is_empty() || waiting + bytes <= WAITING_BYTES;
        fits && self.waiting.len() < WAITING
    }

    /// Moves to the outbox what has room in flight, in order.
    fn send_waiting(&mut self) {
        while self.in_flight.len() < IN_FLIGHT && self.outbox.len() < WAITING {
            let Some(mut publish) = self.waiting.pop_front() else {
                return;
            };
            if publish.qos != QoS::AtMostOnce {
                publish.pkid = self.next_id();
                self.in_flight.insert(publish.pkid);
            }
            self.outbox.push_back(Packet::Publish(publish));
        }
    }

    fn write(&mut self, packet: Packet) -> Result<(), Violation> {
        if self.outbox.len() >= WAITING {
            return Err(Violation::SlowReader);
        }
        self.outbox.push_back(packet);
        Ok(())
    }

    /// The next packet id that is not in flight; there is one, since so few are.
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

impl Topics {
    /// What a message of the device is to the gateway, which keeps it if it is retained.
    fn told(
        &self,
        retained: &mut Retained,
        topic: &str,
        qos: QoS,
        payload: &Bytes,
        retain: bool,
    ) -> Option<Event> {
        if retain && matches!(self.place(topic), Place::Own(_)) {
            retained.put(topic, qos, payload);
        }
        self.event(topic, payload)
    }
}

fn lower(a: QoS, b: QoS) -> QoS {
    if a < b { a } else { b }
}

/// Plays whatever a client may send after its CONNECT. Panics when a promise does not hold.
pub(crate) fn fuzz(data: &[u8]) {
    let mut codec = mqtt_wire::ServerCodec::new(64 * 1024);
    let mut bytes = bytes::BytesMut::from(data);
    let mut retained = Retained::default();
    let Ok(mut session) = Session::new(&Topics::of("d", super::Elsewhere::default()), None) else {
        return;
    };
    while let Ok(Some(packet)) = tokio_util::codec::Decoder::decode(&mut codec, &mut bytes) {
        match session.on_packet(packet, &mut retained) {
            Ok(Next::Continue(_)) => {}
            Ok(Next::Disconnect) | Err(_) => return,
        }
        assert!(!session.is_subscribed("dm/other/cmd/reboot"));
        while let Some(packet) = session.next_packet() {
            if let Packet::Publish(publish) = packet {
                assert!(publish.topic.starts_with("dm/d/"));
            }
        }
    }
    let _ = session.end(&mut retained);
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
