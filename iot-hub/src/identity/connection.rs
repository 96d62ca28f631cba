//! Connection strings: `Key=Value` pairs joined by `;`.

mod error;
mod parse;

use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

pub use self::error::ConnectionStringError;
use self::parse::{DEVICE_ID, GATEWAY, HOST_NAME, KEY, MODULE_ID, POLICY, TOKEN, X509};
use super::{DeviceId, HubHost, ModuleId, MqttUser, client_id, scope};
use crate::sas::{SasToken, SharedKey};

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
