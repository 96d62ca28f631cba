//! The messages that wait for one device.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use iot_hub::error::{ErrorCode, HubError};
use iot_hub::topic::PropertyBag;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hub::Qos;
use crate::hub::feedback::Outcome;

/// How many messages may wait for a device.
pub(super) const MAX_WAITING: usize = 50;
/// How often a message is sent at most.
pub(super) const MAX_DELIVERIES: u8 = 10;

/// The messages that wait for one device, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(super) queue: VecDeque<Waiting>,
    pub(super) last_packet_id: u16,
    /// What left the queue, and why, since that was last asked.
    pub(super) gone: Vec<(Waiting, Outcome)>,
    /// When it will be looked at without anybody asking.
    pub(super) scheduled: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(super) properties: PropertyBag,
    pub(super) payload: Bytes,
    pub(super) enqueued: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) deliveries: u8,
    pub(super) in_flight: Option<InFlight>,
}

/// What the device was sent and has not acknowledged yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InFlight {
    packet_id: u16,
    /// When it counts as not delivered.
    until: Timestamp,
}

/// A waiting message as it is kept over a restart.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct WaitingRecord {
    /// As in a topic.
    properties: String,
    /// In base64.
    payload: String,
    #[serde(default)]
    enqueued: Timestamp,
    expires: Timestamp,
    deliveries: u8,
}

/// A message on its way.
#[derive(Debug, PartialEq)]
pub(super) struct Delivery {
    /// To be acknowledged under this id; without one, sending it is all.
    pub(super) packet_id: Option<u16>,
    pub(super) duplicate: bool,
    pub(super) properties: PropertyBag,
    pub(super) payload: Bytes,
}

impl Inbox {
    /// What is kept over a restart.
    pub(crate) fn to_records(&self) -> Vec<WaitingRecord> {
        let record = |waiting: &Waiting| WaitingRecord {
            properties: waiting.properties.to_string(),
            payload: STANDARD.encode(&waiting.payload),
            enqueued: waiting.enqueued,
            expires: waiting.expires,
            deliveries: waiting.deliveries,
        };
        self.queue.iter().map(record).collect()
    }

    /// Takes back what was kept; `None` when it cannot be read.
    pub(crate) fn from_records(records: Vec<WaitingRecord>) -> Option<Self> {
        let waiting = |record: WaitingRecord| {
            Some(Waiting {
                properties: record.properties.parse().ok()?,
                payload: STANDARD.decode(record.payload).ok()?.into(),
                enqueued: record.enqueued,
                expires: record.expires,
                deliveries: record.deliveries,
                in_flight: None,
            })
        };
        Some(Self {
            queue: records.into_iter().map(waiting).collect::<Option<_>>()?,
            ..Self::default()
        })
    }

    pub(super) fn push(
        &mut self,
        properties: PropertyBag,
        payload: Bytes,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), HubError> {
        self.look(now);
        if self.queue.len() >= MAX_WAITING {
            return Err(HubError::new(
                ErrorCode::DeviceMaximumQueueDepthExceeded,
                format!("{MAX_WAITING} messages wait for the device"),
            ));
        }
        self.queue.push_back(Waiting {
            properties,
            payload,
            enqueued: now,
            expires,
            deliveries: 0,
            in_flight: None,
        });
        Ok(())
    }

    /// Takes out what may be sent now. The device has until `until` to acknowledge it.
    pub(super) fn deliver(&mut self, qos: Qos, until: Timestamp, now: Timestamp) -> Vec<Delivery> {
        self.look(now);
        match qos {
            // Nobody will say whether it arrived: sent is delivered.
            Qos::AtMostOnce => {
                let sent = self.take(|waiting| waiting.in_flight.is_none());
                let deliveries = sent.iter().map(|waiting| waiting.send(None)).collect();
                self.end(sent, Outcome::Success);
                deliveries
            }
            Qos::AtLeastOnce => {
                let mut deliveries = Vec::new();
                for index in 0..self.queue.len() {
                    if self.queue[index].in_flight.is_none() {
                        let packet_id = self.free_packet_id();
                        let waiting = &mut self.queue[index];
                        waiting.in_flight = Some(InFlight { packet_id, until });
                        deliveries.push(waiting.send(Some(packet_id)));
                        waiting.deliveries += 1;
                    }
                }
                deliveries
            }
        }
    }

    /// Whether the device is to acknowledge a message under this id.
    pub(super) fn awaits(&self, packet_id: u16) -> bool {
        let mut queue = self.queue.iter();
        queue.any(|waiting| waiting.is_sent_as(packet_id))
    }

    /// The device took a message.
    pub(super) fn acknowledge(&mut self, packet_id: u16) {
        let taken = self.take(|waiting| waiting.is_sent_as(packet_id));
        self.end(taken, Outcome::Success);
    }

    /// The connection ended: what was on its way is not delivered.
    pub(super) fn interrupt(&mut self) {
        self.return_those(|_| true);
    }

    /// Notices the passing of time: what was not acknowledged in time is to be sent again, and what
    /// has expired goes.
    pub(super) fn look(&mut self, now: Timestamp) {
        self.return_those(|sent| sent.until <= now);
        let late = self.take(|waiting| waiting.in_flight.is_none() && waiting.expires <= now);
        self.end(late, Outcome::Expired);
    }

    /// Removes all that wait, and says how many there were.
    pub(super) fn purge(&mut self) -> usize {
        let all = self.take(|_| true);
        let count = all.len();
        self.end(all, Outcome::Purged);
        count
    }

    /// When the passing of time next makes a difference.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let times = self.queue.iter().map(|waiting| match waiting.in_flight {
            Some(sent) => sent.until,
            None => waiting.expires,
        });
        times.min()
    }

    /// What was sent and fits returns to the queue, if it was not sent too often.
    fn return_those(&mut self, fits: impl Fn(InFlight) -> bool) {
        for waiting in &mut self.queue {
            waiting.in_flight = waiting.in_flight.filter(|sent| !fits(*sent));
        }
        let spent = self
            .take(|waiting| waiting.in_flight.is_none() && waiting.deliveries >= MAX_DELIVERIES);
        self.end(spent, Outcome::DeliveryCountExceeded);
    }

    fn take(&mut self, fits: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let (taken, kept) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition::<VecDeque<_>, _>(fits);
        self.queue = kept;
        taken.into()
    }

    fn end(&mut self, messages: Vec<Waiting>, outcome: Outcome) {
        let ended = messages.into_iter().map(|message| (message, outcome));
        self.gone.extend(ended);
    }

    /// Ids are reused only when all have had their turn, and never one that is still in flight.
    pub(super) fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if !self.awaits(self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}

impl Waiting {
    fn is_sent_as(&self, packet_id: u16) -> bool {
        self.in_flight
            .is_some_and(|sent| sent.packet_id == packet_id)
    }

    /// The value of a property.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        let mut all = self.properties.iter();
        all.find(|(known, _)| *known == name)?.1
    }

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
