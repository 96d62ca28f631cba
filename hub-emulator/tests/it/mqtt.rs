//! Connections: who may, sessions, take-over, and what ends them.

use std::time::Duration;

use hub_emulator::{Emulator, EmulatorConfig};
use iot_hub::identity::{ConnectionString, DeviceAuth};
use iot_hub::sas::{SasToken, SharedKey};
use jiff::{SignedDuration, Timestamp};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, LastWill, Packet, SubscribeReasonCode, Unsubscribe,
};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::device::{
    Credentials, DEADLINE, DESIRED, Device, METHODS, TWIN_ANSWERS, dial, dial_as, dial_with, parse,
    roots,
};
use crate::service::Service;

async fn emulator() -> Emulator {
    Emulator::start(EmulatorConfig::default()).await.unwrap()
}

async fn refusal(emulator: &Emulator, credentials: &Credentials) -> Option<ConnectReturnCode> {
    Device::connect_with(emulator, credentials).await.err()
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_under_every_name() {
    let host_name = "hub.example".parse().unwrap();
    let config = EmulatorConfig {
        host_name,
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    for version in [&TLS12, &TLS13] {
        for name in ["hub.example", "localhost", "127.0.0.1", "::1"] {
            let stream = dial_as(&emulator, name, &[version]).await;
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        }
    }
    // The server counts a handshake when its own side is done.
    emulator
        .counted(|counters| counters.tls_handshakes.total == 8)
        .await;
    assert_eq!(emulator.counters().tls_resumed.total, 0);
}

#[tokio::test]
async fn a_client_that_comes_again_resumes_its_session_and_that_is_counted() {
    let emulator = emulator().await;
    let config = ClientConfig::builder_with_protocol_versions(&[&TLS12])
        .with_root_certificates(roots(&emulator))
        .with_no_client_auth();
    for resumed in 0..3 {
        drop(dial_with(emulator.mqtt_port(), "localhost", config.clone()).await);
        emulator
            .counted(|counters| counters.tls_resumed.total == resumed)
            .await;
    }
}

#[tokio::test]
async fn only_a_token_of_the_devices_own_key_opens_the_door() {
    let emulator = emulator().await;
    let connection = parse(&emulator.device("d1"));
    let DeviceAuth::Key(key) = &connection.auth else {
        panic!("a key")
    };
    let hour = SignedDuration::from_hours(1);
    let good = Credentials::with_token(&connection, key, hour);
    assert_eq!(refusal(&emulator, &good).await, None);

    let stranger = SharedKey::from_bytes(vec![7; 32]).unwrap();
    let wrong_key = Credentials::with_token(&connection, &stranger, hour);
    // A hub forgives a clock that is five minutes late, and not six.
    let late = Credentials::with_token(&connection, key, SignedDuration::from_mins(-4));
    let expired = Credentials::with_token(&connection, key, SignedDuration::from_mins(-6));
    let mut other_device = parse(&emulator.device("d2"));
    other_device.device = "d1".parse().unwrap();
    let DeviceAuth::Key(other_key) = &other_device.auth else {
        panic!("a key")
    };
    let others_key = Credentials::with_token(&other_device, other_key, hour);
    let unknown = Credentials {
        client_id: "nobody".to_owned(),
        username: good.username.replace("d1", "nobody"),
        ..good.clone()
    };
    let other_scope = Credentials {
        client_id: "d2".to_owned(),
        username: good.username.replace("d1", "d2"),
        ..good.clone()
    };
    let neighbour = SasToken::sign("localhost/devices/d2", key, None, Timestamp::now() + hour);
    let neighbours_scope = Credentials {
        password: neighbour.to_string(),
        ..good.clone()
    };
    let other_client = Credentials {
        client_id: "D1".to_owned(),
        ..good.clone()
    };
    let no_password = Credentials {
        password: String::new(),
        ..good.clone()
    };
    let garbage = Credentials {
        password: "SharedAccessSignature sr".to_owned(),
        ..good.clone()
    };

    assert_eq!(refusal(&emulator, &late).await, None);
    for refused in [
        wrong_key,
        expired,
        others_key,
        unknown,
        other_scope,
        neighbours_scope,
        other_client,
        no_password,
        garbage,
    ] {
        let code = refusal(&emulator, &refused).await;
        assert_eq!(code, Some(ConnectReturnCode::NotAuthorized), "{refused:?}");
    }
    let counters = emulator.counters();
    assert_eq!(
        (counters.connects.total, counters.connects_accepted.total),
        (11, 2)
    );
}

#[tokio::test]
async fn a_policy_that_allows_devices_opens_every_devices_door() {
    let emulator = emulator().await;
    let good = Credentials::new(&emulator.device("d1"));
    let with_policy = |name: &str, scope: &str| {
        let text = emulator.policy_connection_string(name).unwrap();
        let ConnectionString::Service(policy) = text.parse().unwrap() else {
            panic!("a policy")
        };
        let expiry = Timestamp::now() + SignedDuration::from_hours(1);
        let token = SasToken::sign(scope, &policy.key, Some(name), expiry);
        Credentials {
            password: token.to_string(),
            ..good.clone()
        }
    };
    for (policy, scope, allowed) in [
        ("device", "localhost/devices/d1", true),
        ("device", "localhost/devices", true),
        ("iothubowner", "localhost", true),
        ("device", "localhost/devices/d2", false),
        ("service", "localhost/devices/d1", false),
    ] {
        let refused = refusal(&emulator, &with_policy(policy, scope)).await;
        assert_eq!(refused.is_none(), allowed, "{policy} for {scope}");
    }
}

#[tokio::test]
async fn a_user_name_names_this_hub_and_may_name_a_model() {
    let emulator = emulator().await;
    let good = Credentials::new(&emulator.device("d1"));
    let other_hub = Credentials {
        username: good.username.replace("localhost", "another.hub.example"),
        ..good.clone()
    };
    assert_eq!(
        refusal(&emulator, &other_hub).await,
        Some(ConnectReturnCode::NotAuthorized)
    );
    assert_eq!(emulator.twin("d1")["modelId"], "");
    let with_model = Credentials {
        username: format!("{}&model-id=dtmi%3Acom%3Aexample%3APump%3B1", good.username),
        ..good
    };
    let connected = Device::connect_with(&emulator, &with_model).await;
    assert!(connected.is_ok());
    assert_eq!(emulator.twin("d1")["modelId"], "dtmi:com:example:Pump;1");
}

#[tokio::test]
async fn bad_names_are_told_apart_from_bad_credentials() {
    let emulator = emulator().await;
    let good = Credentials::new(&emulator.device("d1"));
    let bad_name = Credentials {
        username: "no slash".to_owned(),
        ..good.clone()
    };
    let no_client = Credentials {
        client_id: String::new(),
        ..good.clean()
    };
    let code = refusal(&emulator, &bad_name).await;
    assert_eq!(code, Some(ConnectReturnCode::BadUserNamePassword));
    assert_eq!(
        refusal(&emulator, &no_client).await,
        Some(ConnectReturnCode::BadClientId)
    );
}

#[tokio::test]
async fn subscriptions_outlive_the_connection_of_a_kept_session() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    assert!(!device.session_present);
    device.subscribe(METHODS).await;
    device.subscribe(TWIN_ANSWERS).await;
    device.send(Packet::Disconnect).await;
    device.closed().await;

    let mut device = Device::connect(&emulator, "d1").await;
    assert!(device.session_present);
    assert_eq!(device.twin().await["reported"], json!({"$version": 1}));
    let (answer, ()) = tokio::join!(service.invoke("d1", "m", json!(1)), async {
        let (_, rid, _) = device.method().await;
        device.answer(&rid, 200, "").await;
    });
    assert_eq!(answer.status, 200);

    let mut unsubscribe = Unsubscribe::new(METHODS);
    unsubscribe.pkid = 9;
    device.send(Packet::Unsubscribe(unsubscribe)).await;
    assert!(matches!(device.next().await, Some(Packet::UnsubAck(ack)) if ack.pkid == 9));
    assert_eq!(service.invoke("d1", "m", json!(1)).await.status, 404);
}

#[tokio::test]
async fn a_clean_session_remembers_nothing_and_makes_the_hub_forget() {
    let emulator = emulator().await;
    let credentials = Credentials::new(&emulator.device("d1"));
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(METHODS).await;

    let mut clean = Device::connect_with(&emulator, &credentials.clone().clean())
        .await
        .unwrap();
    assert!(!clean.session_present);
    device.closed().await;
    clean.subscribe(METHODS).await;
    drop(clean);

    let device = Device::connect_with(&emulator, &credentials).await.unwrap();
    assert!(!device.session_present);
}

#[tokio::test]
async fn a_second_connection_closes_the_first() {
    let emulator = emulator().await;
    let first = Device::connect(&emulator, "d1").await;
    let mut second = Device::connect(&emulator, "d1").await;
    first.closed().await;

    // The end of the first must not count as the end of the second.
    second.subscribe(TWIN_ANSWERS).await;
    second.twin().await;
    assert!(emulator.is_connected("d1"));
}

#[tokio::test]
async fn the_hub_shows_whether_a_device_is_connected() {
    let emulator = emulator().await;
    let device = Device::connect(&emulator, "d1").await;
    assert_eq!(emulator.twin("d1")["connectionState"], "Connected");
    drop(device);
    emulator.disconnected("d1").await;
    assert_eq!(emulator.twin("d1")["connectionState"], "Disconnected");
}

#[tokio::test]
async fn only_the_hubs_own_filters_can_be_subscribed_to() {
    let emulator = emulator().await;
    let mut device = Device::connect(&emulator, "d1").await;
    for filter in [
        METHODS,
        TWIN_ANSWERS,
        DESIRED,
        "devices/d1/messages/devicebound/#",
    ] {
        let code = device.subscribe(filter).await;
        assert_eq!(
            code,
            SubscribeReasonCode::Success(QoS::AtLeastOnce),
            "{filter}"
        );
    }
    for filter in [
        "#",
        "devices/d2/messages/devicebound/#",
        "$iothub/methods/POST/reboot/#",
    ] {
        let code = device.subscribe(filter).await;
        assert_eq!(code, SubscribeReasonCode::Failure, "{filter}");
    }
}

#[tokio::test]
async fn telemetry_is_acknowledged_and_kept_for_tests() {
    let emulator = emulator().await;
    let mut device = Device::connect(&emulator, "d1").await;
    let topic = "devices/d1/messages/events/%24.ct=application%2Fjson&alert=a%26b/";
    let packet_id = device.publish_qos1(topic, r#"{"t":1}"#).await;
    device.acknowledged(packet_id).await;

    let telemetry = emulator.telemetry();
    assert_eq!(telemetry.len(), 1);
    assert_eq!(telemetry[0].device.to_string(), "d1");
    assert_eq!(
        telemetry[0].properties.get("$.ct"),
        Some("application/json")
    );
    assert_eq!(telemetry[0].properties.get("alert"), Some("a&b"));
    assert_eq!(&telemetry[0].payload[..], br#"{"t":1}"#);
    assert_eq!(emulator.counters().telemetry.total, 1);
}

#[tokio::test]
async fn a_last_will_is_delivered_unless_the_device_says_goodbye() {
    let emulator = emulator().await;
    let credentials = Credentials::new(&emulator.device("d1"));
    let with_will = |topic: &str| {
        let will = LastWill::new(topic, "gone", QoS::AtLeastOnce, false);
        Credentials {
            will: Some(will),
            ..credentials.clone()
        }
    };
    let own = with_will("devices/d1/messages/events/a=b");
    let others = with_will("devices/d2/messages/events/");

    let mut polite = Device::connect_with(&emulator, &own).await.unwrap();
    polite.send(Packet::Disconnect).await;
    polite.closed().await;
    for credentials in [others, own] {
        drop(Device::connect_with(&emulator, &credentials).await.unwrap());
        emulator.disconnected("d1").await;
    }
    let telemetry = emulator.telemetry();
    assert_eq!(telemetry.len(), 1);
    assert_eq!(
        telemetry[0].properties.get("iothub-MessageType"),
        Some("Will")
    );
    assert_eq!(telemetry[0].properties.get("a"), Some("b"));
    assert_eq!(&telemetry[0].payload[..], b"gone");
}

#[tokio::test]
async fn what_the_protocol_forbids_ends_the_connection() {
    let emulator = emulator().await;
    let topics = [
        "devices/d2/messages/events/",
        "devices/d1/nothing",
        "$iothub/twin/GET/",
        "$iothub/twin/PATCH/properties/reported/?$version=1",
        "hello",
    ];
    for topic in topics {
        let mut device = Device::connect(&emulator, "d1").await;
        device.publish(topic, "").await;
        device.closed().await;
    }

    let mut device = Device::connect(&emulator, "d1").await;
    let too_large = vec![b'x'; 258 * 1024];
    device
        .publish("devices/d1/messages/events/", too_large)
        .await;
    device.closed().await;

    let mut device = Device::connect(&emulator, "d1").await;
    device.send(Packet::Connect(Connect::new("d1"))).await;
    device.closed().await;

    let mut device = Device::connect(&emulator, "d1").await;
    let mut exactly_once =
        rumqttc::mqttbytes::v4::Publish::new("devices/d1/messages/events/", QoS::ExactlyOnce, "");
    exactly_once.pkid = 1;
    device.send(Packet::Publish(exactly_once)).await;
    device.closed().await;
}

#[tokio::test]
async fn silence_beyond_the_keep_alive_ends_the_connection() {
    let emulator = emulator().await;
    let credentials = Credentials {
        keep_alive: 1,
        ..Credentials::new(&emulator.device("d1"))
    };
    let start = std::time::Instant::now();
    let mut device = Device::connect_with(&emulator, &credentials).await.unwrap();
    device.send(Packet::PingReq).await;
    assert_eq!(device.next().await, Some(Packet::PingResp));
    device.closed().await;
    assert!(start.elapsed() >= Duration::from_millis(1500));
}

#[tokio::test]
async fn a_connection_ends_when_its_token_does() {
    let config = EmulatorConfig {
        token_grace: Duration::ZERO,
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let connection = parse(&emulator.device("d1"));
    let DeviceAuth::Key(key) = &connection.auth else {
        panic!("a key")
    };
    let short = Credentials::with_token(&connection, key, SignedDuration::from_secs(2));
    let device = Device::connect_with(&emulator, &short).await.unwrap();
    device.closed().await;
    // The clock's tolerance lets the same token in again, and its end lets it out at once.
    Device::connect_with(&emulator, &short)
        .await
        .unwrap()
        .closed()
        .await;
}

#[tokio::test]
async fn disabling_and_deleting_a_device_ends_its_connection() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let credentials = Credentials::new(&emulator.device("d1"));

    let device = Device::connect(&emulator, "d1").await;
    let disabled = json!({"deviceId": "d1", "status": "disabled"});
    let any = [("If-Match", "\"*\"")];
    let answer = service
        .call(reqwest::Method::PUT, "/devices/d1", Some(&disabled), &any)
        .await;
    assert_eq!(answer.json()["status"], "disabled");
    device.closed().await;
    let code = refusal(&emulator, &credentials).await;
    assert_eq!(code, Some(ConnectReturnCode::NotAuthorized));

    let enabled = json!({"deviceId": "d1", "status": "enabled"});
    service
        .call(reqwest::Method::PUT, "/devices/d1", Some(&enabled), &any)
        .await;
    let device = Device::connect_with(&emulator, &credentials).await.unwrap();
    let answer = service
        .call(reqwest::Method::DELETE, "/devices/d1", None, &any)
        .await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    device.closed().await;
    assert!(emulator.twin("d1").is_null());
}

#[tokio::test]
async fn malformed_bytes_end_their_connection_and_nothing_else() {
    let emulator = emulator().await;
    let mut witness = Device::connect(&emulator, "witness").await;
    witness.subscribe(TWIN_ANSWERS).await;

    let samples: [&[u8]; 6] = [
        b"GET /devices?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
        &[0xff; 64],
        // A CONNECT that promises more than a hub takes.
        &[0x10, 0xff, 0xff, 0xff, 0x7f],
        // A remaining length that never ends.
        &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff],
        // A CONNECT of nothing, and a PUBLISH before any CONNECT.
        &[0x10, 0x00],
        &[0x30, 0x03, 0x00, 0x01, b'a'],
    ];
    for bytes in samples {
        let mut stream = dial(&emulator).await;
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest));
        // Closed with or without TLS's goodbye, and without an answer.
        let _ = read.await.expect("the hub closes the connection");
        assert_eq!(rest, b"", "{bytes:x?}");
    }
    // Not even TLS.
    let address = ("127.0.0.1", emulator.mqtt_port());
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    plain.write_all(&[0x10, 0x00, 0x00, 0x04]).await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, plain.read_to_end(&mut rest))
        .await
        .unwrap();

    witness.twin().await;
}

#[tokio::test]
async fn an_old_protocol_is_refused_by_name() {
    let emulator = emulator().await;
    let mut stream = dial(&emulator).await;
    // MQTT, level 3, then flags, keep-alive and client id.
    let connect = [
        0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 3, 2, 0, 60, 0, 1, b'a',
    ];
    stream.write_all(&connect).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer));
    let _ = read.await.expect("the hub closes the connection");
    assert_eq!(answer, [0x20, 2, 0, 1]);
}
