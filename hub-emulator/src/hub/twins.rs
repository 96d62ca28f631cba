//! Twins: read and written by services over REST and by devices over MQTT.

use bytes::Bytes;
use iot_hub::error::{ErrorCode, HubError};
use iot_hub::etag::{IfMatch, etag};
use iot_hub::query::Source;
use iot_hub::topic::{Filter, HubTopic, RequestId};
use iot_hub::twin::{self, Properties, Section, SectionKind, Twin};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::registry::check;
use super::{Effect, Entity, EntityId, Hub, LinkId};

/// What a service wants changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TwinChange {
    tags: Option<SectionChange>,
    desired: Option<SectionChange>,
}

#[derive(Clone, Debug, PartialEq)]
enum SectionChange {
    Merge(Properties),
    Replace(Properties),
}

impl TwinChange {
    /// Reads the body of a PATCH: a section is merged, `null` empties it, an absent one stays.
    /// Whatever else the body holds is ignored, since clients send whole twins back.
    pub(crate) fn merge(body: &Map<String, Value>) -> Result<Self, HubError> {
        let read = |name, value: Option<&Value>| -> Result<_, HubError> {
            Ok(match value {
                None => None,
                Some(Value::Null) => Some(SectionChange::Replace(Properties::new())),
                Some(value) => Some(SectionChange::Merge(object(name, value)?)),
            })
        };
        Ok(Self {
            tags: read("tags", body.get("tags"))?,
            desired: read("properties.desired", desired(body))?,
        })
    }

    /// Merges desired properties.
    pub(super) fn merge_desired(patch: Properties) -> Self {
        Self {
            tags: None,
            desired: Some(SectionChange::Merge(patch)),
        }
    }

    /// Replaces desired properties.
    pub(super) fn replace_desired(properties: Properties) -> Self {
        Self {
            tags: None,
            desired: Some(SectionChange::Replace(properties)),
        }
    }

    /// Reads the body of a PUT: both sections are replaced, an absent one is emptied.
    pub(crate) fn replace(body: &Map<String, Value>) -> Result<Self, HubError> {
        let read = |name, value: Option<&Value>| -> Result<_, HubError> {
            Ok(SectionChange::Replace(match value {
                None | Some(Value::Null) => Properties::new(),
                Some(value) => object(name, value)?,
            }))
        };
        Ok(Self {
            tags: Some(read("tags", body.get("tags"))?),
            desired: Some(read("properties.desired", desired(body))?),
        })
    }
}

fn desired(body: &Map<String, Value>) -> Option<&Value> {
    body.get("properties")?.get("desired")
}

fn object(name: &str, value: &Value) -> Result<Properties, HubError> {
    value.as_object().cloned().ok_or_else(|| {
        HubError::new(
            ErrorCode::ArgumentInvalid,
            format!("{name} must be a JSON object"),
        )
    })
}

impl Hub {
    /// A twin.
    pub(crate) fn twin(&self, id: &EntityId) -> Result<&Twin, HubError> {
        Ok(&self.entity(id)?.twin)
    }

    /// Every twin.
    pub(crate) fn twins(&self) -> impl Iterator<Item = (&EntityId, &Twin)> {
        self.entities.iter().map(|(id, entity)| (id, &entity.twin))
    }

    /// The documents that a query looks at.
    pub(crate) fn rows(&self, source: Source) -> Vec<Value> {
        let wanted = self.entities.iter().filter(|(id, _)| id.is_in(source));
        match source {
            Source::Devices | Source::Modules => {
                wanted.map(|(_, entity)| entity.twin.to_value()).collect()
            }
            Source::Jobs => self.job_rows(),
        }
    }

    /// Changes a twin for a service, all of it or nothing, and tells the device.
    pub(crate) fn change_twin(
        &mut self,
        id: &EntityId,
        change: TwinChange,
        condition: Option<&IfMatch>,
        now: Timestamp,
    ) -> Result<Vec<Effect>, HubError> {
        self.configurations.touch(id);
        let entity = self.entity_mut(id)?;
        check(condition.unwrap_or(&IfMatch::Any), &entity.twin.etag)?;

        let mut twin = entity.twin.clone();
        match &change.tags {
            None => {}
            Some(SectionChange::Merge(patch)) => {
                twin::patch(SectionKind::Tags, &mut twin.tags, patch)?;
            }
            Some(SectionChange::Replace(tags)) => {
                twin.tags.clear();
                twin::patch(SectionKind::Tags, &mut twin.tags, tags)?;
            }
        }
        let notification = match &change.desired {
            None => None,
            Some(SectionChange::Merge(patch)) => {
                twin.desired.patch(patch, now)?;
                Some(patch.clone())
            }
            Some(SectionChange::Replace(properties)) => {
                let removed = nulls_for(&twin.desired);
                twin.desired.replace(properties, now)?;
                let mut notification = removed;
                notification.extend(twin.desired.properties().clone());
                Some(notification)
            }
        };
        touch(&mut twin);
        entity.twin = twin;
        Ok(notification
            .and_then(|patch| entity.tell_desired(patch))
            .into_iter()
            .collect())
    }

