//! Many identities in one request. Every entry stands for itself: those that can be done are done,
//! and the answer names the others.

use std::collections::BTreeSet;

use iot_hub::error::{ErrorCode, HubError};
use iot_hub::etag::IfMatch;
use iot_hub::identity::DeviceId;
use iot_hub::sas::SharedKey;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::registry::check;
use super::{Effect, EntityId, Hub, Identity, IdentityRequest, TwinChange};

/// The most entries that one request may have.
pub(crate) const MAX_BULK: usize = 100;

/// What became of a request.
#[derive(Debug)]
pub(crate) struct BulkOutcome {
    /// One document for each entry that failed.
    pub(crate) errors: Vec<Value>,
    pub(crate) effects: Vec<Effect>,
}

/// What is to be done with one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Create,
    Update,
    CreateOrUpdate,
    Delete,
    UpdateTwin,
}

/// The part of an entry that is not the identity itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    id: Option<String>,
    module_id: Option<String>,
    import_mode: Option<String>,
    /// A Node client that sends back what it read spells it as identities do.
    #[serde(alias = "etag")]
    e_tag: Option<String>,
    #[serde(rename = "twinETag")]
    twin_etag: Option<String>,
    tags: Option<Map<String, Value>>,
    properties: Option<Map<String, Value>>,
}

