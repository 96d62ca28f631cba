//! A device that speaks raw MQTT, so that a test decides about every packet.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hub_emulator::Emulator;
use iot_hub::identity::{ConnectionString, DeviceAuth, DeviceConnection};
use iot_hub::sas::{SasToken, SharedKey};
use iot_hub::topic::HubTopic;
use jiff::{SignedDuration, Timestamp};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Codec, Connect, ConnectReturnCode, LastWill, Packet, PubAck, Publish, Subscribe,
    SubscribeReasonCode,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::Framed;

/// Far longer than anything here takes, short enough to see a test hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const METHODS: &str = "$iothub/methods/POST/#";
pub(crate) const TWIN_ANSWERS: &str = "$iothub/twin/res/#";
pub(crate) const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";

/// How a device introduces itself; tests spoil one thing at a time.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) clean_session: bool,
    pub(crate) keep_alive: u16,
    pub(crate) will: Option<LastWill>,
}

impl Credentials {
    /// As an SDK would: session kept, token for an hour.
    pub(crate) fn new(connection_string: &str) -> Self {
        let connection = parse(connection_string);
        let DeviceAuth::Key(key) = &connection.auth else {
            panic!("a key")
        };
        Self::with_token(&connection, key, SignedDuration::from_hours(1))
    }

    /// With a token that ends so long from now.
    pub(crate) fn with_token(
        connection: &DeviceConnection,
        key: &SharedKey,
        life: SignedDuration,
    ) -> Self {
        let DeviceConnection { host, device, .. } = connection;
        let scope = format!("{host}/devices/{device}");
        let token = SasToken::sign(&scope, key, None, Timestamp::now() + life);
        Self {
            client_id: device.to_string(),
            username: format!("{host}/{device}/?api-version=2021-04-12"),
            password: token.to_string(),
            clean_session: false,
            keep_alive: 60,
            will: None,
        }
    }

    pub(crate) fn clean(self) -> Self {
        Self {
            clean_session: true,
            ..self
        }
    }
}

pub(crate) fn parse(connection_string: &str) -> DeviceConnection {
    match connection_string.parse().unwrap() {
        ConnectionString::Device(connection) => connection,
        ConnectionString::Service(_) => panic!("a device's connection string"),
    }
}

/// A TLS stream to the emulator's MQTT port.
pub(crate) async fn dial(emulator: &Emulator) -> TlsStream<TcpStream> {
    dial_as(emulator, "localhost", rustls::DEFAULT_VERSIONS).await
}

/// The same, expecting a certificate for `name` and speaking only these versions of TLS.
pub(crate) async fn dial_as(
    emulator: &Emulator,
    name: &'static str,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsStream<TcpStream> {
    let config = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots(emulator))
        .with_no_client_auth();
    dial_with(emulator.mqtt_port(), name, config).await
}

/// A TLS stream to the emulator's HTTPS port.
pub(crate) async fn dial_https(emulator: &Emulator) -> TlsStream<TcpStream> {
    let config = ClientConfig::builder()
        .with_root_certificates(roots(emulator))
        .with_no_client_auth();
    dial_with(emulator.https_port(), "localhost", config).await
}

/// What a client trusts that was pointed at the emulator's certificate.
pub(crate) fn roots(emulator: &Emulator) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(emulator.ca_pem().as_bytes());
    roots.add(authority.unwrap()).unwrap();
    roots
}

pub(crate) async fn dial_with(
    port: u16,
    name: &'static str,
    config: ClientConfig,
) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
        .unwrap()
}

/// What a device's packets travel in.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connected device.
pub(crate) struct Device {
    packets: Framed<Box<dyn ByteStream>, Codec>,
    last_packet_id: u16,
    last_rid: u32,
    pub(crate) session_present: bool,
}

impl Device {
    /// Connects a device with a kept session, registering it when needed.
    pub(crate) async fn connect(emulator: &Emulator, id: &str) -> Self {
        Self::connect_with(emulator, &Credentials::new(&emulator.device(id)))
            .await
            .unwrap()
    }

    /// Connects with these credentials, or returns the CONNACK's code.
    pub(crate) async fn connect_with(
        emulator: &Emulator,
        credentials: &Credentials,
    ) -> Result<Self, ConnectReturnCode> {
        Self::connect_over(Box::new(dial(emulator).await), credentials).await
    }

