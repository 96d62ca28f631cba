//! Reading connection strings.

use std::str::FromStr;

use super::{
    ConnectionString, ConnectionStringError, DeviceAuth, DeviceConnection, ServiceConnection,
};
use crate::{identity::HubHost, sas::SharedKey};

pub(super) const HOST_NAME: &str = "HostName";
pub(super) const DEVICE_ID: &str = "DeviceId";
pub(super) const MODULE_ID: &str = "ModuleId";
pub(super) const KEY: &str = "SharedAccessKey";
pub(super) const POLICY: &str = "SharedAccessKeyName";
pub(super) const TOKEN: &str = "SharedAccessSignature";
pub(super) const GATEWAY: &str = "GatewayHostName";
pub(super) const X509: &str = "x509";

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
