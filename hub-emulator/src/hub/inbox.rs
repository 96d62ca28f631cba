//! Messages that wait for a device, until it takes them or they expire.
//!
//! ```text
//!            deliver                    acknowledge
//! waiting ─────────────► in flight ───────────────────► gone
//!    │ ▲                     │
//!    │ └── interrupt, lock ──┤ (ten times)
//!    └────► expired          └───────────────────────► gone
//! ```
//!
//! What is in flight is locked for a minute; then it is sent again, on the same connection too. Why
//! a message went is told to its sender, if it wished so: see [feedback](super::feedback).

use std::collections::BTreeSet;

use iot_hub::error::HubError;
use iot_hub::topic::{Filter, HubTopic};
use jiff::{SignedDuration, Timestamp};

use self::queue::Delivery;
pub(super) use self::queue::{Inbox, Waiting, WaitingRecord};
use super::{CloudToDeviceMessage, Effect, EntityId, Hub, LinkId};

mod queue;

const DEFAULT_LIFE: SignedDuration = SignedDuration::from_hours(1);
const MAX_LIFE: SignedDuration = SignedDuration::from_hours(48);
const LOCK: SignedDuration = SignedDuration::from_secs(60);

/// When the hub has to look at an inbox without being asked.
#[derive(Debug)]
pub(super) struct Inboxes {
    lock: SignedDuration,
    looks: BTreeSet<(Timestamp, EntityId)>,
}

impl Default for Inboxes {
    fn default() -> Self {
        Self {
            lock: LOCK,
            looks: BTreeSet::new(),
        }
    }
}

impl Hub {
    /// Changes how long a device has to acknowledge a message before it is sent again.
    pub(crate) fn set_message_lock(&mut self, lock: SignedDuration) {
        self.inboxes.lock = lock;
    }

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
        let pushed = entity.inbox.push(properties, message.payload, expires, now);
        self.inbox_changed(id, now);
        pushed?;
        Ok(match self.link_of(id) {
            Some(link) => self.deliver(link, now),
            None => Vec::new(),
        })
    }

    /// Sends what waits for the device behind a connection, if it listens.
    pub(crate) fn deliver(&mut self, link: LinkId, now: Timestamp) -> Vec<Effect> {
        let Some(id) = self.links.get(&link).cloned() else {
            return Vec::new();
        };
        let until = now.saturating_add(self.inboxes.lock);
        let until = until.unwrap_or(Timestamp::MAX);
        let Some(entity) = self.entities.get_mut(&id) else {
            return Vec::new();
        };
        let filter = Filter::CloudToDevice(id.device.clone());
        let Some(qos) = entity.session.qos(&filter) else {
            return Vec::new();
        };
        let deliveries = entity.inbox.deliver(qos, until, now);
        self.inbox_changed(&id, now);
        let effect = |delivery: Delivery| {
            let topic = HubTopic::CloudToDevice {
                device: id.device.clone(),
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
    pub(crate) fn message_acknowledged(&mut self, link: LinkId, packet_id: u16, now: Timestamp) {
        let Some(id) = self.links.get(&link).cloned() else {
            return;
        };
        let awaited = self.entities.get(&id);
        if awaited.is_some_and(|entity| entity.inbox.awaits(packet_id))
            && let Some(entity) = self.entities.get_mut(&id)
        {
            entity.inbox.acknowledge(packet_id);
            self.inbox_changed(&id, now);
        }
    }

    /// Looks no more at the inbox of a device that is gone.
    pub(super) fn forget_inbox(&mut self, id: EntityId, inbox: &Inbox) {
        if let Some(at) = inbox.scheduled {
            self.inboxes.looks.remove(&(at, id));
        }
    }

    /// Removes all that wait for a device, and says how many there were.
    pub(crate) fn purge_messages(
        &mut self,
        id: &EntityId,
        now: Timestamp,
    ) -> Result<usize, HubError> {
        let count = self.entity_mut(id)?.inbox.purge();
        self.inbox_changed(id, now);
        Ok(count)
    }

    /// What was on its way when a connection ended waits for the next one.
    pub(super) fn interrupt_messages(&mut self, id: &EntityId, now: Timestamp) {
        if let Some(entity) = self.entities.get_mut(id) {
            entity.inbox.interrupt();
            self.inbox_changed(id, now);
        }
    }

    /// When [`Hub::look_at_inboxes`] next has something to do.
    pub(crate) fn next_look_at_inboxes(&self) -> Option<Timestamp> {
        self.inboxes.looks.first().map(|(at, _)| *at)
    }

    /// Sends again what was not acknowledged in time, and removes what has expired.
    pub(crate) fn look_at_inboxes(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((at, _)) = self.inboxes.looks.first()
            && *at <= now
            && let Some((_, id)) = self.inboxes.looks.pop_first()
        {
            let Some(entity) = self.entities.get_mut(&id) else {
                continue;
            };
            entity.inbox.scheduled = None;
            entity.inbox.look(now);
            self.inbox_changed(&id, now);
            if let Some(link) = self.link_of(&id) {
                effects.extend(self.deliver(link, now));
            }
        }
        effects
    }

    /// Shows in the twin what waits, tells senders what became of the rest, and sees to the next
    /// look.
    pub(super) fn inbox_changed(&mut self, id: &EntityId, now: Timestamp) {
        let Some(entity) = self.entities.get_mut_in_passing(id) else {
            return;
        };
        entity.twin.cloud_to_device_messages = entity.inbox.queue.len() as u64;
        let generation = entity.identity.generation;
        for (message, outcome) in std::mem::take(&mut entity.inbox.gone) {
            self.feedback.tell(id, generation, &message, outcome, now);
        }
        let next = entity.inbox.next_look();
        if next != entity.inbox.scheduled {
            let looks = &mut self.inboxes.looks;
            if let Some(at) = entity.inbox.scheduled {
                looks.remove(&(at, id.clone()));
            }
            looks.extend(next.map(|at| (at, id.clone())));
            entity.inbox.scheduled = next;
        }
    }
}
