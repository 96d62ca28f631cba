//! What a device and its modules are to hold, applied once to one device.

use std::collections::BTreeMap;

use iot_hub::error::HubError;
use iot_hub::identity::ModuleId;
use iot_hub::sas::SharedKey;
use iot_hub::twin::Properties;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::request::{Content, desired, invalid};
use crate::hub::{Effect, EntityId, Hub, Identity, IdentityRequest, TwinChange};

/// The path that stands for all desired properties: they are replaced.
const WHOLE: &str = "properties.desired";

/// What a device and its modules are to hold.
#[derive(Debug, Default)]
pub(crate) struct ConfigurationContent {
    device: Option<TwinChange>,
    modules: BTreeMap<ModuleId, TwinChange>,
}

impl ConfigurationContent {
    /// Reads the body of `applyConfigurationContent`.
    pub(crate) fn read(body: &[u8]) -> Result<Self, HubError> {
        let content: Content = serde_json::from_slice(body)
            .map_err(|error| invalid(format!("the content cannot be read: {error}")))?;
        let module = |(id, content): (String, Value)| {
            let id = id
                .parse()
                .map_err(|error| invalid(format!("Invalid moduleId: {error}")))?;
            let Value::Object(content) = content else {
                return Err(invalid(format!(
                    "the content of {id} must be a JSON object"
                )));
            };
            Ok((id, change(&content)?))
        };
        let modules = content.modules_content.unwrap_or_default();
        Ok(Self {
            device: content.device_content.as_ref().map(change).transpose()?,
            modules: modules.into_iter().map(module).collect::<Result<_, _>>()?,
        })
    }
}

/// One twin's part.
fn change(content: &Map<String, Value>) -> Result<TwinChange, HubError> {
    let wanted: Properties = desired(Some(content))?;
    Ok(if content.contains_key(WHOLE) {
        TwinChange::replace_desired(wanted)
    } else {
        TwinChange::merge_desired(wanted)
    })
}

impl Hub {
    /// Makes a device as the content wants it, and its modules, which are made if need be.
    pub(crate) fn apply_content(
        &mut self,
        id: &EntityId,
        content: ConfigurationContent,
        mut new_key: impl FnMut() -> SharedKey,
        now: Timestamp,
    ) -> Result<Vec<Effect>, HubError> {
        self.entity(id)?;
        let mut effects = Vec::new();
        if let Some(change) = content.device {
            effects.extend(self.change_twin(id, change, None, now)?);
        }
        for (module, change) in content.modules {
            let id = EntityId {
                device: id.device.clone(),
                module: Some(module),
            };
            if self.identity(&id).is_none() {
                let identity = Identity::new(IdentityRequest::default(), &mut new_key);
                self.create(id.clone(), identity, now)?;
            }
            effects.extend(self.change_twin(&id, change, None, now)?);
        }
        Ok(effects)
    }
}
