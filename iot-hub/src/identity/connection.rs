//! Connection strings: `Key=Value` pairs joined by `;`.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{DeviceId, HostError, HubHost, IdError, ModuleId, MqttUser, client_id, scope};
use crate::sas::{KeyError, SasToken, SharedKey};

/// A connection string, which is either a service's or a device's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionString {
    /// Names a policy of the hub.
    Service(ServiceConnection),
    /// Names a device or module.
    Device(DeviceConnection),
}

/// How a service reaches its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConnection {
    /// The hub.
    pub host: HubHost,
    /// The shared access policy that the key belongs to.
    pub policy: String,
    /// Either of the policy's keys.
    pub key: SharedKey,
}

impl ServiceConnection {
    /// Makes the token that authorises this service for the whole hub until `expiry`.
    pub fn token(&self, expiry: Timestamp) -> SasToken {
        SasToken::sign(self.host.as_str(), &self.key, Some(&self.policy), expiry)
    }
}

/// How a device or module reaches its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConnection {
    /// The hub.
    pub host: HubHost,
    /// The device.
    pub device: DeviceId,
    /// The module of the device, when the connection is a module's.
    pub module: Option<ModuleId>,
    /// How it proves who it is.
    pub auth: DeviceAuth,
    /// The host to connect to instead of the hub, for a device behind a gateway.
    pub gateway: Option<HubHost>,
}

impl DeviceConnection {
    /// The scope that this connection's token must cover.
    pub fn scope(&self) -> String {
        scope(&self.host, &self.device, self.module.as_ref())
    }

    /// The MQTT client id: `{device}` or `{device}/{module}`.
    pub fn client_id(&self) -> String {
        client_id(&self.device, self.module.as_ref())
    }

    /// The MQTT user name for a version of the hub's API.
    pub fn mqtt_user(&self, api_version: &str) -> MqttUser {
        MqttUser {
            host: self.host.clone(),
            device: self.device.clone(),
            module: self.module.clone(),
            query: vec![("api-version".to_owned(), api_version.to_owned())],
        }
    }
}

/// How a device or module proves who it is.
#[derive(Debug, Clone)]
pub enum DeviceAuth {
    /// By tokens made with this key.
    Key(SharedKey),
    /// By this ready-made token.
    Token(SecretString),
    /// By a TLS client certificate.
    X509,
}

impl PartialEq for DeviceAuth {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(a), Self::Key(b)) => a == b,
            (Self::Token(a), Self::Token(b)) => a.expose_secret() == b.expose_secret(),
            (Self::X509, Self::X509) => true,
            (Self::Key(_) | Self::Token(_) | Self::X509, _) => false,
        }
    }
}

impl Eq for DeviceAuth {}

const HOST_NAME: &str = "HostName";
const DEVICE_ID: &str = "DeviceId";
const MODULE_ID: &str = "ModuleId";
const KEY: &str = "SharedAccessKey";
const POLICY: &str = "SharedAccessKeyName";
const TOKEN: &str = "SharedAccessSignature";
const GATEWAY: &str = "GatewayHostName";
const X509: &str = "x509";

/// The pairs of a connection string, each at most once.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a str>,
    device: Option<&'a str>,
    module: Option<&'a str>,
    key: Option<&'a str>,
    policy: Option<&'a str>,
    token: Option<&'a str>,
    gateway: Option<&'a str>,
    x509: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Keys are read without regard to case and a trailing `;` is ignored: SDKs disagree on both.
    fn read(text: &'a str) -> Result<Self, ConnectionStringError> {
        let mut fields = Self::default();
        for pair in text.strip_suffix(';').unwrap_or(text).split(';') {
            let (key, value) = pair.split_once('=').ok_or(ConnectionStringError::Pair)?;
            let known = [
                (HOST_NAME, &mut fields.host),
                (DEVICE_ID, &mut fields.device),
                (MODULE_ID, &mut fields.module),
                (KEY, &mut fields.key),
                (POLICY, &mut fields.policy),
                (TOKEN, &mut fields.token),
                (GATEWAY, &mut fields.gateway),
                (X509, &mut fields.x509),
            ];
            let Some((name, field)) = known
                .into_iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(key))
            else {
                return Err(ConnectionStringError::Unknown(
                    key.chars().take(64).collect(),
                ));
            };
            if value.is_empty() {
                return Err(ConnectionStringError::Empty(name));
            }
            if field.replace(value).is_some() {
                return Err(ConnectionStringError::Duplicate(name));
            }
        }
        Ok(fields)
    }

    fn host(&self) -> Result<HubHost, ConnectionStringError> {
        parse_host(
            HOST_NAME,
            self.host.ok_or(ConnectionStringError::Missing(HOST_NAME))?,
        )
    }

    fn service(&self, policy: &str) -> Result<ServiceConnection, ConnectionStringError> {
        let foreign = [
            (DEVICE_ID, self.device),
            (MODULE_ID, self.module),
            (TOKEN, self.token),
            (GATEWAY, self.gateway),
            (X509, self.x509),
        ];
        if let Some((name, _)) = foreign.into_iter().find(|(_, value)| value.is_some()) {
            return Err(ConnectionStringError::Conflict(POLICY, name));
        }
        if !policy
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '@' | '.'))
        {
            return Err(ConnectionStringError::Policy);
        }
        let key = self.key.ok_or(ConnectionStringError::Missing(KEY))?;
        Ok(ServiceConnection {
            host: self.host()?,
            policy: policy.to_owned(),
            key: parse_key(key)?,
        })
    }

    fn device(&self, device: &str) -> Result<DeviceConnection, ConnectionStringError> {
        let auth = match (self.key, self.token, self.x509) {
            (Some(key), None, None) => DeviceAuth::Key(parse_key(key)?),
            (None, Some(token), None) => DeviceAuth::Token(token.into()),
            (None, None, Some(value)) if value.eq_ignore_ascii_case("true") => DeviceAuth::X509,
            (None, None, Some(_)) => return Err(ConnectionStringError::X509),
            (None, None, None) => return Err(ConnectionStringError::Missing(KEY)),
            (Some(_), Some(_), _) => return Err(ConnectionStringError::Conflict(KEY, TOKEN)),
            (Some(_), None, Some(_)) => return Err(ConnectionStringError::Conflict(KEY, X509)),
            (None, Some(_), Some(_)) => return Err(ConnectionStringError::Conflict(TOKEN, X509)),
        };
        let id = |field, error| ConnectionStringError::Id {
            field,
            source: error,
        };
        Ok(DeviceConnection {
            host: self.host()?,
            device: device.parse().map_err(|error| id(DEVICE_ID, error))?,
            module: self
                .module
                .map(|module| module.parse().map_err(|error| id(MODULE_ID, error)))
                .transpose()?,
            auth,
            gateway: self
                .gateway
                .map(|gateway| parse_host(GATEWAY, gateway))
                .transpose()?,
        })
    }
}

