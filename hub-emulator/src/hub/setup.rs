//! Identities that are there from the start.

use iot_hub::error::HubError;
use iot_hub::sas::SharedKey;
use iot_hub::twin::Properties;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Authentication, EntityId, Hub, Identity, IdentityRequest, TwinChange};
use crate::setup::DeviceSetup;

impl Hub {
    /// Registers an identity with its twin, unless it is known.
    pub(crate) fn set_up(
        &mut self,
        setup: &DeviceSetup,
        new_key: impl FnMut() -> SharedKey,
        now: Timestamp,
    ) -> Result<(), HubError> {
        let id = EntityId::from(setup);
        if self.identity(&id).is_some() {
            return Ok(());
        }
        self.create(id.clone(), Identity::of_setup(setup, new_key), now)?;
        if !setup.tags.is_empty() || !setup.desired.is_empty() {
            let body = json!({"tags": setup.tags, "properties": {"desired": setup.desired}});
            let body = body.as_object().cloned().unwrap_or_default();
            // Nobody is connected yet who would have to be told.
            self.change_twin(&id, TwinChange::merge(&body)?, None, now)?;
        }
        self.set_up_reported(&id, &setup.reported, now)
    }

    /// Registers a device that the provisioning service sends here, with these credentials; one
    /// that is known gets them.
    pub(crate) fn provision(
        &mut self,
        id: EntityId,
        authentication: Authentication,
        now: Timestamp,
    ) -> Result<(), HubError> {
        if self.identity(&id).is_none() {
            let identity = Identity::with(authentication, IdentityRequest::default());
            return self.create(id, identity, now);
        }
        self.entity_mut(&id)?.change_credentials(authentication);
        Ok(())
    }

    fn set_up_reported(
        &mut self,
        id: &EntityId,
        reported: &Properties,
        now: Timestamp,
    ) -> Result<(), HubError> {
        if !reported.is_empty() {
            let patch = Value::Object(reported.clone()).to_string();
            let entity = self.entity_mut(id)?;
            entity.report(None, patch.as_bytes(), now)?;
            // It was not there, after all.
            entity.twin.last_activity = None;
        }
        Ok(())
    }
}

impl From<&DeviceSetup> for EntityId {
    fn from(setup: &DeviceSetup) -> Self {
        Self {
            device: setup.device.clone(),
            module: setup.module.clone(),
        }
    }
}
