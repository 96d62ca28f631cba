//! Devices that connect to the emulator, as raw as they can be: their cost is not what is measured.

mod reboots;

use std::sync::Arc;

use anyhow::ensure;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use iot_hub::identity::{ConnectionString, DeviceAuth};
use iot_hub::sas::SasToken;
use iot_hub::topic::{DeviceTopic, HubTopic, MethodName, RequestId};
use jiff::{SignedDuration, Timestamp};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe, SubscribeFilter};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) use self::reboots::Fate;
use crate::{emulator::EmulatorProcess, packets::Packets};

/// How many connect at once.
const AT_ONCE: usize = 8;

const FILTERS: [&str; 3] = [
    "$iothub/methods/POST/#",
    "$iothub/twin/res/#",
    "$iothub/twin/PATCH/properties/desired/#",
];

/// How devices reach one emulator; they share what can be shared.
pub(crate) struct Dialer {
    port: u16,
    tls: TlsConnector,
}

/// A connected device that is subscribed to methods and twins.
#[derive(Debug)]
pub(crate) struct Device {
    packets: Packets<TlsStream<TcpStream>>,
}

impl Dialer {
    pub(crate) fn new(emulator: &EmulatorProcess) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&emulator.ca_pem)?)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            port: emulator.mqtt_port,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Connects devices, some at once.
    pub(crate) async fn connect_all(
        &self,
        connection_strings: impl IntoIterator<Item = &String>,
    ) -> anyhow::Result<Vec<Device>> {
        let connects = connection_strings
            .into_iter()
            .map(|text| self.connect(text));
        stream::iter(connects).buffered(AT_ONCE).try_collect().await
    }

    /// Connects a device: TCP, TLS, CONNECT and one SUBSCRIBE for all, until they are acknowledged.
    pub(crate) async fn connect(&self, connection_string: &str) -> anyhow::Result<Device> {
        let ConnectionString::Device(connection) = connection_string.parse()? else {
            anyhow::bail!("a service's connection string");
        };
        let DeviceAuth::Key(key) = &connection.auth else {
            anyhow::bail!("a device without a key");
        };
        let (host, id) = (&connection.host, &connection.device);
        let expiry = Timestamp::now() + SignedDuration::from_hours(1);
        let token = SasToken::sign(&format!("{host}/devices/{id}"), key, None, expiry);
        let mut connect = Connect::new(id.to_string());
        connect.set_login(
            format!("{host}/{id}/?api-version=2021-04-12"),
            token.to_string(),
        );
        connect.clean_session = true;
        connect.keep_alive = 1177;
        let filters = FILTERS
            .iter()
            .map(|path| SubscribeFilter::new((*path).to_owned(), QoS::AtMostOnce));
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = 1;

        let socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let mut device = Device {
            packets: Packets::new(self.tls.connect(name, socket).await?),
        };
        device
            .packets
            .send(&[Packet::Connect(connect), Packet::Subscribe(subscribe)])
            .await?;
        let accepted = device.packets.next().await?;
        ensure!(matches!(accepted, Packet::ConnAck(_)), "no CONNACK");
        let subscribed = device.packets.next().await?;
        ensure!(matches!(subscribed, Packet::SubAck(_)), "no SUBACK");
        // Nothing of it stays with a device that only waits.
        device.packets.rest();
        Ok(device)
    }
}

impl Device {
    /// Answers every method with 200 and its payload, until the connection ends.
    pub(crate) async fn answer_methods(mut self) -> anyhow::Result<()> {
        loop {
            let (_, rid, payload) = self.method().await?;
            self.publish(&DeviceTopic::MethodResponse { status: 200, rid }, payload)
                .await?;
        }
    }

    /// Waits for a method: its name, its id, and its payload.
    async fn method(&mut self) -> anyhow::Result<(MethodName, RequestId, Bytes)> {
        loop {
            if let Packet::Publish(told) = self.packets.next().await?
                && let HubTopic::Method { name, rid } = told.topic.parse()?
            {
                return Ok((name, rid, told.payload));
            }
        }
    }

    async fn publish(&mut self, topic: &DeviceTopic, payload: Bytes) -> anyhow::Result<()> {
        let publish = Publish::from_bytes(topic.to_string(), QoS::AtMostOnce, payload);
        self.packets.send(&[Packet::Publish(publish)]).await
    }
}
