//! A device's identity: what the registry holds, as the REST API reads and writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_hub::sas::SharedKey;
use iot_hub::twin::Twin;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::jobs::print;
use crate::setup::{DeviceSetup, SetupCredentials};

/// What the API prints for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00";

/// What the registry holds about a device or a module, beside its twin.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Identity {
    pub(crate) authentication: Authentication,
    pub(crate) status: Status,
    pub(super) status_reason: Option<String>,
    pub(super) status_updated: Option<Timestamp>,
    pub(super) connection_state_updated: Option<Timestamp>,
    pub(super) generation: u64,
    version: u64,
    pub(super) iot_edge: bool,
    pub(super) device_scope: Option<String>,
    pub(super) parent_scopes: Vec<String>,
    /// Who looks after a module.
    managed_by: Option<String>,
}

/// Whether a device may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Status {
    #[default]
    Enabled,
    Disabled,
}

/// How a device proves who it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Authentication {
    Sas(Keys),
    SelfSigned(Thumbprints),
    CertificateAuthority,
    Nothing,
}

/// Either key is good.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Keys {
    #[serde(with = "key_text")]
    pub(crate) primary: SharedKey,
    #[serde(with = "key_text")]
    pub(crate) secondary: SharedKey,
}

/// A key as connection strings have it.
mod key_text {
    use iot_hub::sas::SharedKey;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &SharedKey, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&key.to_base64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SharedKey, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Certificates that a device may present, by the hash of their DER form.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Thumbprints {
    primary_thumbprint: Option<String>,
    secondary_thumbprint: Option<String>,
}

impl Identity {
    /// Makes an identity as a request wants it; `new_key` makes the keys that it leaves open.
    pub(crate) fn new(mut request: IdentityRequest, new_key: impl FnMut() -> SharedKey) -> Self {
        let authentication = request.authentication.take().unwrap_or_default();
        Self::with(authentication.resolve(new_key), request)
    }

    /// Makes an identity with these credentials, whatever the request says of them.
    pub(super) fn with(authentication: Authentication, request: IdentityRequest) -> Self {
        Self {
            authentication,
            status: request.status,
            status_reason: request.status_reason,
            status_updated: None,
            connection_state_updated: None,
            generation: 0,
            version: 1,
            iot_edge: request.capabilities.unwrap_or_default().iot_edge,
            device_scope: request.device_scope,
            parent_scopes: request.parent_scopes.unwrap_or_default(),
            managed_by: request.managed_by,
        }
    }

    /// Makes an identity that is there from the start.
    pub(super) fn of_setup(setup: &DeviceSetup, new_key: impl FnMut() -> SharedKey) -> Self {
        let status = if setup.enabled {
            Status::Enabled
        } else {
            Status::Disabled
        };
        let request = IdentityRequest {
            status,
            ..IdentityRequest::default()
        };
        let credentials = setup.credentials.clone();
        Self::with(Authentication::of_setup(credentials, new_key), request)
    }

    /// Gives it other credentials.
    pub(super) fn change_credentials(&mut self, authentication: Authentication) {
        self.authentication = authentication;
        self.version += 1;
    }

    /// Changes the identity as a request wants it. What the request leaves out of the
    /// authentication stays as it is.
    pub(super) fn update(
        &mut self,
        request: IdentityRequest,
        new_key: impl FnMut() -> SharedKey,
        now: Timestamp,
    ) {
        if let Some(authentication) = request.authentication {
            self.authentication = authentication.resolve(new_key);
        }
        if self.status != request.status {
            self.status_updated = Some(now);
        }
        self.status = request.status;
        self.status_reason = request.status_reason;
        self.iot_edge = request.capabilities.unwrap_or_default().iot_edge;
        self.device_scope = request.device_scope;
        self.parent_scopes = request.parent_scopes.unwrap_or_default();
        self.managed_by = request.managed_by;
        self.version += 1;
    }

    /// The keys of a device that signs tokens.
    pub(crate) fn keys(&self) -> Option<&Keys> {
        match &self.authentication {
            Authentication::Sas(keys) => Some(keys),
            Authentication::SelfSigned(_)
            | Authentication::CertificateAuthority
            | Authentication::Nothing => None,
        }
    }

    /// The identity's own etag: the real hub's is the base64 form of decimal digits.
    pub(crate) fn etag(&self) -> String {
        STANDARD.encode(format!("{}{:06}", self.generation, self.version))
    }

