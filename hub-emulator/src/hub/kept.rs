//! What outlives the hub, as lines of which a later one about the same thing replaces an earlier
//! one: identities, jobs, what jobs did to devices, and configurations.

use std::collections::BTreeMap;

use iot_hub::identity::{DeviceId, ModuleId};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::configurations::ConfigurationRecord;
use super::jobs::{DeviceRecord, JobRecord};
use super::{ConfigurationId, EntityId, Hub, JobId, Keys, Record, RecordError};

/// How deeply a document may be nested that is kept as it came. A line nests it some levels deeper, and
/// a reader of JSON goes down 128.
const MAX_DEPTH: usize = 100;

/// Reads a document that is going to be kept.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let document: Value = serde_json::from_slice(bytes)?;
    if is_too_deep(&document) {
        return Err(serde_json::Error::custom("it is nested too deeply"));
    }
    T::deserialize(document)
}

/// Whether a document is nested more deeply than can be kept.
pub(crate) fn is_too_deep(document: &Value) -> bool {
    depth(document) > MAX_DEPTH
}

fn depth(value: &Value) -> usize {
    let within = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
    };
    1 + within.unwrap_or_default()
}

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Line {
    /// The keys of the policies, which the hub itself does not know.
    Policies(BTreeMap<String, Keys>),
    Identity {
        device: DeviceId,
        module: Option<ModuleId>,
        /// Nothing when it was deleted.
        state: Option<Box<Record>>,
    },
    Job {
        id: String,
        /// Nothing when it was forgotten, with what it did to devices.
        state: Option<Box<JobRecord>>,
    },
    JobDevice {
        job: String,
        device: DeviceId,
        module: Option<ModuleId>,
        state: DeviceRecord,
    },
    Configuration {
        id: String,
        /// Nothing when it was deleted.
        state: Option<Box<ConfigurationRecord>>,
    },
}

impl Line {
    pub(super) fn of_identity(id: &EntityId, state: Option<Record>) -> Self {
        Self::Identity {
            device: id.device.clone(),
            module: id.module.clone(),
            state: state.map(Box::new),
        }
    }
}

impl Hub {
    /// From now on, remembers what changes.
    pub(crate) fn follow_changes(&mut self) {
        self.follow_identities();
        self.jobs.follow_changes();
        self.configurations.follow_changes();
    }

    /// What changed since this was last called.
    pub(crate) fn take_changed(&mut self) -> Vec<Line> {
        let mut lines = self.take_changed_identities();
        lines.extend(self.jobs.take_changed());
        lines.extend(self.configurations.take_changed());
        lines
    }

    /// Everything that is to be kept.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line> {
        let identities = self.records();
        identities
            .map(|(id, record)| Line::of_identity(id, Some(record)))
            .chain(self.jobs.lines())
            .chain(self.configurations.lines())
    }
}

/// The newest lines about each thing, with their numbers.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    pub(crate) policies: BTreeMap<String, Keys>,
    identities: BTreeMap<EntityId, (usize, Record)>,
    jobs: BTreeMap<String, (usize, JobRecord, JobDevices)>,
    configurations: BTreeMap<String, (usize, ConfigurationRecord)>,
}

type JobDevices = BTreeMap<EntityId, DeviceRecord>;

impl Newest {
    /// Takes the next line.
    pub(crate) fn take(&mut self, number: usize, line: Line) -> Result<(), RecordError> {
        match line {
            Line::Policies(keys) => self.policies.extend(keys),
            Line::Identity {
                device,
                module,
                state,
            } => {
                let state = state.map(|state| (number, *state));
                put(&mut self.identities, EntityId { device, module }, state);
            }
            Line::Job { id, state } => {
                let known = self.jobs.remove(&id);
                let devices = known.map(|(.., devices)| devices).unwrap_or_default();
                let state = state.map(|state| (number, *state, devices));
                put(&mut self.jobs, id, state);
            }
            Line::JobDevice {
                job,
                device,
                module,
                state,
            } => {
                let known = self.jobs.get_mut(&job);
                let (.., devices) = known.ok_or(RecordError::NoJob(job))?;
                devices.insert(EntityId { device, module }, state);
            }
            Line::Configuration { id, state } => {
                let state = state.map(|state| (number, *state));
                put(&mut self.configurations, id, state);
            }
        }
        Ok(())
    }

    /// Gives all of it to a new hub. An error comes with the number of the line.
    pub(crate) fn restore(self, hub: &mut Hub) -> Result<(), (usize, RecordError)> {
        for (id, (number, record)) in self.identities {
            hub.restore(id, record).map_err(|error| (number, error))?;
        }
        for (id, (number, record, devices)) in self.jobs {
            let restored = job_id(&id).and_then(|id| hub.restore_job(id, record, devices));
            restored.map_err(|error| (number, error))?;
        }
        for (id, (number, record)) in self.configurations {
            let id = id.parse::<ConfigurationId>().map_err(RecordError::Request);
            let restored = id.and_then(|id| hub.restore_configuration(id, record));
            restored.map_err(|error| (number, error))?;
        }
        Ok(())
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn job_id(text: &str) -> Result<JobId, RecordError> {
    text.parse().map_err(RecordError::Request)
}
