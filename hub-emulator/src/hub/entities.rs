//! The registered devices and modules, and which of them changed since that was last asked.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::{Entity, EntityId};

/// Every identity by its id.
#[derive(Debug, Default)]
pub(super) struct Entities {
    entities: BTreeMap<EntityId, Entity>,
    /// What may have changed; `None` while nobody wants to know.
    changed: Option<BTreeSet<EntityId>>,
}

impl Entities {
    pub(super) fn get(&self, id: &EntityId) -> Option<&Entity> {
        self.entities.get(id)
    }

    pub(super) fn contains_key(&self, id: &EntityId) -> bool {
        self.entities.contains_key(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&EntityId, &Entity)> {
        self.entities.iter()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &EntityId> {
        self.entities.keys()
    }

    /// To change what is worth keeping.
    pub(super) fn get_mut(&mut self, id: &EntityId) -> Option<&mut Entity> {
        let entity = self.entities.get_mut(id)?;
        if let Some(changed) = &mut self.changed {
            changed.insert(id.clone());
        }
        Some(entity)
    }

    /// To change what need not be kept, which happens with every message.
    pub(super) fn get_mut_in_passing(&mut self, id: &EntityId) -> Option<&mut Entity> {
        self.entities.get_mut(id)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entity> {
        if let Some(changed) = &mut self.changed {
            changed.extend(self.entities.keys().cloned());
        }
        self.entities.values_mut()
    }

    pub(super) fn insert(&mut self, id: EntityId, entity: Entity) {
        if let Some(changed) = &mut self.changed {
            changed.insert(id.clone());
        }
        self.entities.insert(id, entity);
    }

    pub(super) fn remove(&mut self, id: &EntityId) {
        if let Some(changed) = &mut self.changed {
            changed.insert(id.clone());
        }
        self.entities.remove(id);
    }

    /// From now on, remembers what changes.
    pub(super) fn follow_changes(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// What may have changed since this was last called, removed ones too.
    pub(super) fn take_changed(&mut self) -> BTreeSet<EntityId> {
        self.changed.as_mut().map(mem::take).unwrap_or_default()
    }
}
