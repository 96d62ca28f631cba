//! The settings of `[local_mqtt]`.

use std::{net::SocketAddr, path::PathBuf};

use daemon::settings::{Fingerprint, Section};
use iot_hub::identity::HubHost;
use secrecy::SecretString;

use crate::backlog::Bounds;

/// The least room for telemetry: one message of the largest that a hub takes.
const MESSAGE_BYTES: u32 = 260 * 1024;

/// What a broker's address has to be.
const ADDRESS: &str = "mqtt://HOST:PORT, or mqtts://HOST:PORT in TLS";

/// Where local devices that speak MQTT are met.
#[derive(Debug, Clone)]
pub struct LocalMqttConfig {
    /// Where that is.
    pub place: MqttPlace,
    /// How much of the telemetry of each device is kept while the hub is away.
    pub telemetry: Bounds,
    /// Tells these settings from others.
    pub(crate) print: Fingerprint,
}

/// Where local devices that speak MQTT are met.
#[derive(Debug, Clone)]
pub enum MqttPlace {
    /// At the gateway's own endpoint, on that address; port 0 takes a free one.
    Listen(SocketAddr),
    /// At somebody else's broker.
    Broker(BrokerConfig),
}

/// Somebody else's broker.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who the gateway is to it.
    pub user: String,
    /// What it signs in with.
    pub password: SecretString,
    /// What its client ids begin with.
    pub client_id: String,
    /// The connection is in TLS.
    pub tls: bool,
    /// Who is trusted to be the broker, if not whom the system trusts.
    pub ca_file: Option<PathBuf>,
}

pub(super) fn read(mut section: Section, gateway_id: &str) -> Option<LocalMqttConfig> {
    let place = match (section.has("listen"), section.has("broker")) {
        (true, false) => section
            .address("listen")
            .required("an address to listen on")
            .map(MqttPlace::Listen),
        (false, true) => broker(&mut section, gateway_id).map(MqttPlace::Broker),
        (_, _) => {
            section.mistake_here("exactly one of listen and broker");
            None
        }
    };
    let default = Bounds::default();
    let mut bound = |key, least, most, default: usize| {
        let given = section.count(key, least, most).optional();
        given.map_or(default, |bound| bound as usize)
    };
    let telemetry = Bounds {
        messages: bound("telemetry_messages", 1, 1_000_000, default.messages),
        bytes: bound("telemetry_bytes", MESSAGE_BYTES, 1 << 30, default.bytes),
    };
    Some(LocalMqttConfig {
        place: place?,
        telemetry,
        print: section.taken().fingerprint(),
    })
}

fn broker(section: &mut Section, gateway_id: &str) -> Option<BrokerConfig> {
    let address = section
        .take("broker", ADDRESS, |value| address_of(value.as_str()?))
        .required(ADDRESS);
    let user = section
        .filled("user")
        .required("the gateway's user name at the broker");
    let password = section.secret("password");
    let client_id = section.filled("client_id").or(gateway_id.to_owned());
    let ca_file = section.path("ca_file").optional();
    let (tls, host, port) = address?;
    if let (false, Some(file)) = (tls, &ca_file) {
        let file = file.display().to_string();
        section.mistake("ca_file", &file, "none, or a broker at mqtts://");
    }
    Some(BrokerConfig {
        host,
        port,
        user: user?,
        password: password?.text,
        client_id,
        tls,
        ca_file,
    })
}

/// Reads a broker's address: whether it is in TLS, the host and the port.
fn address_of(text: &str) -> Option<(bool, String, u16)> {
    let (scheme, rest) = text.split_once("://")?;
    let (tls, port) = match scheme {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let address: HubHost = rest.parse().ok()?;
    let port = address.port().unwrap_or(port);
    Some((tls, address.address().to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests;

    fn read(local_mqtt: &str, device: &str) -> Result<LocalMqttConfig, Vec<String>> {
        let text = format!(
            "state_dir = \"s\"\n[gateway]\nid = \"edge-1\"\n[local_mqtt]\n{local_mqtt}\n{}[device.mqtt]\n{device}\n",
            tests::device("d1")
        );
        Ok(tests::parse(&text)?.local_mqtt.unwrap())
    }

    fn broker(address: &str, more: &str) -> Result<BrokerConfig, Vec<String>> {
        let text = format!("broker = \"{address}\"\nuser = \"gw\"\npassword = \"p\"\n{more}");
        match read(&text, "")?.place {
            MqttPlace::Broker(broker) => Ok(broker),
            MqttPlace::Listen(address) => panic!("it listens on {address}"),
        }
    }

    #[test]
    fn a_broker_instead_of_the_endpoint() {
        for (address, host, port, tls) in [
            ("mqtt://[::1]:1884", "::1", 1884, false),
            ("mqtt://broker-1", "broker-1", 1883, false),
            ("mqtts://broker-1/", "broker-1", 8883, true),
        ] {
            let read = broker(address, "").unwrap();
            assert_eq!((&*read.host, read.port, read.tls), (host, port, tls));
            assert_eq!((&*read.user, &*read.client_id), ("gw", "edge-1"));
        }
        let pinned = broker("mqtts://b", "ca_file = \"ca.pem\"\nclient_id = \"c\"").unwrap();
        assert!(pinned.ca_file.unwrap().ends_with("ca.pem"));
        assert_eq!(pinned.client_id, "c");
        for wrong in [
            "b",
            "b:1883",
            "mqtt://",
            "mqtt://b:0x1",
            "http://b:1883",
            "mqtt://b:65536",
        ] {
            let told = broker(wrong, "").unwrap_err();
            let expected = format!("local_mqtt.broker = {wrong:?}: expected {ADDRESS}");
            assert_eq!(told, [expected]);
        }
    }

    #[test]
    fn either_the_endpoint_or_a_broker() {
        const ONE: &str = "local_mqtt: expected exactly one of listen and broker";
        let both =
            "listen = \"127.0.0.1:0\"\nbroker = \"mqtt://b\"\nuser = \"u\"\npassword = \"p\"";
        assert_eq!(read(both, "").unwrap_err()[0], ONE);
        assert_eq!(read("", "").unwrap_err()[0], ONE);
        // A device signs in at the endpoint, and not with us at a broker.
        let told = read("listen = \"127.0.0.1:0\"", "").unwrap_err();
        assert_eq!(
            told,
            [
                "device.mqtt.password: expected this, password_file or password_credential: device d1 connects to the gateway"
            ]
        );
    }

    #[test]
    fn every_mistake_about_a_broker_at_once() {
        let told = read("broker = \"b\"\nca_file = \"ca.pem\"", "").unwrap_err();
        assert_eq!(told.len(), 3, "{told:?}");
        let told = broker("mqtt://b", "ca_file = \"ca.pem\"").unwrap_err();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].ends_with("expected none, or a broker at mqtts://"),
            "{told:?}"
        );
        let told = broker("mqtt://b", "tls = true").unwrap_err();
        assert_eq!(told, ["local_mqtt.tls = true: expected no such key"]);
    }
}
