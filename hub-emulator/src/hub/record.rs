//! What is kept of an identity over a restart: itself, its twin, what it subscribed to, and the
//! messages that wait for it.

use iot_hub::error::HubError;
use iot_hub::topic::Filter;
use iot_hub::twin::{Twin, TwinFormatError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entities::Follower;
use super::inbox::{Inbox, WaitingRecord};
use super::kept::Line;
use super::session::Session;
use super::{Entity, EntityId, Hub, Identity, Qos};

/// One identity with all that is kept of it.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Record {
    identity: Identity,
    twin: Value,
    /// Subscriptions outlive the connection.
    kept: bool,
    filters: Vec<(String, Qos)>,
    messages: Vec<WaitingRecord>,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Twin(#[from] TwinFormatError),
    #[error("the twin is of {0}")]
    Foreign(EntityId),
    #[error("{0:?} is no subscription")]
    Filter(String),
    #[error("a waiting message cannot be read")]
    Message,
    #[error("what was asked for cannot be read: {0}")]
    Request(HubError),
    #[error("there is no job {0:?} before it")]
    NoJob(String),
}

impl Hub {
    /// From now on, remembers whose state changes.
    pub(super) fn follow_identities(&mut self) {
        self.entities.follow_changes(Follower::StateFile);
    }

    /// The identities whose state changed since this was last called, with what is now to be kept
    /// of them; nothing of those that are gone.
    pub(super) fn take_changed_identities(&mut self) -> Vec<Line> {
        let changed = self.entities.take_changed(Follower::StateFile);
        let line = |id: &EntityId| {
            let record = self.entities.get(id).map(Entity::to_record);
            Line::of_identity(id, record)
        };
        changed.iter().map(line).collect()
    }

    /// Every identity with what is to be kept of it.
    pub(crate) fn records(&self) -> impl Iterator<Item = (&EntityId, Record)> {
        let entities = self.entities.iter();
        entities.map(|(id, entity)| (id, entity.to_record()))
    }

    /// Takes an identity back as it was when the hub ended, without a connection.
    pub(crate) fn restore(&mut self, id: EntityId, record: Record) -> Result<(), RecordError> {
        let entity = Entity::from_record(&id, record)?;
        self.last_generation = self.last_generation.max(entity.identity.generation);
        self.entities.insert(id.clone(), entity);
        self.inbox_changed(&id, Timestamp::MIN);
        Ok(())
    }
}

impl Entity {
    fn to_record(&self) -> Record {
        let (kept, filters) = self.session.to_keep();
        Record {
            identity: self.identity.clone(),
            twin: self.twin.to_value(),
            kept,
            filters: filters
                .map(|(filter, qos)| (filter.to_string(), qos))
                .collect(),
            messages: self.inbox.to_records(),
        }
    }

    fn from_record(id: &EntityId, record: Record) -> Result<Self, RecordError> {
        let mut twin = Twin::from_value(&record.twin)?;
        if (&twin.device, &twin.module) != (&id.device, &id.module) {
            let (device, module) = (twin.device, twin.module);
            return Err(RecordError::Foreign(EntityId { device, module }));
        }
        twin.connected = false;
        let filter = |(text, qos): (String, Qos)| match text.parse::<Filter>() {
            Ok(filter) => Ok((filter, qos)),
            Err(_) => Err(RecordError::Filter(text)),
        };
        let filters = record.filters.into_iter().map(filter);
        Ok(Self {
            identity: record.identity,
            twin,
            session: Session::restored(record.kept, filters.collect::<Result<_, _>>()?),
            inbox: Inbox::from_records(record.messages).ok_or(RecordError::Message)?,
        })
    }
}
