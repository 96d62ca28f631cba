//! Who is connected, and what they subscribed to.
//!
//! Subscriptions belong to the device, not to the connection: Microsoft's SDKs subscribe once and
//! count on the hub to remember over every reconnect.

use std::collections::BTreeMap;
use std::mem;

use iot_hub::error::HubError;
use iot_hub::topic::Filter;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CloseReason, Effect, Entity, EntityId, Hub, LinkId};

/// What the hub remembers of a device's connections.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(super) link: Option<LinkId>,
    filters: BTreeMap<Filter, Qos>,
    /// The client asked that its subscriptions outlive the connection.
    kept: bool,
}

impl Session {
    /// The connection that messages of this subscription go to.
    pub(super) fn route(&self, filter: &Filter) -> Option<LinkId> {
        self.link.filter(|_| self.filters.contains_key(filter))
    }

    /// What outlives the hub: whether subscriptions outlive a connection, and those that do.
    pub(super) fn to_keep(&self) -> (bool, impl Iterator<Item = (&Filter, Qos)>) {
        let filters = self.filters.iter().filter(|_| self.kept);
        (self.kept, filters.map(|(filter, qos)| (filter, *qos)))
    }

    /// The session of a device that is not connected yet.
    pub(super) fn restored(kept: bool, filters: BTreeMap<Filter, Qos>) -> Self {
        Self {
            link: None,
            filters,
            kept,
        }
    }

    /// How messages of this subscription are to be delivered; `None` when there is no such one.
    pub(super) fn qos(&self, filter: &Filter) -> Option<Qos> {
        self.filters.get(filter).copied()
    }
}

/// A connection was accepted.
#[derive(Debug, PartialEq)]
pub(crate) struct Connected {
    pub(crate) link: LinkId,
    /// The hub still knows subscriptions from an earlier connection.
    pub(crate) session_present: bool,
    pub(crate) effects: Vec<Effect>,
}

/// Whether a device acknowledges what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Qos {
    AtMostOnce,
    AtLeastOnce,
}

/// The answer to one requested subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    Granted,
    Refused,
}

impl Hub {
    /// Accepts a connection that was authenticated as `id`; an older one of the same id ends.
    pub(crate) fn connect(
        &mut self,
        id: &EntityId,
        clean_session: bool,
        now: Timestamp,
    ) -> Result<Connected, HubError> {
        let link = LinkId(self.last_link + 1);
        self.configurations.touch(id);
        let entity = self.entity_mut(id)?;

        let session = &mut entity.session;
        let older = session.link.replace(link);
        if clean_session || !session.kept {
            session.filters.clear();
        }
        let session_present = !session.filters.is_empty();
        session.kept = !clean_session;
        entity.set_connected(true, now);
        self.interrupt_messages(id, now);

        self.last_link += 1;
        self.links.insert(link, id.clone());
        let mut effects = Vec::new();
        if let Some(older) = older {
            self.links.remove(&older);
            effects.push(Effect::Close {
                link: older,
                reason: CloseReason::TakenOver,
            });
            effects.extend(self.calls.device_gone(older, now));
        }
        Ok(Connected {
            link,
            session_present,
            effects,
        })
    }

    /// Notes the model that a device announced when it connected.
    pub(crate) fn announce_model(&mut self, link: LinkId, model: &str) {
        if let Some(entity) = self.entity_of_mut(link) {
            entity.twin.model_id = Some(model.to_owned());
        }
    }

    /// Notes that a connection ended, whoever ended it.
    pub(crate) fn disconnect(&mut self, link: LinkId, now: Timestamp) -> Vec<Effect> {
        let Some(id) = self.links.remove(&link) else {
            return Vec::new();
        };
        self.configurations.touch(&id);
        if let Some(entity) = self.entities.get_mut(&id) {
            entity.session.link = None;
            if !entity.session.kept {
                entity.session.filters.clear();
            }
            entity.set_connected(false, now);
        }
        self.interrupt_messages(&id, now);
        self.calls.device_gone(link, now)
    }

    /// Adds a subscription, if it is one that the hub offers to this device.
    pub(crate) fn subscribe(&mut self, link: LinkId, filter: &str, qos: Qos) -> Grant {
        let Some(id) = self.links.get(&link) else {
            return Grant::Refused;
        };
        let Some(entity) = self.entities.get_mut(id) else {
            return Grant::Refused;
        };
        let Ok(filter) = filter.parse::<Filter>() else {
            return Grant::Refused;
        };
        if !belongs_to(&filter, id) {
            return Grant::Refused;
        }
        // The real hub refuses a sixth subscription; there are not that many to have.
        entity.session.filters.insert(filter, qos);
        Grant::Granted
    }

    /// Ends a subscription; one that does not exist is no mistake.
    pub(crate) fn unsubscribe(&mut self, link: LinkId, filter: &str) {
        if let Some(entity) = self.entity_of_mut(link)
            && let Ok(filter) = filter.parse::<Filter>()
        {
            entity.session.filters.remove(&filter);
        }
    }

    /// Forgets what devices subscribed to, as a hub that lost its sessions would. Connections
    /// that live now keep theirs until they end.
    pub(crate) fn forget_sessions(&mut self) {
        for entity in self.entities.values_mut() {
            entity.session.kept = false;
            if entity.session.link.is_none() {
                entity.session.filters.clear();
            }
        }
    }

    /// The connection of a device, if it has one.
    pub(crate) fn link_of(&self, id: &EntityId) -> Option<LinkId> {
        self.entities.get(id)?.session.link
    }

    /// Every live connection.
    pub(crate) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.links.keys().copied()
    }

    /// Who is at the other end of a connection. `None` once it was closed or taken over.
    pub(crate) fn owner(&self, link: LinkId) -> Option<&EntityId> {
        self.links.get(&link)
    }

    pub(super) fn entity_of_mut(&mut self, link: LinkId) -> Option<&mut Entity> {
        self.entities.get_mut(self.links.get(&link)?)
    }

    /// Ends the connection of `id`, if there is one.
    pub(crate) fn close(
        &mut self,
        id: &EntityId,
        reason: CloseReason,
        now: Timestamp,
    ) -> Vec<Effect> {
        let Some(link) = self.link_of(id) else {
            return Vec::new();
        };
        let mut effects = vec![Effect::Close { link, reason }];
        effects.append(&mut self.disconnect(link, now));
        effects
    }
}

impl Entity {
    fn set_connected(&mut self, connected: bool, now: Timestamp) {
        let changed = mem::replace(&mut self.twin.connected, connected) != connected;
        if changed {
            self.identity.connection_state_updated = Some(now);
        }
        self.twin.last_activity = Some(now);
    }
}

/// A device may subscribe to its own messages only.
fn belongs_to(filter: &Filter, id: &EntityId) -> bool {
    match filter {
        Filter::Methods | Filter::TwinResponses | Filter::Desired => true,
        Filter::CloudToDevice(device) => id.module.is_none() && *device == id.device,
        Filter::ModuleInputs(device, module) => {
            id.module.as_ref() == Some(module) && *device == id.device
        }
    }
}
