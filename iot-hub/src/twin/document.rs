//! The twin as the REST API shows it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Properties, Section, SectionKind};
use crate::{
    etag::etag,
    identity::{DeviceId, IdError, ModuleId},
    time,
};

/// A device's or module's twin.
#[derive(Debug, Clone, PartialEq)]
pub struct Twin {
    /// The device.
    pub device: DeviceId,
    /// The module, when it is a module's twin.
    pub module: Option<ModuleId>,
    /// Changes with tags and properties; what an `If-Match` names.
    pub etag: String,
    /// Changes with the identity.
    pub device_etag: String,
    /// Changes with tags and properties.
    pub version: u64,
    /// Whether the device may connect.
    pub enabled: bool,
    /// Why, in the words of whoever disabled it.
    pub status_reason: Option<String>,
    /// When `enabled` last changed.
    pub status_updated: Option<Timestamp>,
    /// Whether the device is connected. Hubs are slow to tell.
    pub connected: bool,
    /// When the device last connected, sent or received something.
    pub last_activity: Option<Timestamp>,
    /// How many messages wait for the device.
    pub cloud_to_device_messages: u64,
    /// `sas`, `selfSigned`, `certificateAuthority` or `none`.
    pub authentication_type: String,
    /// The hashes of the two certificates that a device of type `selfSigned` may show.
    pub x509_thumbprints: [Option<String>; 2],
    /// The model that the device announced.
    pub model_id: Option<String>,
    /// Whether the device is an IoT Edge device.
    pub iot_edge: bool,
    /// The scope of the IoT Edge device that it is behind, or its own.
    pub device_scope: Option<String>,
    /// The scopes of the IoT Edge devices right above it.
    pub parent_scopes: Vec<String>,
    /// The configurations that are meant for the device, and how far each has come.
    pub configurations: Properties,
    /// Written and read by services alone.
    pub tags: Properties,
    /// Written by services, read by the device.
    pub desired: Section,
    /// Written by the device, read by services.
    pub reported: Section,
}

impl Twin {
    /// Makes the twin of a device that was registered just now.
    pub fn new(device: DeviceId, module: Option<ModuleId>, now: Timestamp) -> Self {
        Self {
            device,
            module,
            etag: etag(1),
            device_etag: etag(1),
            version: 2,
            enabled: true,
            status_reason: None,
            status_updated: None,
            connected: false,
            last_activity: None,
            cloud_to_device_messages: 0,
            authentication_type: "sas".to_owned(),
            x509_thumbprints: [None, None],
            model_id: None,
            iot_edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
            configurations: Properties::new(),
            tags: Properties::new(),
            desired: Section::new(SectionKind::Desired, now),
            reported: Section::new(SectionKind::Reported, now),
        }
    }

    /// The document that the REST API answers with.
    pub fn to_value(&self) -> Value {
        let mut document = json!({
            "deviceId": self.device,
            "etag": self.etag,
            "deviceEtag": self.device_etag,
            "status": if self.enabled { "enabled" } else { "disabled" },
            "statusUpdateTime": time::print_or_never(self.status_updated),
            "connectionState": if self.connected { "Connected" } else { "Disconnected" },
            "lastActivityTime": time::print_or_never(self.last_activity),
            "cloudToDeviceMessageCount": self.cloud_to_device_messages,
            "authenticationType": self.authentication_type,
            "x509Thumbprint": {
                "primaryThumbprint": self.x509_thumbprints[0],
                "secondaryThumbprint": self.x509_thumbprints[1],
            },
            "modelId": self.model_id.as_deref().unwrap_or_default(),
            "version": self.version,
            "tags": self.tags,
            "properties": {
                "desired": self.desired.to_value(true),
                "reported": self.reported.to_value(true),
            },
            "capabilities": { "iotEdge": self.iot_edge },
        });
        if let Some(module) = &self.module {
            document["moduleId"] = json!(module);
        }
        if !self.configurations.is_empty() {
            document["configurations"] = json!(self.configurations);
        }
        if let Some(scope) = &self.device_scope {
            document["deviceScope"] = json!(scope);
        }
        if !self.parent_scopes.is_empty() {
            document["parentScopes"] = json!(self.parent_scopes);
        }
        if let Some(reason) = &self.status_reason {
            document["statusReason"] = json!(reason);
        }
        document
    }

    /// What a device reads over MQTT: both sections without metadata.
    pub fn to_device_value(&self) -> Value {
        json!({ "desired": self.desired.to_value(false), "reported": self.reported.to_value(false) })
    }

    /// Reads a twin as a hub writes it. Missing and unknown fields are tolerated, but not a missing
    /// `deviceId`.
    pub fn from_value(value: &Value) -> Result<Self, TwinFormatError> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let time = |key: &str| text(key).and_then(time::parse);
        let number = |key: &str| value.get(key).and_then(Value::as_u64).unwrap_or_default();
        let own = |key: &str| text(key).unwrap_or_default().to_owned();
        let device = text("deviceId").ok_or(TwinFormatError::Missing("deviceId"))?;
        let section = |kind, name| match value
            .get("properties")
            .and_then(|properties| properties.get(name))
        {
            None | Some(Value::Null) => Ok(empty(kind)),
            Some(section) => {
                Section::from_value(kind, section).ok_or(TwinFormatError::Section(name))
            }
        };
        Ok(Self {
            device: device.parse().map_err(TwinFormatError::Id)?,
            module: text("moduleId")
                .filter(|id| !id.is_empty())
                .map(str::parse)
                .transpose()
                .map_err(TwinFormatError::Id)?,
            etag: own("etag"),
            device_etag: own("deviceEtag"),
            version: number("version"),
            enabled: text("status") != Some("disabled"),
            status_reason: text("statusReason").map(str::to_owned),
            status_updated: time("statusUpdateTime"),
            connected: text("connectionState") == Some("Connected"),
            last_activity: time("lastActivityTime"),
            cloud_to_device_messages: number("cloudToDeviceMessageCount"),
            authentication_type: own("authenticationType"),
            x509_thumbprints: ["primaryThumbprint", "secondaryThumbprint"]
                .map(|key| value["x509Thumbprint"][key].as_str().map(str::to_owned)),
            model_id: text("modelId")
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            iot_edge: value["capabilities"]["iotEdge"]
                .as_bool()
                .unwrap_or_default(),
            device_scope: text("deviceScope")
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned),
            parent_scopes: value
                .get("parentScopes")
                .and_then(Value::as_array)
                .map(|scopes| scopes.iter().filter_map(Value::as_str))
                .map(|scopes| scopes.map(str::to_owned).collect())
                .unwrap_or_default(),
            configurations: value
                .get("configurations")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            tags: match value.get("tags") {
                None | Some(Value::Null) => Properties::new(),
                Some(Value::Object(tags)) => tags.clone(),
                Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                    return Err(TwinFormatError::Section("tags"));
                }
            },
            desired: section(SectionKind::Desired, "desired")?,
            reported: section(SectionKind::Reported, "reported")?,
        })
    }
}

/// What a twin that was read without a section has in its place.
fn empty(kind: SectionKind) -> Section {
    Section::from_value(kind, &json!({})).expect("an object is a section")
}

/// Why a document is no twin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TwinFormatError {
    /// A field is needed and not there, or is no text.
    #[error("twin has no `{0}`")]
    Missing(&'static str),
    /// The device or module id cannot be read.
    #[error("twin's {0}")]
    Id(#[source] IdError),
    /// A section is no object.
    #[error("twin's {0} is not an object")]
    Section(&'static str),
}
