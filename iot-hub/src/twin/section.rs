//! Desired or reported properties with their version and metadata.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Properties, SectionKind, TwinError,
    metadata::{Metadata, Stamp},
};
use crate::time;

const METADATA: &str = "$metadata";
const VERSION: &str = "$version";

/// The desired or the reported properties of a twin.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    kind: SectionKind,
    properties: Properties,
    version: u64,
    metadata: Metadata,
}

impl Section {
    /// Makes the empty section of a new device, at version 1.
    pub fn new(kind: SectionKind, now: Timestamp) -> Self {
        let metadata = Metadata::new(stamp(kind, 1, now));
        Self {
            kind,
            properties: Properties::new(),
            version: 1,
            metadata,
        }
    }

    /// The section's version, which every update raises by one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The properties, without `$version` and `$metadata`.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// The value of the property at a path.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.properties.get(*first)?, |value, key| value.get(*key))
    }

    /// When the hub last saw the property at a path written; the empty path is the section itself.
    /// None when there is no such property, or the hub never saw it written.
    pub fn last_updated(&self, path: &[&str]) -> Option<Timestamp> {
        self.metadata.get(path)?.stamp.at
    }

    /// The section's version when the property at a path was last written; known of desired
    /// properties alone.
    pub fn last_updated_version(&self, path: &[&str]) -> Option<u64> {
        self.metadata.get(path)?.stamp.version
    }

    /// Merges a patch and returns the new version; on an error the section is as it was.
    ///
    /// Services often send back what they read, so in a patch of desired properties `$version` and
    /// `$metadata` at the top are ignored. Devices may not name them.
    pub fn patch(&mut self, patch: &Properties, now: Timestamp) -> Result<u64, TwinError> {
        let patch = &writable(self.kind, patch);
        super::patch(self.kind, &mut self.properties, patch)?;
        self.version += 1;
        self.metadata
            .patch(patch, stamp(self.kind, self.version, now));
        Ok(self.version)
    }

    /// Replaces all properties and returns the new version; on an error the section is as it was.
    pub fn replace(&mut self, properties: &Properties, now: Timestamp) -> Result<u64, TwinError> {
        let mut new = Self {
            properties: Properties::new(),
            metadata: Metadata::new(self.metadata.stamp),
            ..*self
        };
        let version = new.patch(properties, now)?;
        *self = new;
        Ok(version)
    }

    /// The section as JSON: its properties, `$version`, and on request `$metadata`.
    pub fn to_value(&self, with_metadata: bool) -> Value {
        let mut fields = self.properties.clone();
        if with_metadata {
            fields.insert(METADATA.to_owned(), self.metadata.to_value());
        }
        fields.insert(VERSION.to_owned(), self.version.into());
        Value::Object(fields)
    }

    /// Reads a section as a hub writes it. Without `$version` it is at version 0, without
    /// `$metadata` never updated.
    pub fn from_value(kind: SectionKind, value: &Value) -> Option<Self> {
        let Value::Object(fields) = value else {
            return None;
        };
        let mut properties = fields.clone();
        let version = properties
            .remove(VERSION)
            .and_then(|version| version.as_u64())
            .unwrap_or_default();
        let metadata = Metadata::from_value(&properties.remove(METADATA).unwrap_or_default());
        Some(Self {
            kind,
            properties,
            version,
            metadata,
        })
    }
}

/// The part of a patch that the writer of the section may mean.
fn writable(kind: SectionKind, patch: &Properties) -> Properties {
    match kind {
        SectionKind::Desired => without_system_keys(patch),
        SectionKind::Tags | SectionKind::Reported => patch.clone(),
    }
}

fn without_system_keys(patch: &Properties) -> Properties {
    let mut patch = patch.clone();
    patch.remove(VERSION);
    patch.remove(METADATA);
    patch
}

fn stamp(kind: SectionKind, version: u64, now: Timestamp) -> Stamp {
    let version = match kind {
        SectionKind::Desired => Some(version),
        SectionKind::Tags | SectionKind::Reported => None,
    };
    Stamp {
        at: Some(time::truncate(now)),
        version,
    }
}
