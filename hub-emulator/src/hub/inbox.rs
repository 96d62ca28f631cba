//! Messages that wait for a device, until it takes them or they expire.
//!
//! ```text
//!            deliver                    acknowledge
//! waiting ─────────────► in flight ───────────────────► gone
//!    │ ▲                     │
//!    │ └─── interrupt ───────┤ (ten times)
//!    └────► expired          └───────────────────────► gone
//! ```

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use iot_hub::error::{ErrorCode, HubError};
use iot_hub::topic::{Filter, HubTopic, PropertyBag};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{CloudToDeviceMessage, Effect, EntityId, Hub, LinkId, Qos};

/// How many messages may wait for a device.
const MAX_WAITING: usize = 50;
/// How often a message is sent at most.
const MAX_DELIVERIES: u8 = 10;
const DEFAULT_LIFE: SignedDuration = SignedDuration::from_hours(1);
const MAX_LIFE: SignedDuration = SignedDuration::from_hours(48);

/// The messages that wait for one device, oldest first.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: VecDeque<Waiting>,
    last_packet_id: u16,
}

#[derive(Debug)]
struct Waiting {
    properties: PropertyBag,
    payload: Bytes,
    expires: Timestamp,
    deliveries: u8,
    /// The packet that the device has not acknowledged yet.
    in_flight: Option<u16>,
}

/// A waiting message as it is kept over a restart.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct WaitingRecord {
    /// As in a topic.
    properties: String,
    /// In base64.
    payload: String,
    expires: Timestamp,
    deliveries: u8,
}

/// A message on its way.
#[derive(Debug, PartialEq)]
struct Delivery {
    /// To be acknowledged under this id; without one, sending it is all.
    packet_id: Option<u16>,
    duplicate: bool,
    properties: PropertyBag,
    payload: Bytes,
}

impl Hub {
    /// Queues a message for a device, and sends it if the device listens.
    pub(crate) fn send_to_device(
        &mut self,
        id: &EntityId,
        message: CloudToDeviceMessage,
        now: Timestamp,
    ) -> Result<Vec<Effect>, HubError> {
        let entity = self.entity_mut(id)?;
        let properties = message.bag(&id.device)?;
        let latest = now.saturating_add(MAX_LIFE).unwrap_or(Timestamp::MAX);
        let expires = match message.expiry {
            Some(expiry) => expiry.min(latest),
            None => now.saturating_add(DEFAULT_LIFE).unwrap_or(Timestamp::MAX),
        };
        entity
            .inbox
            .push(properties, message.payload, expires, now)?;
        entity.show_inbox_in_twin();
        Ok(match self.link_of(id) {
            Some(link) => self.deliver(link, now),
            None => Vec::new(),
        })
    }

    /// Sends what waits for the device behind a connection, if it listens.
    pub(crate) fn deliver(&mut self, link: LinkId, now: Timestamp) -> Vec<Effect> {
        let Some(id) = self.links.get(&link) else {
            return Vec::new();
        };
        let device = id.device.clone();
        let Some(entity) = self.entities.get_mut(id) else {
            return Vec::new();
        };
        let filter = Filter::CloudToDevice(device.clone());
        let Some(qos) = entity.session.qos(&filter) else {
            return Vec::new();
        };
        let deliveries = entity.inbox.deliver(qos, now);
        entity.show_inbox_in_twin();
        let effect = |delivery: Delivery| {
            let topic = HubTopic::CloudToDevice {
                device: device.clone(),
                properties: delivery.properties,
            };
            let payload = delivery.payload;
            match delivery.packet_id {
                None => Effect::Publish {
                    link,
                    topic,
                    payload,
                },
                Some(packet_id) => Effect::Deliver {
                    link,
                    packet_id,
                    duplicate: delivery.duplicate,
                    topic,
                    payload,
                },
            }
        };
        deliveries.into_iter().map(effect).collect()
    }

