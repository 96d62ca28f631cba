//! The identity registry: create, read, update, delete, count.

use iot_hub::error::{ErrorCode, HubError};
use iot_hub::etag::IfMatch;
use iot_hub::sas::SharedKey;
use iot_hub::twin::Twin;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::inbox::Inbox;
use super::session::Session;
use super::{
    Authentication, CloseReason, Effect, Entity, EntityId, Hub, Identity, IdentityRequest, Status,
};

impl Hub {
    /// Registers a device, or a module of a registered device.
    pub(crate) fn create(
        &mut self,
        id: EntityId,
        mut identity: Identity,
        now: Timestamp,
    ) -> Result<(), HubError> {
        let is_module = id.module.is_some();
        if is_module {
            self.entity(&EntityId::from(id.device.clone()))?;
        }
        if self.entities.contains_key(&id) {
            return Err(if is_module {
                let text = format!("A module with ID '{id}' is already registered.");
                HubError::new(ErrorCode::ModuleAlreadyExistsOnDevice, text)
            } else {
                let text = format!("A device with ID '{id}' is already registered.");
                HubError::new(ErrorCode::DeviceAlreadyExists, text)
            });
        }
        // Also told apart from those of an earlier run, of which those deleted are not known.
        self.last_generation = ticks(now).max(self.last_generation + 1);
        identity.generation = self.last_generation;
        let twin = Twin::new(id.device.clone(), id.module.clone(), now);
        let mut entity = Entity {
            identity,
            twin,
            session: Session::default(),
            inbox: Inbox::default(),
        };
        entity.show_identity_in_twin();
        self.configurations.touch(&id);
        self.entities.insert(id, entity);
        Ok(())
    }

    /// Changes an identity; a device that is now disabled loses its connection.
    pub(crate) fn update(
        &mut self,
        id: &EntityId,
        request: IdentityRequest,
        condition: &IfMatch,
        new_key: impl FnMut() -> SharedKey,
        now: Timestamp,
    ) -> Result<Vec<Effect>, HubError> {
        self.configurations.touch(id);
        let entity = self.entity_mut(id)?;
        check(condition, &entity.identity.etag())?;
        entity.identity.update(request, new_key, now);
        entity.show_identity_in_twin();
        Ok(match entity.identity.status {
            Status::Enabled => Vec::new(),
            Status::Disabled => self.close(id, CloseReason::IdentityChanged, now),
        })
    }

    /// Deletes a device with its modules and twins.
    pub(crate) fn delete(
        &mut self,
        id: &EntityId,
        condition: &IfMatch,
        now: Timestamp,
    ) -> Result<Vec<Effect>, HubError> {
        check(condition, &self.entity(id)?.identity.etag())?;
        let doomed: Vec<EntityId> = match &id.module {
            Some(_) => vec![id.clone()],
            None => {
                let own = self.entities.of_device(id);
                own.map(|(id, _)| id.clone()).collect()
            }
        };
        let mut effects = Vec::new();
        for id in doomed {
            effects.append(&mut self.close(&id, CloseReason::IdentityChanged, now));
            if let Some(entity) = self.entities.remove(&id) {
                self.forget_inbox(id, &entity.inbox);
            }
        }
        Ok(effects)
    }

    /// An identity, as the API prints it.
    pub(crate) fn identity_value(&self, id: &EntityId) -> Result<Value, HubError> {
        Ok(identity_value(id, self.entity(id)?))
    }

    /// The first `top` devices by id.
    pub(crate) fn list_devices(&self, top: usize) -> Vec<Value> {
        self.devices()
            .take(top)
            .map(|(id, entity)| identity_value(id, entity))
            .collect()
    }

    /// The modules of a device, by id.
    pub(crate) fn list_modules(&self, device: &EntityId) -> Result<Vec<Value>, HubError> {
        self.entity(device)?;
        Ok(self
            .entities
            .of_device(device)
            .filter(|(id, _)| id.module.is_some())
            .map(|(id, entity)| identity_value(id, entity))
            .collect())
    }

