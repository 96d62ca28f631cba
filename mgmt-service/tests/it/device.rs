//! A device that speaks raw MQTT, so that a test decides about every answer and report.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{SinkExt as _, StreamExt as _};
use hub_emulator::Emulator;
use iot_hub::{
    identity::{ConnectionString, DeviceAuth},
    reboot::{
        Acceptance, AttemptReport, Capabilities, Evidence, Failure, Grade, Report, RequestId, State,
    },
    sas::SasToken,
    topic::HubTopic,
};
use jiff::{SignedDuration, Timestamp};
use rumqttc::mqttbytes::{
    QoS,
    v4::{Codec, Connect, Packet, Publish, Subscribe},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::codec::Framed;

use crate::world::DEADLINE;

pub(crate) struct Device {
    packets: Framed<TlsStream<TcpStream>, Codec>,
    rid: u32,
    seq: u64,
    /// It says that it answers `rebootWatch`.
    watch: bool,
}

/// A method that the hub delivered.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) payload: Value,
    rid: String,
}

impl Device {
    /// Connects a device that has reported nothing yet and listens for methods.
    pub(crate) async fn plain(emulator: &Emulator, id: &str) -> Self {
        let ConnectionString::Device(connection) = emulator.device(id).parse().unwrap() else {
            panic!("a device's connection string");
        };
        let DeviceAuth::Key(key) = &connection.auth else {
            panic!("a key");
        };
        let expiry = Timestamp::now() + SignedDuration::from_hours(1);
        let token = SasToken::sign(&connection.scope(), key, None, expiry);
        let codec = Codec {
            max_incoming_size: 300_000,
            max_outgoing_size: 300_000,
        };
        let mut device = Self {
            packets: Framed::new(dial(emulator).await, codec),
            rid: 0,
            seq: 0,
            watch: false,
        };
        let mut connect = Connect::new(connection.client_id());
        let user = connection.mqtt_user("2021-04-12").to_string();
        connect.set_login(user, token.to_string());
        device.send(Packet::Connect(connect)).await;
        assert!(matches!(device.next().await, Packet::ConnAck(_)));
        for (pkid, filter) in [(1, "$iothub/methods/POST/#"), (2, "$iothub/twin/res/#")] {
            let mut subscribe = Subscribe::new(filter, QoS::AtMostOnce);
            subscribe.pkid = pkid;
            device.send(Packet::Subscribe(subscribe)).await;
            assert!(matches!(device.next().await, Packet::SubAck(_)));
        }
        device
    }

    /// Connects a device of our gateway, which reports what it can do.
    pub(crate) async fn native(emulator: &Emulator, id: &str) -> Self {
        let mut device = Self::plain(emulator, id).await;
        device.report_attempt(None).await;
        device
    }

    /// Connects a device of our gateway that answers `rebootWatch`.
    pub(crate) async fn watchable(emulator: &Emulator, id: &str) -> Self {
        let mut device = Self::plain(emulator, id).await;
        device.watch = true;
        device.report_attempt(None).await;
        device
    }

    /// Waits for a method.
    pub(crate) async fn called(&mut self) -> Call {
        let (topic, payload) = self.message().await;
        let HubTopic::Method { name, rid } = topic else {
            panic!("expected a method, got {topic:?}");
        };
        Call {
            name: name.to_string(),
            payload: serde_json::from_slice(&payload).unwrap(),
            rid: rid.to_string(),
        }
    }

    pub(crate) async fn answer(&mut self, call: &Call, status: i32, payload: &Value) {
        let topic = format!("$iothub/methods/res/{status}/?$rid={}", call.rid);
        self.publish(&topic, payload.to_string()).await;
    }

    /// Accepts a request as our gateway does.
    pub(crate) async fn accept(&mut self, call: &Call, state: State) -> RequestId {
        let request_id = call.id();
        let acceptance = Acceptance {
            request_id,
            state,
            state_time: now(),
            expected_duration_sec: Some(1),
            boot_id: Some("b1".into()),
            duplicate: false,
        };
        self.answer(call, 202, &acceptance.to_payload()).await;
        request_id
    }