    /// Answers a device that asks for its twin.
    pub(crate) fn device_reads_twin(&self, link: LinkId, rid: &RequestId) -> Option<Effect> {
        let entity = self.entities.get(self.links.get(&link)?)?;
        let body = entity.twin.to_device_value().to_string();
        entity.twin_answer(200, rid.clone(), None, body.into())
    }

    /// Takes a device's reported patch and answers it. `now` stamps the metadata.
    pub(crate) fn device_patches_twin(
        &mut self,
        link: LinkId,
        rid: &RequestId,
        expected: Option<u64>,
        patch: &[u8],
        now: Timestamp,
    ) -> Result<Option<Effect>, HubError> {
        if let Some(id) = self.links.get(&link) {
            self.configurations.touch(id);
        }
        let Some(entity) = self.entity_of_mut(link) else {
            return Ok(None);
        };
        let version = entity.report(expected, patch, now)?;
        Ok(entity.twin_answer(204, rid.clone(), Some(version), Bytes::new()))
    }

    /// Answers a device's twin request with an error; `body` tells Microsoft's Node SDK that it is
    /// one.
    pub(crate) fn refuse_twin_request(
        &self,
        link: LinkId,
        rid: &RequestId,
        status: u16,
        body: Bytes,
    ) -> Option<Effect> {
        let entity = self.entities.get(self.links.get(&link)?)?;
        entity.twin_answer(status, rid.clone(), None, body)
    }
}

impl Entity {
    pub(super) fn report(
        &mut self,
        expected: Option<u64>,
        patch: &[u8],
        now: Timestamp,
    ) -> Result<u64, HubError> {
        let invalid = |text: String| HubError::new(ErrorCode::ArgumentInvalid, text);
        let patch: Value = serde_json::from_slice(patch)
            .map_err(|error| invalid(format!("the patch is not JSON: {error}")))?;
        let Value::Object(patch) = patch else {
            return Err(invalid("the patch must be a JSON object".to_owned()));
        };
        let current = self.twin.reported.version();
        if expected.is_some_and(|expected| expected != current) {
            return Err(HubError::new(
                ErrorCode::PreconditionFailed,
                format!("the reported properties are at version {current}"),
            ));
        }
        let version = self.twin.reported.patch(&patch, now)?;
        touch(&mut self.twin);
        self.twin.last_activity = Some(now);
        Ok(version)
    }

    fn twin_answer(
        &self,
        status: u16,
        rid: RequestId,
        version: Option<u64>,
        payload: Bytes,
    ) -> Option<Effect> {
        let link = self.session.route(&Filter::TwinResponses)?;
        let topic = HubTopic::TwinResponse {
            status,
            rid,
            version,
        };
        Some(Effect::Publish {
            link,
            topic,
            payload,
        })
    }

    /// Tells the device what changed, if it listens. Not queued: a device asks when it connects.
    fn tell_desired(&self, mut patch: Properties) -> Option<Effect> {
        let link = self.session.route(&Filter::Desired)?;
        let version = self.twin.desired.version();
        patch.remove("$metadata");
        patch.insert("$version".to_owned(), json!(version));
        let payload = Bytes::from(Value::Object(patch).to_string());
        Some(Effect::Publish {
            link,
            topic: HubTopic::Desired { version },
            payload,
        })
    }
}

/// A patch that removes everything a section holds.
fn nulls_for(section: &Section) -> Properties {
    section
        .properties()
        .keys()
        .map(|key| (key.clone(), Value::Null))
        .collect()
}

/// Moves a twin's version and etag on.
fn touch(twin: &mut Twin) {
    twin.version += 1;
    twin.etag = etag(twin.version);
}
