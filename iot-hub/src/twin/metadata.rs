//! When each property was last written, as `$metadata` tells it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::Properties;
use crate::time;

pub(super) const LAST_UPDATED: &str = "$lastUpdated";
pub(super) const LAST_UPDATED_VERSION: &str = "$lastUpdatedVersion";

/// The metadata of a property and of what is in it; it mirrors the tree of properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) stamp: Stamp,
    children: BTreeMap<String, Self>,
}

/// The time and version of a write. The version is told of desired properties alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// None when the hub says "never".
    pub(super) at: Option<Timestamp>,
    pub(super) version: Option<u64>,
}

impl Metadata {
    pub(super) fn new(stamp: Stamp) -> Self {
        Self {
            stamp,
            children: BTreeMap::new(),
        }
    }

    /// Stamps everything on the way to, and in, what a patch writes; forgets what it removes.
    pub(super) fn patch(&mut self, patch: &Properties, stamp: Stamp) {
        self.stamp = stamp;
        for (key, value) in patch {
            match value {
                Value::Null => {
                    self.children.remove(key);
                }
                Value::Object(patch) => {
                    self.children
                        .entry(key.clone())
                        .or_insert_with(|| Self::new(stamp))
                        .patch(patch, stamp);
                }
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    self.children.insert(key.clone(), Self::new(stamp));
                }
            }
        }
    }

    /// The metadata of the property at a path.
    pub(super) fn get(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |metadata, key| metadata.children.get(*key))
    }

    pub(super) fn to_value(&self) -> Value {
        let mut fields = Properties::new();
        fields.insert(
            LAST_UPDATED.to_owned(),
            time::print_or_never(self.stamp.at).into(),
        );
        if let Some(version) = self.stamp.version {
            fields.insert(LAST_UPDATED_VERSION.to_owned(), version.into());
        }
        fields.extend(
            self.children
                .iter()
                .map(|(key, child)| (key.clone(), child.to_value())),
        );
        Value::Object(fields)
    }

    /// Reads what is there; what is not, was never updated.
    pub(super) fn from_value(value: &Value) -> Self {
        let mut metadata = Self::new(Stamp {
            at: value
                .get(LAST_UPDATED)
                .and_then(Value::as_str)
                .and_then(time::parse),
            version: value.get(LAST_UPDATED_VERSION).and_then(Value::as_u64),
        });
        if let Value::Object(fields) = value {
            let children = fields
                .iter()
                .filter(|(key, value)| !key.starts_with('$') && value.is_object());
            metadata
                .children
                .extend(children.map(|(key, value)| (key.clone(), Self::from_value(value))));
        }
        metadata
    }
}