    /// The same over a stream that the test has opened.
    pub(crate) async fn connect_over(
        stream: Box<dyn ByteStream>,
        credentials: &Credentials,
    ) -> Result<Self, ConnectReturnCode> {
        let codec = Codec {
            max_incoming_size: 300_000,
            max_outgoing_size: 300_000,
        };
        let mut packets = Framed::new(stream, codec);
        let mut connect = Connect::new(&credentials.client_id);
        connect.set_login(&credentials.username, &credentials.password);
        connect.clean_session = credentials.clean_session;
        connect.keep_alive = credentials.keep_alive;
        connect.last_will.clone_from(&credentials.will);
        packets.send(Packet::Connect(connect)).await.unwrap();
        let mut device = Self {
            packets,
            last_packet_id: 0,
            last_rid: 0,
            session_present: false,
        };
        match device.next().await {
            Some(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success => {
                device.session_present = ack.session_present;
                Ok(device)
            }
            Some(Packet::ConnAck(ack)) => Err(ack.code),
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    /// The next packet; `None` when the hub closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        let next = tokio::time::timeout(DEADLINE, self.packets.next()).await;
        // A socket closed without TLS's goodbye reads as an error.
        next.expect("a packet in time").and_then(Result::ok)
    }

    /// Waits until the hub closes the connection, and fails if it says anything before.
    pub(crate) async fn closed(mut self) {
        let packet = self.next().await;
        assert_eq!(packet, None, "expected the end of the connection");
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        self.packets.send(packet).await.unwrap();
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) -> SubscribeReasonCode {
        self.subscribe_with(filter, QoS::AtLeastOnce).await
    }

    pub(crate) async fn subscribe_with(&mut self, filter: &str, qos: QoS) -> SubscribeReasonCode {
        let mut subscribe = Subscribe::new(filter, qos);
        self.last_packet_id += 1;
        subscribe.pkid = self.last_packet_id;
        self.send(Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(Packet::SubAck(ack)) => {
                assert_eq!(ack.pkid, self.last_packet_id);
                ack.return_codes[0]
            }
            other => panic!("expected SUBACK, got {other:?}"),
        }
    }

    /// Publishes with QoS 0.
    pub(crate) async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.send(Packet::Publish(Publish::new(
            topic,
            QoS::AtMostOnce,
            payload,
        )))
        .await;
    }

    /// Publishes with QoS 1 and returns the packet id; the PUBACK is for the test to await.
    pub(crate) async fn publish_qos1(&mut self, topic: &str, payload: impl Into<Vec<u8>>) -> u16 {
        self.last_packet_id += 1;
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.pkid = self.last_packet_id;
        self.send(Packet::Publish(publish)).await;
        self.last_packet_id
    }

    /// Awaits the acknowledgement of a QoS 1 message.
    pub(crate) async fn acknowledged(&mut self, packet_id: u16) {
        assert_eq!(
            self.next().await,
            Some(Packet::PubAck(PubAck::new(packet_id)))
        );
    }

    /// The next message from the hub.
    pub(crate) async fn message(&mut self) -> (HubTopic, Vec<u8>) {
        match self.next().await {
            Some(Packet::Publish(publish)) => {
                assert_eq!(publish.qos, QoS::AtMostOnce);
                (publish.topic.parse().unwrap(), publish.payload.to_vec())
            }
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// The next message, which must be a method; returns its name, request id and payload.
    pub(crate) async fn method(&mut self) -> (String, String, Value) {
        match self.message().await {
            (HubTopic::Method { name, rid }, payload) => {
                let payload = serde_json::from_slice(&payload).unwrap();
                (name.to_string(), rid.to_string(), payload)
            }
            other => panic!("expected a method, got {other:?}"),
        }
    }

    pub(crate) async fn answer(&mut self, rid: &str, status: i32, payload: &str) {
        self.publish(
            &format!("$iothub/methods/res/{status}/?$rid={rid}"),
            payload,
        )
        .await;
    }

    /// The twin as the device sees it.
    pub(crate) async fn twin(&mut self) -> Value {
        self.last_rid += 1;
        let rid = self.last_rid.to_string();
        self.publish(&format!("$iothub/twin/GET/?$rid={rid}"), " ")
            .await;
        let (status, version, body) = self.twin_answer(&rid).await;
        assert_eq!((status, version), (200, None));
        body
    }

    /// Reports a patch; returns status, version and the body of an error.
    pub(crate) async fn report(&mut self, patch: &str) -> (u16, Option<u64>, Value) {
        self.report_if(patch, None).await
    }

    pub(crate) async fn report_if(
        &mut self,
        patch: &str,
        version: Option<u64>,
    ) -> (u16, Option<u64>, Value) {
        self.last_rid += 1;
        let rid = self.last_rid.to_string();
        let version = version
            .map(|version| format!("&$version={version}"))
            .unwrap_or_default();
        let topic = format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}{version}");
        self.publish(&topic, patch).await;
        self.twin_answer(&rid).await
    }

    async fn twin_answer(&mut self, expected_rid: &str) -> (u16, Option<u64>, Value) {
        match self.message().await {
            (
                HubTopic::TwinResponse {
                    status,
                    rid,
                    version,
                },
                body,
            ) => {
                assert_eq!(rid.as_str(), expected_rid);
                let body = if body.is_empty() {
                    Value::Null
                } else {
                    serde_json::from_slice(&body).unwrap()
                };
                (status, version, body)
            }
            other => panic!("expected a twin answer, got {other:?}"),
        }
    }
}
