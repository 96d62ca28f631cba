//! The sections `[hub]` and `[provisioning]`.

use std::{path::PathBuf, str::FromStr};

use daemon::settings::Section;
use iot_hub::{
    identity::HubHost,
    provisioning::{GLOBAL_HOST, IdScope},
    sas::SharedKey,
};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};

use super::no_proxy::{self, NoProxy};

/// The port of MQTT over TLS.
pub const DEFAULT_MQTT_PORT: u16 = 8883;

/// The port of MQTT over WebSockets.
pub const DEFAULT_WEBSOCKET_PORT: u16 = 443;

/// What a key is.
pub(super) const KEY: &str = "16 to 64 bytes in base64";

/// What a proxy is.
const PROXY: &str = "http://HOST:PORT or http://USER:PASSWORD@HOST:PORT";

/// The port of a proxy that is given without one.
const DEFAULT_PROXY_PORT: u16 = 80;

/// How to reach the hub; its name is in the devices' connection strings, or comes from the
/// provisioning service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubConfig {
    /// The port of its MQTT endpoint.
    pub mqtt_port: u16,
    /// The port of its WebSockets.
    pub websocket_port: u16,
    /// The certificate authority to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What MQTT travels in.
    pub transport: Transport,
    /// The proxy on the way.
    pub proxy: Option<Proxy>,
    /// Hosts that are reached without it.
    pub no_proxy: Vec<NoProxy>,
    /// Who tells devices which hub is theirs.
    pub provisioning: Option<ProvisioningConfig>,
}

/// What MQTT travels in, inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In nothing else.
    Mqtt,
    /// In WebSockets, whose port is open in most networks.
    WebSockets,
    /// In whichever of the two leads to the hub.
    Auto,
}

impl HubConfig {
    /// The proxy on the way to a host: a name, or an address without brackets.
    pub fn proxy_to(&self, host: &str) -> Option<&Proxy> {
        let straight = self.no_proxy.iter().any(|entry| entry.covers(host));
        self.proxy.as_ref().filter(|_| !straight)
    }
}

/// The Device Provisioning Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisioningConfig {
    /// Where it is.
    pub host: HubHost,
    /// Which customer's part of it.
    pub id_scope: IdScope,
    /// The key of the group that devices without credentials of their own are in.
    pub group_key: Option<SharedKey>,
}

/// An HTTP proxy that is asked to CONNECT.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Its host: a name or an address, one of IPv6 in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What it wants to know of its users: name and password, with a colon between them.
    pub login: Option<SecretString>,
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        let login = |proxy: &Self| {
            proxy
                .login
                .as_ref()
                .map(|login| login.expose_secret().to_owned())
        };
        (&self.host, self.port, login(self)) == (&other.host, other.port, login(other))
    }
}

impl Eq for Proxy {}

/// A text is no address of a proxy. It is not told: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proxy's address has not the form that is expected")]
pub struct ProxyError;

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let rest = text.strip_prefix("http://").ok_or(ProxyError)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let address: HubHost = address.parse().map_err(|_| ProxyError)?;
        let login = login.map(|login| {
            let login = percent_decode_str(login).decode_utf8();
            login.map(|login| SecretString::from(login.into_owned()))
        });
        let host = address.address();
        Ok(Self {
            host: if host.contains(':') {
                format!("[{host}]")
            } else {
                host.to_owned()
            },
            port: address.port().unwrap_or(DEFAULT_PROXY_PORT),
            login: login.transpose().map_err(|_| ProxyError)?,
        })
    }
}

pub(super) fn read(root: &mut Section) -> HubConfig {
    let provisioning = root
        .has("provisioning")
        .then(|| read_provisioning(root.section("provisioning")))
        .flatten();
    let mut hub = root.section("hub");
    HubConfig {
        mqtt_port: hub.port("mqtt_port").or(DEFAULT_MQTT_PORT),
        websocket_port: hub.port("websocket_port").or(DEFAULT_WEBSOCKET_PORT),
        ca_file: hub.path("ca_file").optional(),
        transport: hub
            .choice(
                "transport",
                &[
                    ("mqtt", Transport::Mqtt),
                    ("websockets", Transport::WebSockets),
                    ("auto", Transport::Auto),
                ],
            )
            .optional()
            .unwrap_or(Transport::Mqtt),
        proxy: hidden(&mut hub, "proxy", PROXY),
        no_proxy: read_no_proxy(&mut hub),
        provisioning,
    }
}

fn read_no_proxy(hub: &mut Section) -> Vec<NoProxy> {
    let texts = hub.texts("no_proxy").optional().unwrap_or_default();
    let entries = texts.iter().filter_map(|text| {
        let entry = text.parse().ok();
        if entry.is_none() {
            hub.mistake("no_proxy", text, no_proxy::EXPECTED);
        }
        entry
    });
    entries.collect()
}

fn read_provisioning(mut section: Section) -> Option<ProvisioningConfig> {
    let host = section.parsed::<HubHost>("host", "a host name").optional();
    let expected = "the id scope of the provisioning service, such as 0ne00001234";
    let id_scope = section.parsed::<IdScope>("id_scope", expected);
    let id_scope = id_scope.required(expected);
    let group_key = hidden(&mut section, "group_key", KEY);
    let global = || GLOBAL_HOST.parse().expect("the service's host is a host");
    Some(ProvisioningConfig {
        host: host.unwrap_or_else(global),
        id_scope: id_scope?,
        group_key,
    })
}

/// Takes a secret that has a form; its mistake does not show it.
pub(super) fn hidden<T: FromStr>(section: &mut Section, key: &str, expected: &str) -> Option<T> {
    let secret = section.optional_secret(key)?;
    let value = secret.text.expose_secret().parse().ok();
    if value.is_none() {
        section.mistake(&secret.key, "(hidden)", expected);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_a_host_a_port_and_perhaps_a_login() {
        #[track_caller]
        fn check(text: &str, host: &str, port: u16, login: Option<&str>) {
            let proxy: Proxy = text.parse().unwrap();
            let told = proxy.login.as_ref().map(|login| login.expose_secret());
            assert_eq!((proxy.host.as_str(), proxy.port, told), (host, port, login));
        }
        check("http://proxy.example:3128", "proxy.example", 3128, None);
        check("http://10.0.0.1/", "10.0.0.1", 80, None);
        check("http://[::1]:8888", "[::1]", 8888, None);
        check("http://u:p%40ss@h:1", "h", 1, Some("u:p@ss"));
        for wrong in [
            "proxy:3128",
            "https://proxy",
            "http://",
            "http://a b",
            "socks5://h:1",
        ] {
            assert!(wrong.parse::<Proxy>().is_err(), "{wrong}");
        }
    }
}