    /// A device took a message.
    pub(crate) fn message_acknowledged(&mut self, link: LinkId, packet_id: u16) {
        if let Some(entity) = self.entity_of_mut(link) {
            entity.inbox.acknowledge(packet_id);
            entity.show_inbox_in_twin();
        }
    }
}

impl super::Entity {
    /// What was on its way when a connection ended waits for the next one.
    pub(super) fn interrupt_messages(&mut self) {
        self.inbox.interrupt();
        self.show_inbox_in_twin();
    }

    fn show_inbox_in_twin(&mut self) {
        self.twin.cloud_to_device_messages = self.inbox.queue.len() as u64;
    }
}

impl Inbox {
    /// What is kept over a restart.
    pub(super) fn to_records(&self) -> Vec<WaitingRecord> {
        let record = |waiting: &Waiting| WaitingRecord {
            properties: waiting.properties.to_string(),
            payload: STANDARD.encode(&waiting.payload),
            expires: waiting.expires,
            deliveries: waiting.deliveries,
        };
        self.queue.iter().map(record).collect()
    }

    /// Takes back what was kept; `None` when it cannot be read.
    pub(super) fn from_records(records: Vec<WaitingRecord>) -> Option<Self> {
        let waiting = |record: WaitingRecord| {
            Some(Waiting {
                properties: record.properties.parse().ok()?,
                payload: STANDARD.decode(record.payload).ok()?.into(),
                expires: record.expires,
                deliveries: record.deliveries,
                in_flight: None,
            })
        };
        Some(Self {
            queue: records.into_iter().map(waiting).collect::<Option<_>>()?,
            last_packet_id: 0,
        })
    }

    fn push(
        &mut self,
        properties: PropertyBag,
        payload: Bytes,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), HubError> {
        self.expire(now);
        if self.queue.len() >= MAX_WAITING {
            return Err(HubError::new(
                ErrorCode::DeviceMaximumQueueDepthExceeded,
                format!("{MAX_WAITING} messages wait for the device"),
            ));
        }
        self.queue.push_back(Waiting {
            properties,
            payload,
            expires,
            deliveries: 0,
            in_flight: None,
        });
        Ok(())
    }

    fn deliver(&mut self, qos: Qos, now: Timestamp) -> Vec<Delivery> {
        self.expire(now);
        match qos {
            // Nobody will say whether it arrived: sent is delivered.
            Qos::AtMostOnce => {
                let (sent, kept) = std::mem::take(&mut self.queue)
                    .into_iter()
                    .partition(|waiting| waiting.in_flight.is_none());
                self.queue = kept;
                sent.into_iter().map(|waiting| waiting.send(None)).collect()
            }
            Qos::AtLeastOnce => {
                let mut deliveries = Vec::new();
                for index in 0..self.queue.len() {
                    if self.queue[index].in_flight.is_none() {
                        let packet_id = self.free_packet_id();
                        let waiting = &mut self.queue[index];
                        waiting.in_flight = Some(packet_id);
                        deliveries.push(waiting.send(Some(packet_id)));
                        waiting.deliveries += 1;
                    }
                }
                deliveries
            }
        }
    }

    fn acknowledge(&mut self, packet_id: u16) {
        self.queue
            .retain(|waiting| waiting.in_flight != Some(packet_id));
    }

    fn interrupt(&mut self) {
        self.queue
            .retain(|waiting| waiting.deliveries < MAX_DELIVERIES);
        for waiting in &mut self.queue {
            waiting.in_flight = None;
        }
    }

    fn expire(&mut self, now: Timestamp) {
        self.queue
            .retain(|waiting| waiting.in_flight.is_some() || now < waiting.expires);
    }

    /// Ids are reused only when all have had their turn, and never one that is still in flight.
    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let id = Some(self.last_packet_id);
            if !self.queue.iter().any(|waiting| waiting.in_flight == id) {
                return self.last_packet_id;
            }
        }
    }
}

impl Waiting {
    fn send(&self, packet_id: Option<u16>) -> Delivery {
        Delivery {
            packet_id,
            duplicate: self.deliveries > 0,
            properties: self.properties.clone(),
            payload: self.payload.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
