//! Configurations: desired properties for every device or module that a condition finds.
//!
//! The real hub looks for devices every few minutes; here a task does so as soon as something
//! changed. Of configurations that want the same property, the one with the higher priority gets
//! its way. What a configuration set stays when it goes.

use std::collections::{BTreeMap, BTreeSet};

use iot_hub::error::HubError;
use iot_hub::etag::{IfMatch, etag};
use iot_hub::query::{Query, Source};
use iot_hub::twin::{Properties, Twin, merge};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub(crate) use self::content::ConfigurationContent;
pub(crate) use self::record::ConfigurationRecord;
pub(crate) use self::request::{ConfigurationId, ConfigurationRequest, test_queries};
use super::jobs::print;
use super::registry::check;
use super::{Effect, EntityId, Hub, TwinChange};

mod content;
mod record;
mod request;

/// The configuration has its way with the twin.
const APPLIED: &str = "Applied";
/// The configuration is meant for the twin, and others stand in its way.
const TARGETED: &str = "Targeted";

/// How many twins are looked at before others have their turn with the hub: there may be a hundred
/// configurations and many thousands of twins.
const AT_ONCE: usize = 64;

/// The configurations that the hub knows.
#[derive(Debug, Default)]
pub(super) struct Configurations {
    configurations: BTreeMap<ConfigurationId, Configuration>,
    /// Whose twins are to be looked at.
    stale: BTreeSet<EntityId>,
    last_version: u64,
    /// What changed; `None` while nobody wants to know.
    changed: Option<BTreeSet<ConfigurationId>>,
}

#[derive(Debug)]
struct Configuration {
    request: ConfigurationRequest,
    version: u64,
    created: Timestamp,
    updated: Timestamp,
}

impl Configurations {
    /// Notes that a twin or an identity changes, so that conditions may find it or no longer.
    pub(super) fn touch(&mut self, id: &EntityId) {
        if !self.configurations.is_empty() {
            self.stale.insert(id.clone());
        }
    }

    /// What the configurations want of a twin, by priority; of equals the newer one wins.
    fn for_twin(&self, twin: &Twin) -> Vec<(&ConfigurationId, &Properties)> {
        let source = match &twin.module {
            None => Source::Devices,
            Some(_) => Source::Modules,
        };
        let document = twin.to_value();
        let mut found: Vec<_> = self
            .configurations
            .iter()
            .filter(|(_, configuration)| configuration.request.finds(source, &document))
            .collect();
        found.sort_by_key(|(_, one)| std::cmp::Reverse((one.request.priority, one.created)));
        let wanted = found.into_iter();
        wanted
            .map(|(id, one)| (id, one.request.desired(source)))
            .collect()
    }
}

impl Hub {
    /// Makes a configuration without a condition, replaces it with one.
    pub(crate) fn put_configuration(
        &mut self,
        id: ConfigurationId,
        request: ConfigurationRequest,
        condition: Option<&IfMatch>,
        now: Timestamp,
    ) -> Result<Value, HubError> {
        let known = &mut self.configurations;
        let created = match (known.configurations.get(&id), condition) {
            (None, None) => now,
            (None, Some(_)) => return Err(not_found(&id)),
            (Some(_), None) => {
                let message = format!("A configuration with ID '{id}' already exists.");
                return Err(error(409, message));
            }
            (Some(old), Some(condition)) => {
                check(condition, &etag(old.version))?;
                old.created
            }
        };
        known.last_version += 1;
        let configuration = Configuration {
            request,
            version: known.last_version,
            created,
            updated: now,
        };
        known.note(&id);
        known.configurations.insert(id.clone(), configuration);
        self.look_at_every_twin();
        self.configuration(&id)
    }

    /// Deletes a configuration.
    pub(crate) fn delete_configuration(
        &mut self,
        id: &ConfigurationId,
        condition: &IfMatch,
    ) -> Result<(), HubError> {
        let known = &mut self.configurations;
        let old = known.configurations.get(id).ok_or_else(|| not_found(id))?;
        check(condition, &etag(old.version))?;
        known.note(id);
        known.configurations.remove(id);
        self.look_at_every_twin();
        Ok(())
    }