    /// What `/statistics/devices` answers.
    pub(crate) fn device_statistics(&self) -> Value {
        let total = self.devices().count();
        let enabled = self
            .devices()
            .filter(|(_, entity)| entity.identity.status == Status::Enabled)
            .count();
        json!({
            "totalDeviceCount": total,
            "enabledDeviceCount": enabled,
            "disabledDeviceCount": total - enabled,
        })
    }

    /// What `/statistics/service` answers.
    pub(crate) fn service_statistics(&self) -> Value {
        let connected = self
            .devices()
            .filter(|(_, entity)| entity.twin.connected)
            .count();
        json!({"connectedDeviceCount": connected})
    }

    /// The identity behind an id, for checking its credentials.
    pub(crate) fn identity(&self, id: &EntityId) -> Option<&Identity> {
        self.entities.get(id).map(|entity| &entity.identity)
    }

    fn devices(&self) -> impl Iterator<Item = (&EntityId, &Entity)> {
        self.entities.iter().filter(|(id, _)| id.module.is_none())
    }

    pub(super) fn entity(&self, id: &EntityId) -> Result<&Entity, HubError> {
        self.entities.get(id).ok_or_else(|| not_found(id))
    }

    pub(super) fn entity_mut(&mut self, id: &EntityId) -> Result<&mut Entity, HubError> {
        self.entities.get_mut(id).ok_or_else(|| not_found(id))
    }
}

impl Entity {
    /// Gives the device or module other credentials.
    pub(super) fn change_credentials(&mut self, authentication: Authentication) {
        self.identity.change_credentials(authentication);
        self.show_identity_in_twin();
    }

    /// A twin shows parts of the identity.
    fn show_identity_in_twin(&mut self) {
        let Self { identity, twin, .. } = self;
        twin.enabled = identity.status == Status::Enabled;
        twin.status_reason.clone_from(&identity.status_reason);
        twin.status_updated = identity.status_updated;
        twin.device_etag = identity.etag();
        identity
            .authentication
            .type_name()
            .clone_into(&mut twin.authentication_type);
        twin.x509_thumbprints = identity.authentication.thumbprints();
        twin.iot_edge = identity.iot_edge;
        // An empty text takes a device out of its scope.
        let scope = identity.device_scope.clone();
        twin.device_scope = scope.filter(|scope| !scope.is_empty());
        twin.parent_scopes.clone_from(&identity.parent_scopes);
    }
}

/// Fails with 412 when the condition does not hold.
pub(super) fn check(condition: &IfMatch, current: &str) -> Result<(), HubError> {
    if condition.allows(current) {
        return Ok(());
    }
    Err(HubError::new(
        ErrorCode::PreconditionFailed,
        "Precondition failed: the entity was changed since this etag was read",
    ))
}

/// The time as .NET counts it, of which the real hub's generations are made: 100 ns each, from the
/// year 1 on.
fn ticks(time: Timestamp) -> u64 {
    const UNTIL_1970: i128 = 621_355_968_000_000_000;
    u64::try_from(time.as_nanosecond() / 100 + UNTIL_1970).unwrap_or_default()
}

fn not_found(id: &EntityId) -> HubError {
    match &id.module {
        None => HubError::new(
            ErrorCode::DeviceNotFound,
            format!("Device {id} not registered"),
        ),
        Some(_) => HubError::new(
            ErrorCode::ModuleNotFound,
            format!("Module {id} not registered"),
        ),
    }
}

fn identity_value(id: &EntityId, entity: &Entity) -> Value {
    let Entity { identity, twin, .. } = entity;
    let mut value = identity.to_value(twin);
    value["deviceId"] = json!(id.device.as_ref());
    if let Some(module) = &id.module {
        value["moduleId"] = json!(module.as_ref());
    }
    value
}