    /// The number of the newest report.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Reports properties, and waits until the hub has them.
    pub(crate) async fn report(&mut self, patch: &Value) {
        self.rid += 1;
        let topic = format!("$iothub/twin/PATCH/properties/reported/?$rid={}", self.rid);
        self.publish(&topic, patch.to_string()).await;
        let (topic, body) = self.message().await;
        let HubTopic::TwinResponse { status, .. } = topic else {
            panic!("expected a twin answer, got {topic:?}");
        };
        assert_eq!(status, 204, "{}", String::from_utf8_lossy(&body));
    }

    /// Reports an attempt as our gateway does.
    pub(crate) async fn report_attempt(&mut self, attempt: Option<AttemptReport>) {
        self.seq += 1;
        let report = Report {
            seq: self.seq,
            boot_id: Some("b1".into()),
            attempt,
            capabilities: Some(Capabilities {
                modes: BTreeMap::from([("graceful".into(), true), ("forced".into(), true)]),
                cancel: true,
                watch: self.watch,
                best_grade: Grade::Caused,
                required_grade: Grade::BootChanged,
                typical_duration_sec: None,
            }),
            ..Report::default()
        };
        let gateway = json!({ "id": "edge-1", "version": "0.1.0" });
        self.report(&json!({ "iothubDM": { "reboot": report.to_value(), "gateway": gateway } }))
            .await;
    }

    /// Reports success with evidence of a grade, and every stage on the way.
    pub(crate) async fn succeed(&mut self, id: RequestId, grade: Grade) {
        let mut report = attempt(id, State::Succeeded);
        let stages = [
            State::Accepted,
            State::Rebooting,
            State::Down,
            State::Verifying,
        ];
        for (index, state) in (0..).zip(stages) {
            let before = SignedDuration::from_millis(40 - 10 * index);
            report.timeline.insert(state, now() - before);
        }
        report.evidence = Some(Evidence {
            grade,
            method: "mqtt-birth".into(),
            before: "boot b1".into(),
            after: "boot b2".into(),
        });
        self.report_attempt(Some(report)).await;
    }

    /// Reports a failure.
    pub(crate) async fn fail(&mut self, id: RequestId, failure: Failure) {
        let mut report = attempt(id, State::Failed);
        report.error = Some(failure);
        self.report_attempt(Some(report)).await;
    }

    async fn message(&mut self) -> (HubTopic, Vec<u8>) {
        let packet = self.next().await;
        let Packet::Publish(publish) = packet else {
            panic!("expected a message, got {packet:?}");
        };
        (publish.topic.parse().unwrap(), publish.payload.to_vec())
    }

    async fn publish(&mut self, topic: &str, payload: String) {
        let publish = Publish::new(topic, QoS::AtMostOnce, payload);
        self.send(Packet::Publish(publish)).await;
    }

    async fn send(&mut self, packet: Packet) {
        self.packets.send(packet).await.unwrap();
    }

    async fn next(&mut self) -> Packet {
        let next = timeout(DEADLINE, self.packets.next()).await;
        next.expect("a packet in time")
            .expect("the connection lives")
            .unwrap()
    }
}

impl Call {
    /// The request's id.
    pub(crate) fn id(&self) -> RequestId {
        self.payload["requestId"].as_str().unwrap().parse().unwrap()
    }
}

/// An attempt's report that says no more than its state.
pub(crate) fn attempt(request_id: RequestId, state: State) -> AttemptReport {
    AttemptReport {
        timeline: BTreeMap::new(),
        ..AttemptReport::begun(request_id, state, now())
    }
}

/// The present time as a gateway writes it.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap()
}

async fn dial(emulator: &Emulator) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(emulator.ca_pem().as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(("127.0.0.1", emulator.mqtt_port()))
        .await
        .unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, socket).await.unwrap()
}