    /// A configuration with its metrics, as the API prints it.
    pub(crate) fn configuration(&self, id: &ConfigurationId) -> Result<Value, HubError> {
        let known = &self.configurations.configurations;
        let one = known.get(id).ok_or_else(|| not_found(id))?;
        let mut value = one.request.to_value();
        value["id"] = json!(id.as_str());
        value["etag"] = json!(etag(one.version));
        value["createdTimeUtc"] = json!(print(one.created));
        value["lastUpdatedTimeUtc"] = json!(print(one.updated));
        let system = one.request.system_queries(id);
        value["systemMetrics"] = self.metrics(system.iter().map(|(name, text)| (*name, text)));
        let custom = one.request.metrics();
        value["metrics"] = self.metrics(custom.map(|(name, text)| (name.as_str(), text)));
        Ok(value)
    }

    /// The first `top` configurations by id.
    pub(crate) fn list_configurations(&self, top: usize) -> Vec<Value> {
        let ids = self.configurations.configurations.keys().take(top);
        ids.filter_map(|id| self.configuration(id).ok()).collect()
    }

    /// Whether there are twins that configurations may have to change.
    pub(crate) fn has_stale_twins(&self) -> bool {
        !self.configurations.stale.is_empty()
    }

    /// Makes some twins what the configurations want; others may be left.
    pub(crate) fn apply_configurations(&mut self, now: Timestamp) -> Vec<Effect> {
        let stale = self.configurations.stale.iter();
        let turn: Vec<EntityId> = stale.take(AT_ONCE).cloned().collect();
        let effects = turn.iter().flat_map(|id| self.configure(id, now)).collect();
        // The changes just made touched these twins again; they are as wanted now.
        for id in &turn {
            self.configurations.stale.remove(id);
        }
        effects
    }

    fn configure(&mut self, id: &EntityId, now: Timestamp) -> Vec<Effect> {
        let Ok(twin) = self.twin(id) else {
            return Vec::new();
        };
        let mut states = Map::new();
        let mut wanted = Properties::new();
        let configurations = self.configurations.for_twin(twin);
        for (_, desired) in configurations.iter().rev() {
            merge(&mut wanted, desired);
        }
        for (id, desired) in configurations {
            let state = if holds(&wanted, desired) {
                APPLIED
            } else {
                TARGETED
            };
            states.insert(id.as_str().to_owned(), json!({"status": state}));
        }
        let effects = if holds(twin.desired.properties(), &wanted) {
            Vec::new()
        } else {
            let change = TwinChange::merge_desired(wanted);
            match self.change_twin(id, change, None, now) {
                Ok(effects) => effects,
                Err(error) => {
                    tracing::warn!(%id, %error, "a configuration does not fit a twin");
                    for state in states.values_mut() {
                        *state = json!({"status": TARGETED});
                    }
                    Vec::new()
                }
            }
        };
        if let Ok(entity) = self.entity_mut(id) {
            entity.twin.configurations = states;
        }
        effects
    }

    fn look_at_every_twin(&mut self) {
        self.configurations.stale = self.entities.keys().cloned().collect();
    }

    fn metrics<'a>(&self, queries: impl Iterator<Item = (&'a str, &'a String)>) -> Value {
        let (mut results, mut texts) = (Map::new(), Map::new());
        for (name, text) in queries {
            texts.insert(name.to_owned(), json!(text));
            if let Ok(query) = Query::parse(text) {
                let found = query.evaluate(&mut self.rows(query.source()).into_iter());
                results.insert(name.to_owned(), json!(found.len()));
            }
        }
        json!({"results": results, "queries": texts})
    }
}

/// Whether merging `patch` would change nothing.
fn holds(properties: &Properties, patch: &Properties) -> bool {
    let mut merged = properties.clone();
    merge(&mut merged, patch);
    merged == *properties
}

fn not_found(id: &ConfigurationId) -> HubError {
    error(404, format!("Configuration {id} not found"))
}

/// The codes of these are not documented.
fn error(status: u16, message: String) -> HubError {
    HubError {
        status,
        code: None,
        message,
        info: None,
    }
}