impl Hub {
    /// Does what each entry wants. An identity may be named once.
    pub(crate) fn bulk(
        &mut self,
        entries: &[Value],
        mut new_key: impl FnMut() -> SharedKey,
        now: Timestamp,
    ) -> BulkOutcome {
        let mut outcome = BulkOutcome {
            errors: Vec::new(),
            effects: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for value in entries {
            let done = read(value).and_then(|(id, entry)| {
                if !seen.insert(id.clone()) {
                    return Err(HubError::new(
                        ErrorCode::DeviceDefinedMultipleTimes,
                        format!("{id} is named more than once"),
                    ));
                }
                self.bulk_one(&id, &entry, value, &mut new_key, now)
            });
            match done {
                Ok(mut effects) => outcome.effects.append(&mut effects),
                Err(error) => outcome.errors.push(error_value(value, &error)),
            }
        }
        outcome
    }

    fn bulk_one(
        &mut self,
        id: &EntityId,
        entry: &Entry,
        value: &Value,
        new_key: &mut impl FnMut() -> SharedKey,
        now: Timestamp,
    ) -> Result<Vec<Effect>, HubError> {
        let (mode, conditional) = mode(entry.import_mode.as_deref())?;
        let condition = |etag: Option<&str>| match (conditional, etag) {
            (false, _) => Ok(IfMatch::Any),
            (true, Some(etag)) => Ok(IfMatch::Tag(etag.trim_matches('"').to_owned())),
            (true, None) => Err(HubError::new(
                ErrorCode::PreconditionFailed,
                "this importMode needs an etag",
            )),
        };
        // Everything that can be wrong is found before anything changes.
        let request: IdentityRequest = serde_json::from_value(value.clone())
            .map_err(|error| invalid(format!("the identity cannot be read: {error}")))?;
        let twin = entry.twin_change()?;
        let exists = self.identity(id).is_some();
        match mode {
            Mode::Create => self.bulk_create(id, request, twin, new_key, now),
            Mode::CreateOrUpdate if !exists => self.bulk_create(id, request, twin, new_key, now),
            Mode::Update | Mode::CreateOrUpdate => {
                let condition = condition(entry.e_tag.as_deref())?;
                check(&condition, &self.entity(id)?.identity.etag())?;
                let mut effects = self.change_given_twin(id, twin, None, now)?;
                effects.extend(self.update(id, request, &condition, new_key, now)?);
                Ok(effects)
            }
            Mode::Delete => {
                let condition = condition(entry.e_tag.as_deref())?;
                self.delete(id, &condition, now)
            }
            Mode::UpdateTwin => {
                let condition = condition(entry.twin_etag.as_deref())?;
                self.entity(id)?;
                self.change_given_twin(id, twin, Some(&condition), now)
            }
        }
    }

    fn bulk_create(
        &mut self,
        id: &EntityId,
        request: IdentityRequest,
        twin: Option<TwinChange>,
        new_key: &mut impl FnMut() -> SharedKey,
        now: Timestamp,
    ) -> Result<Vec<Effect>, HubError> {
        self.create(id.clone(), Identity::new(request, new_key), now)?;
        let changed = self.change_given_twin(id, twin, None, now);
        if changed.is_err() {
            // A twin that breaks a rule leaves no identity behind.
            self.entities.remove(id);
        }
        changed
    }

    fn change_given_twin(
        &mut self,
        id: &EntityId,
        change: Option<TwinChange>,
        condition: Option<&IfMatch>,
        now: Timestamp,
    ) -> Result<Vec<Effect>, HubError> {
        match change {
            None => Ok(Vec::new()),
            Some(change) => self.change_twin(id, change, condition, now),
        }
    }
}

impl Entry {
    /// Tags and desired properties, when the entry has any.
    fn twin_change(&self) -> Result<Option<TwinChange>, HubError> {
        let mut body = Map::new();
        if let Some(tags) = &self.tags {
            body.insert("tags".to_owned(), json!(tags));
        }
        if let Some(properties) = &self.properties {
            body.insert("properties".to_owned(), json!(properties));
        }
        if body.is_empty() {
            return Ok(None);
        }
        TwinChange::merge(&body).map(Some)
    }
}

fn read(value: &Value) -> Result<(EntityId, Entry), HubError> {
    let entry: Entry = serde_json::from_value(value.clone())
        .map_err(|error| invalid(format!("the entry cannot be read: {error}")))?;
    let device: DeviceId = entry
        .id
        .as_deref()
        .ok_or_else(|| invalid("the entry has no id".to_owned()))?
        .parse()
        .map_err(|error| invalid(format!("Invalid id: {error}")))?;
    let module = entry
        .module_id
        .as_deref()
        .filter(|module| !module.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(|error| invalid(format!("Invalid moduleId: {error}")))?;
    Ok((EntityId { device, module }, entry))
}

/// What an `importMode` wants, and whether only when the etag matches. SDKs differ in its case.
fn mode(text: Option<&str>) -> Result<(Mode, bool), HubError> {
    let text = text.unwrap_or("create").to_ascii_lowercase();
    let (plain, conditional) = match text.strip_suffix("ifmatchetag") {
        Some(plain) => (plain, true),
        None => (text.as_str(), false),
    };
    let mode = match (plain, conditional) {
        ("create", false) => Mode::Create,
        ("update", _) => Mode::Update,
        ("createorupdate", _) => Mode::CreateOrUpdate,
        ("delete", _) => Mode::Delete,
        ("updatetwin", _) => Mode::UpdateTwin,
        _ => return Err(invalid(format!("{text} is no importMode"))),
    };
    Ok((mode, conditional))
}

fn error_value(entry: &Value, error: &HubError) -> Value {
    json!({
        "deviceId": entry["id"],
        "moduleId": entry["moduleId"],
        "errorCode": error.header(),
        "errorStatus": error.message,
        "operation": entry["importMode"],
    })
}

fn invalid(text: String) -> HubError {
    HubError::new(ErrorCode::ArgumentInvalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_read_in_both_spellings() {
        for name in ["eTag", "etag"] {
            let entry: Entry = serde_json::from_value(json!({ name: "e1" })).unwrap();
            assert_eq!(entry.e_tag.as_deref(), Some("e1"), "{name}");
        }
    }

    #[test]
    fn every_import_mode_is_read_whatever_its_case() {
        for (text, expected) in [
            ("create", Some((Mode::Create, false))),
            ("Update", Some((Mode::Update, false))),
            ("UpdateIfMatchETag", Some((Mode::Update, true))),
            ("createOrUpdate", Some((Mode::CreateOrUpdate, false))),
            (
                "CreateOrUpdateIfMatchETag",
                Some((Mode::CreateOrUpdate, true)),
            ),
            ("Delete", Some((Mode::Delete, false))),
            ("deleteIfMatchETag", Some((Mode::Delete, true))),
            ("updateTwin", Some((Mode::UpdateTwin, false))),
            ("updateTwinIfMatchETag", Some((Mode::UpdateTwin, true))),
            ("createIfMatchETag", None),
            ("replace", None),
        ] {
            assert_eq!(mode(Some(text)).ok(), expected, "{text}");
        }
        assert_eq!(mode(None).ok(), Some((Mode::Create, false)));
    }
}
