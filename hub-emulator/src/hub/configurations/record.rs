//! What is kept of configurations over a restart.

use std::mem;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Configuration, ConfigurationId, ConfigurationRequest, Configurations};
use crate::hub::kept::Line;
use crate::hub::{Hub, RecordError};

/// A configuration.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigurationRecord {
    /// As the service asked for it.
    request: Value,
    version: u64,
    created: Timestamp,
    updated: Timestamp,
}

impl Configurations {
    pub(in crate::hub) fn follow_changes(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// Notes that a configuration changed, or is gone.
    pub(super) fn note(&mut self, id: &ConfigurationId) {
        if let Some(changed) = &mut self.changed {
            changed.insert(id.clone());
        }
    }

    pub(in crate::hub) fn take_changed(&mut self) -> Vec<Line> {
        let changed = self.changed.as_mut().map(mem::take).unwrap_or_default();
        let changed = changed.iter();
        changed
            .map(|id| line(id, self.configurations.get(id)))
            .collect()
    }

    pub(in crate::hub) fn lines(&self) -> impl Iterator<Item = Line> {
        let all = self.configurations.iter();
        all.map(|(id, configuration)| line(id, Some(configuration)))
    }
}

impl Hub {
    /// Takes a configuration back as it was when the hub ended. Twins are looked at again.
    pub(in crate::hub) fn restore_configuration(
        &mut self,
        id: ConfigurationId,
        record: ConfigurationRecord,
    ) -> Result<(), RecordError> {
        let request = ConfigurationRequest::read(&id, record.request.to_string().as_bytes());
        let configuration = Configuration {
            request: request.map_err(RecordError::Request)?,
            version: record.version,
            created: record.created,
            updated: record.updated,
        };
        let known = &mut self.configurations;
        known.last_version = known.last_version.max(record.version);
        known.configurations.insert(id, configuration);
        self.look_at_every_twin();
        Ok(())
    }
}

fn line(id: &ConfigurationId, configuration: Option<&Configuration>) -> Line {
    Line::Configuration {
        id: id.as_str().to_owned(),
        state: configuration.map(|one| {
            Box::new(ConfigurationRecord {
                request: one.request.to_body(),
                version: one.version,
                created: one.created,
                updated: one.updated,
            })
        }),
    }
}
