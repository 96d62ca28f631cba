//! The hub's host name.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A hub's host as connection strings, user names and tokens write it: a name or an IP address,
/// possibly with a port.
///
/// The text is kept as given; two hosts are equal when they differ only in the case of ASCII
/// letters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HubHost(String);

impl HubHost {
    /// The hub's name: the first label of a host name, or the whole of an IP address.
    pub fn name(&self) -> &str {
        let address = self.address();
        if address.parse::<IpAddr>().is_ok() {
            return address;
        }
        address.split_once('.').map_or(address, |(label, _)| label)
    }

    /// The host without its port, and an IPv6 address without its brackets: what to connect to.
    pub fn address(&self) -> &str {
        split(&self.0).0
    }

    /// The port, when the text has one.
    pub fn port(&self) -> Option<u16> {
        split(&self.0).1.and_then(|port| port.parse().ok())
    }

    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Cuts a text into address and port, neither of them checked.
fn split(text: &str) -> (&str, Option<&str>) {
    if text.parse::<Ipv6Addr>().is_ok() {
        return (text, None);
    }
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None if rest.is_empty() => (address, None),
            None => (text, None),
        };
    }
    match text.rsplit_once(':') {
        Some((address, port)) => (address, Some(port)),
        None => (text, None),
    }
}

fn check(text: &str) -> Result<(), HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    let (address, port) = split(text);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let bracketed = text.starts_with('[');
    let good_address = match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => bracketed || port.is_none(),
        Ok(IpAddr::V4(_)) => !bracketed,
        Err(_) => {
            !bracketed && address.chars().all(is_name) && !address.split('.').any(str::is_empty)
        }
    };
    if !good_address || address.len() > 253 {
        return Err(HostError::Address);
    }
    match port {
        None => Ok(()),
        Some(port)
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(())
        }
        Some(_) => Err(HostError::Port),
    }
}

impl FromStr for HubHost {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        check(text).map(|()| Self(text.to_owned()))
    }
}

impl TryFrom<String> for HubHost {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        check(&text).map(|()| Self(text))
    }
}

impl From<HubHost> for String {
    fn from(host: HubHost) -> Self {
        host.0
    }
}

impl AsRef<str> for HubHost {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HubHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl PartialEq for HubHost {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for HubHost {}

impl Hash for HubHost {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

/// Why a text is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// There is nothing.
    #[error("host is empty")]
    Empty,
    /// It is neither a host name nor an IP address.
    #[error("host is neither a name (letters, digits, `-`, `_`, `.`) nor an IP address")]
    Address,
    /// What follows the colon is no port.
    #[error("host's port is not a number from 1 to 65535")]
    Port,
}
