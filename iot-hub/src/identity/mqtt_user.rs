//! The user name of an MQTT CONNECT.

use std::{fmt, str::FromStr};

use super::{DeviceId, HostError, HubHost, IdError, ModuleId, client_id};
use crate::percent;

/// Who connects, and with which options: `{host}/{device}[/{module}]/?api-version=…&…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttUser {
    /// The hub that the device belongs to, even when it connects to a gateway.
    pub host: HubHost,
    /// The device.
    pub device: DeviceId,
    /// The module, when a module connects.
    pub module: Option<ModuleId>,
    /// Everything after the `?`, decoded, in the order received.
    pub query: Vec<(String, String)>,
}

impl MqttUser {
    /// The client id that must come with this user name: `{device}` or `{device}/{module}`.
    pub fn client_id(&self) -> String {
        client_id(&self.device, self.module.as_ref())
    }

    /// The version of the hub's API that the device asks for.
    pub fn api_version(&self) -> Option<&str> {
        self.get("api-version")
    }

    /// The first value of a key after the `?`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for MqttUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.host, self.device)?;
        if let Some(module) = &self.module {
            write!(f, "{module}/")?;
        }
        print_query(f, "?", &self.query)
    }
}

impl FromStr for MqttUser {
    type Err = MqttUserError;

    /// Accepts every form in the field, among them no options at all, options without the `?`, and
    /// the old one that writes `/DeviceClientType=` where `&` should be.
    fn from_str(text: &str) -> Result<Self, MqttUserError> {
        let (host, rest) = text.split_once('/').ok_or(MqttUserError::Shape)?;
        let (device, rest) = match rest.split_once('/') {
            Some((device, rest)) => (device, Some(rest)),
            None => (rest, None),
        };
        let (module, query) = match rest {
            None => (None, ""),
            Some(rest) => split_module(rest)?,
        };
        Ok(Self {
            host: host.parse().map_err(MqttUserError::Host)?,
            device: device.parse().map_err(MqttUserError::Device)?,
            module: module
                .map(str::parse)
                .transpose()
                .map_err(MqttUserError::Module)?,
            query: parse_query(query),
        })
    }
}

/// Tells the options apart from a module that precedes them.
///
/// Ids may hold `?` and `=`, so when the last of two segments looks like options, the first is the
/// module.
fn split_module(rest: &str) -> Result<(Option<&str>, &str), MqttUserError> {
    let is_query = |text: &str| {
        let mut segments = text.split('/');
        text.is_empty()
            || text.starts_with('?')
            || segments
                .next()
                .is_some_and(|first| first.contains("api-version="))
    };
    match rest.split_once('/') {
        Some((module, query)) if is_query(query) && module.parse::<ModuleId>().is_ok() => {
            Ok((Some(module), query))
        }
        _ if is_query(rest) => Ok((None, rest)),
        Some((module, query)) if is_query(query) => Ok((Some(module), query)),
        Some(_) | None => Err(MqttUserError::Shape),
    }
}

/// Writes options, encoded, with `opening` before the first.
pub(crate) fn print_query(
    f: &mut fmt::Formatter<'_>,
    opening: &str,
    query: &[(String, String)],
) -> fmt::Result {
    let mut separator = opening;
    for (key, value) in query {
        let (key, value) = (percent::encode(key), percent::encode(value));
        write!(f, "{separator}{key}={value}")?;
        separator = "&";
    }
    Ok(())
}

/// Reads options with or without the `?` before them.
pub(crate) fn parse_query(query: &str) -> Vec<(String, String)> {
    let joined;
    let query = match query.strip_prefix('?') {
        Some(query) => query,
        None => {
            joined = query.replacen("/DeviceClientType=", "&DeviceClientType=", 1);
            &joined
        }
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent::decode_lossy(key), percent::decode_lossy(value))
        })
        .collect()
}

/// Why a text is no user name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MqttUserError {
    /// It does not have the parts of a user name.
    #[error("user name must be `host/device/?options` or `host/device/module/?options`")]
    Shape,
    /// The host cannot be read.
    #[error("user name's host: {0}")]
    Host(#[source] HostError),
    /// The device id cannot be read.
    #[error("user name's device: {0}")]
    Device(#[source] IdError),
    /// The module id cannot be read.
    #[error("user name's module: {0}")]
    Module(#[source] IdError),
}
