//! The registered devices and modules, and which of them changed since somebody last asked.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::{Entity, EntityId};

/// Every identity by its id.
#[derive(Debug, Default)]
pub(super) struct Entities {
    /// Boxed, because the tree has room for eleven where it may have six.
    entities: BTreeMap<EntityId, Box<Entity>>,
    /// What may have changed since each follower asked; `None` while it does not want to know.
    changed: [Option<BTreeSet<EntityId>>; 2],
}

/// Who wants to know what changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Follower {
    /// Keeps the state over restarts.
    StateFile,
    /// Remembers how twins looked.
    History,
}

impl Entities {
    pub(super) fn get(&self, id: &EntityId) -> Option<&Entity> {
        self.entities.get(id).map(Box::as_ref)
    }

    pub(super) fn contains_key(&self, id: &EntityId) -> bool {
        self.entities.contains_key(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&EntityId, &Entity)> {
        self.entities.iter().map(|(id, entity)| (id, &**entity))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &EntityId> {
        self.entities.keys()
    }

    /// To change what is worth keeping.
    pub(super) fn get_mut(&mut self, id: &EntityId) -> Option<&mut Entity> {
        if self.entities.contains_key(id) {
            self.note(id);
        }
        self.get_mut_in_passing(id)
    }

    /// To change what need not be kept, which happens with every message.
    pub(super) fn get_mut_in_passing(&mut self, id: &EntityId) -> Option<&mut Entity> {
        self.entities.get_mut(id).map(Box::as_mut)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entity> {
        for changed in self.changed.iter_mut().flatten() {
            changed.extend(self.entities.keys().cloned());
        }
        self.entities.values_mut().map(Box::as_mut)
    }

    pub(super) fn insert(&mut self, id: EntityId, entity: Entity) {
        self.note(&id);
        self.entities.insert(id, Box::new(entity));
    }

    pub(super) fn remove(&mut self, id: &EntityId) -> Option<Box<Entity>> {
        self.note(id);
        self.entities.remove(id)
    }

    /// A device and its modules.
    pub(super) fn of_device<'a>(
        &'a self,
        device: &'a EntityId,
    ) -> impl Iterator<Item = (&'a EntityId, &'a Entity)> {
        // The device itself comes first.
        self.entities
            .range(EntityId::from(device.device.clone())..)
            .take_while(|(id, _)| id.device == device.device)
            .map(|(id, entity)| (id, &**entity))
    }

    /// From now on, remembers what changes.
    pub(super) fn follow_changes(&mut self, follower: Follower) {
        self.changed[follower as usize].get_or_insert_default();
    }

    /// Remembers it no longer.
    pub(super) fn forget_changes(&mut self, follower: Follower) {
        self.changed[follower as usize] = None;
    }

    /// What may have changed since the follower last asked, removed ones too.
    pub(super) fn take_changed(&mut self, follower: Follower) -> BTreeSet<EntityId> {
        let changed = self.changed[follower as usize].as_mut();
        changed.map(mem::take).unwrap_or_default()
    }

    fn note(&mut self, id: &EntityId) {
        for changed in self.changed.iter_mut().flatten() {
            changed.insert(id.clone());
        }
    }
}