fn parse_host(field: &'static str, text: &str) -> Result<HubHost, ConnectionStringError> {
    text.parse()
        .map_err(|source| ConnectionStringError::Host { field, source })
}

fn parse_key(text: &str) -> Result<SharedKey, ConnectionStringError> {
    text.parse().map_err(ConnectionStringError::Key)
}

impl FromStr for ConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, ConnectionStringError> {
        let fields = Fields::read(text)?;
        match (fields.policy, fields.device) {
            (Some(policy), _) => fields.service(policy).map(Self::Service),
            (None, Some(device)) => fields.device(device).map(Self::Device),
            (None, None) => Err(ConnectionStringError::Kind),
        }
    }
}

impl FromStr for ServiceConnection {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, ConnectionStringError> {
        match text.parse()? {
            ConnectionString::Service(service) => Ok(service),
            ConnectionString::Device(_) => Err(ConnectionStringError::Missing(POLICY)),
        }
    }
}

impl FromStr for DeviceConnection {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, ConnectionStringError> {
        match text.parse()? {
            ConnectionString::Device(device) => Ok(device),
            ConnectionString::Service(_) => Err(ConnectionStringError::Missing(DEVICE_ID)),
        }
    }
}

/// The whole string with its secret: for a person to copy, not for a log.
impl fmt::Display for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => service.fmt(f),
            Self::Device(device) => device.fmt(f),
        }
    }
}

/// The whole string with its secret: for a person to copy, not for a log.
impl fmt::Display for ServiceConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{HOST_NAME}={};{POLICY}={};{KEY}={}",
            self.host,
            self.policy,
            self.key.to_base64()
        )
    }
}

/// The whole string with its secret: for a person to copy, not for a log.
impl fmt::Display for DeviceConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HOST_NAME}={};{DEVICE_ID}={}", self.host, self.device)?;
        if let Some(module) = &self.module {
            write!(f, ";{MODULE_ID}={module}")?;
        }
        match &self.auth {
            DeviceAuth::Key(key) => write!(f, ";{KEY}={}", key.to_base64())?,
            DeviceAuth::Token(token) => write!(f, ";{TOKEN}={}", token.expose_secret())?,
            DeviceAuth::X509 => write!(f, ";{X509}=true")?,
        }
        match &self.gateway {
            Some(gateway) => write!(f, ";{GATEWAY}={gateway}"),
            None => Ok(()),
        }
    }
}

/// Why a text is no connection string. No variant repeats a value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    /// A part between two semicolons has no `=`.
    #[error("connection string must be `Key=Value` pairs joined by `;`")]
    Pair,
    /// A key is none that is known.
    #[error("unknown key `{0}` in connection string")]
    Unknown(String),
    /// A key stands there twice.
    #[error("`{0}` stands twice in connection string")]
    Duplicate(&'static str),
    /// A key has no value.
    #[error("`{0}` is empty in connection string")]
    Empty(&'static str),
    /// A key is needed and not there.
    #[error("connection string has no `{0}`")]
    Missing(&'static str),
    /// Neither a service's nor a device's key is there.
    #[error("connection string has neither `DeviceId` nor `SharedAccessKeyName`")]
    Kind,
    /// Two keys exclude each other.
    #[error("`{0}` and `{1}` exclude each other in connection string")]
    Conflict(&'static str, &'static str),
    /// A host cannot be read.
    #[error("`{field}` in connection string: {source}")]
    Host {
        /// The key whose value it is.
        field: &'static str,
        /// What is wrong with it.
        source: HostError,
    },
    /// A device or module id cannot be read.
    #[error("`{field}` in connection string: {source}")]
    Id {
        /// The key whose value it is.
        field: &'static str,
        /// What is wrong with it.
        source: IdError,
    },
    /// The key cannot be read.
    #[error("`SharedAccessKey` in connection string: {0}")]
    Key(#[source] KeyError),
    /// The policy's name has a character that such names may not have.
    #[error(
        "`SharedAccessKeyName` in connection string may have ASCII letters, digits and _-@. only"
    )]
    Policy,
    /// `x509` is not `true`.
    #[error("`x509` in connection string must be `true`")]
    X509,
}