    /// The fields that are the same for a device and a module, as the API prints them.
    pub(super) fn to_value(&self, twin: &Twin) -> Value {
        let time = |time: Option<Timestamp>| time.map_or_else(|| NEVER.to_owned(), print);
        json!({
            "generationId": self.generation.to_string(),
            "etag": self.etag(),
            "connectionState": if twin.connected { "Connected" } else { "Disconnected" },
            "status": self.status.as_str(),
            "statusReason": self.status_reason,
            "connectionStateUpdatedTime": time(self.connection_state_updated),
            "statusUpdatedTime": time(self.status_updated),
            "lastActivityTime": time(twin.last_activity),
            "cloudToDeviceMessageCount": twin.cloud_to_device_messages,
            "authentication": self.authentication.to_value(),
            "capabilities": {"iotEdge": self.iot_edge},
            "deviceScope": self.device_scope,
            "parentScopes": self.parent_scopes,
            "managedBy": self.managed_by,
        })
    }
}

impl Thumbprints {
    /// The registered ones.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let both = [&self.primary_thumbprint, &self.secondary_thumbprint];
        both.into_iter().flatten().map(String::as_str)
    }
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

impl Authentication {
    /// As they are set up; `new_key` makes the keys that are left open.
    pub(crate) fn of_setup(
        credentials: SetupCredentials,
        mut new_key: impl FnMut() -> SharedKey,
    ) -> Self {
        match credentials {
            SetupCredentials::Keys { primary, secondary } => Self::Sas(Keys {
                primary: primary.unwrap_or_else(&mut new_key),
                secondary: secondary.unwrap_or_else(new_key),
            }),
            SetupCredentials::Thumbprints { primary, secondary } => Self::SelfSigned(Thumbprints {
                primary_thumbprint: Some(primary),
                secondary_thumbprint: secondary,
            }),
            SetupCredentials::CertificateAuthority => Self::CertificateAuthority,
        }
    }

    /// By the certificate that has this thumbprint.
    pub(crate) fn of_certificate(thumbprint: String) -> Self {
        Self::SelfSigned(Thumbprints {
            primary_thumbprint: Some(thumbprint),
            secondary_thumbprint: None,
        })
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Sas(_) => "sas",
            Self::SelfSigned(_) => "selfSigned",
            Self::CertificateAuthority => "certificateAuthority",
            Self::Nothing => "none",
        }
    }

    fn to_value(&self) -> Value {
        let (primary, secondary) = match self {
            Self::Sas(keys) => (
                Some(keys.primary.to_base64()),
                Some(keys.secondary.to_base64()),
            ),
            Self::SelfSigned(_) | Self::CertificateAuthority | Self::Nothing => (None, None),
        };
        let [primary_print, secondary_print] = self.thumbprints();
        json!({
            "symmetricKey": {"primaryKey": primary, "secondaryKey": secondary},
            "x509Thumbprint": {
                "primaryThumbprint": primary_print,
                "secondaryThumbprint": secondary_print,
            },
            "type": self.type_name(),
        })
    }

    /// The registered ones, as the API shows them.
    pub(super) fn thumbprints(&self) -> [Option<String>; 2] {
        match self {
            Self::SelfSigned(Thumbprints {
                primary_thumbprint,
                secondary_thumbprint,
            }) => [primary_thumbprint.clone(), secondary_thumbprint.clone()],
            Self::Sas(_) | Self::CertificateAuthority | Self::Nothing => [None, None],
        }
    }
}

/// An identity as a client asks for it. Unknown fields are ignored, as the real hub does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IdentityRequest {
    pub(crate) device_id: Option<String>,
    status: Status,
    status_reason: Option<String>,
    authentication: Option<AuthenticationRequest>,
    capabilities: Option<Capabilities>,
    device_scope: Option<String>,
    parent_scopes: Option<Vec<String>>,
    managed_by: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Capabilities {
    iot_edge: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthenticationRequest {
    r#type: Option<AuthenticationType>,
    symmetric_key: Option<KeysRequest>,
    x509_thumbprint: Option<Thumbprints>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum AuthenticationType {
    Sas,
    SelfSigned,
    CertificateAuthority,
    None,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KeysRequest {
    primary_key: RequestedKey,
    secondary_key: RequestedKey,
}

/// A key in a request: absent, null and empty all ask the hub to make one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Option<String>")]
struct RequestedKey(Option<SharedKey>);

impl TryFrom<Option<String>> for RequestedKey {
    type Error = String;

    fn try_from(text: Option<String>) -> Result<Self, Self::Error> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(Self(None));
        };
        let key = text
            .parse()
            .map_err(|error| format!("symmetric key: {error}"))?;
        Ok(Self(Some(key)))
    }
}

impl AuthenticationRequest {
    fn resolve(self, mut new_key: impl FnMut() -> SharedKey) -> Authentication {
        let thumbprints = self.x509_thumbprint.unwrap_or_default();
        let kind = self
            .r#type
            .unwrap_or(if thumbprints.primary_thumbprint.is_some() {
                AuthenticationType::SelfSigned
            } else {
                AuthenticationType::Sas
            });
        match kind {
            AuthenticationType::Sas => {
                let keys = self.symmetric_key.unwrap_or_default();
                Authentication::Sas(Keys {
                    primary: keys.primary_key.0.unwrap_or_else(&mut new_key),
                    secondary: keys.secondary_key.0.unwrap_or_else(new_key),
                })
            }
            AuthenticationType::SelfSigned => Authentication::SelfSigned(thumbprints),
            AuthenticationType::CertificateAuthority => Authentication::CertificateAuthority,
            AuthenticationType::None => Authentication::Nothing,
        }
    }
}
