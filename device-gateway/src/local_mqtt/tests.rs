//! The endpoint over loopback, with an MQTT client that is not ours.

use std::mem;

use proptest::{prelude::*, test_runner::TestRunner};
use rumqttc::{ConnectReturnCode, MqttOptions, Packet, QoS, SubscribeReasonCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinHandle, JoinSet},
};

use super::{
    strangers::STRANGERS,
    test_device::{Heard, TestDevice, options, soon},
    *,
};

/// A CONNECT of device `d1` with that keep-alive in seconds.
fn sign_in(keep_alive: u8) -> Vec<u8> {
    [
        b"\x10\x1b\x00\x04MQTT\x04\xc2\x00",
        &[keep_alive][..],
        b"\x00\x02d1\x00\x02d1\x00\x07secret1",
    ]
    .concat()
}

struct Server {
    address: SocketAddr,
    d1: LocalDevice,
    events: Heard,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let accounts = [("d1", "secret1"), ("d2", "secret2")]
            .map(|(device, password)| (device.to_owned(), password.into()));
        let endpoint = LocalMqtt::bind(([127, 0, 0, 1], 0).into(), accounts)
            .await
            .unwrap();
        let d1 = endpoint.device("d1").unwrap();
        let shutdown = CancellationToken::new();
        Self {
            address: endpoint.local_addr(),
            events: Heard::of(&d1),
            d1,
            task: tokio::spawn(endpoint.serve(shutdown.clone())),
            shutdown,
        }
    }

    async fn d1(&self) -> TestDevice {
        TestDevice::connect(self.address, "d1", "secret1").await
    }

    async fn event(&mut self) -> Event {
        self.events.next().await
    }

    #[track_caller]
    fn no_event(&mut self) {
        assert_eq!(self.events.now(), None);
    }

    async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap();
    }
}

fn message(name: &str, payload: &str) -> Event {
    Event::Message {
        name: name.to_owned(),
        payload: payload.to_owned().into(),
    }
}

#[tokio::test]
async fn a_device_comes_speaks_listens_and_goes() {
    let mut server = Server::start().await;
    assert_eq!(
        server.d1.publish("cmd/reboot", "x"),
        Err(PublishError::NotConnected)
    );
    let mut device = server.d1().await;
    assert_eq!(server.event().await, Event::Connected);
    assert_eq!(
        server.d1.publish("cmd/reboot", "x"),
        Err(PublishError::NotSubscribed)
    );
    let granted = device.subscribes("dm/d1/cmd/reboot").await;
    assert_eq!(granted, SubscribeReasonCode::Success(QoS::AtLeastOnce));
    server.d1.publish("cmd/reboot", "now").unwrap();
    let command = device.message().await;
    assert_eq!(command.topic, "dm/d1/cmd/reboot");
    assert_eq!(command.payload, "now");
    assert_eq!(command.qos, QoS::AtLeastOnce);
    assert!(!command.retain);

    device.says("ack", "yes").await;
    assert!(matches!(device.packet().await, Packet::PubAck(_)));
    assert_eq!(server.event().await, message("ack", "yes"));
    device.disconnects().await;
    assert_eq!(
        server.event().await,
        Event::Disconnected,
        "and no last will"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_device_that_breaks_off_leaves_its_will() {
    let mut server = Server::start().await;
    server.d1().await.dies().await;
    assert_eq!(server.event().await, Event::Connected);
    assert_eq!(server.event().await, message("status", "offline"));
    assert_eq!(server.event().await, Event::Disconnected);
    server.stop().await;
}

#[tokio::test]
async fn a_second_connection_takes_over() {
    let mut server = Server::start().await;
    let first = server.d1().await;
    let second = server.d1().await;
    first.ends().await;
    for expected in [
        Event::Connected,
        message("status", "offline"),
        Event::Disconnected,
        Event::Connected,
    ] {
        assert_eq!(server.event().await, expected);
    }
    second.says("status", "online").await;
    assert_eq!(server.event().await, message("status", "online"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_connections_at_once_the_device_has_one() {
    const MANY: usize = 16;
    let mut server = Server::start().await;
    for _ in 0..20 {
        let goodbye = CancellationToken::new();
        let mut connections = JoinSet::new();
        for _ in 0..MANY {
            let (address, goodbye) = (server.address, goodbye.clone());
            connections.spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(&sign_in(60)).await.unwrap();
                // One that is taken over at once may not even see its CONNACK.
                let mut answer = Vec::new();
                tokio::select! {
                    _ = stream.read_to_end(&mut answer) => {}
                    () = goodbye.cancelled() => {}
                }
            });
        }
        for _ in 1..MANY {
            soon(connections.join_next()).await.unwrap().unwrap();
        }
        assert_eq!(connections.len(), 1);
        goodbye.cancel();
        soon(connections.join_next()).await.unwrap().unwrap();

        let last = server.d1().await;
        last.says("marker", "").await;
        let mut is_connected = false;
        loop {
            match server.event().await {
                Event::Connected => assert!(!mem::replace(&mut is_connected, true)),
                Event::Disconnected => assert!(mem::replace(&mut is_connected, false)),
                Event::Message { .. } | Event::Elsewhere { .. } | Event::Unheard => break,
            }
        }
        assert!(is_connected);
        last.disconnects().await;
        assert_eq!(server.event().await, Event::Disconnected);
    }
    server.stop().await;
}

#[tokio::test]
async fn what_was_retained_is_told_to_the_device_and_never_again_to_the_driver() {
    let mut server = Server::start().await;
    let device = server.d1().await;
    let topic = "dm/d1/birth";
    device
        .publishes(topic, QoS::AtLeastOnce, true, "old news")
        .await;
    assert_eq!(server.event().await, Event::Connected);
    assert_eq!(server.event().await, message("birth", "old news"));
    device.disconnects().await;
    assert_eq!(server.event().await, Event::Disconnected);

    let mut device = server.d1().await;
    device.subscribes("dm/d1/#").await;
    let retained = device.message().await;
    assert_eq!(retained.payload, "old news");
    assert!(retained.retain);
    assert_eq!(server.event().await, Event::Connected);
    device.says("status", "online").await;
    assert_eq!(server.event().await, message("status", "online"));
    server.stop().await;
}

#[tokio::test]
async fn a_message_for_the_hub_is_acknowledged_once_it_is_kept_and_not_before() {
    let mut server = Server::start().await;
    let mut device = server.d1().await;
    assert_eq!(server.event().await, Event::Connected);
    device.says("telemetry", "nobody is there to keep it").await;
    let told = message("telemetry", "nobody is there to keep it");
    assert_eq!(server.event().await, told);

    let mut hub = server.d1.bridge();
    for kept in [Some(false), None, Some(true)] {
        device.says("telemetry/a=b", "x").await;
        let inbound = soon(hub.recv()).await.unwrap();
        assert_eq!(inbound.name, "telemetry/a=b");
        match kept {
            Some(kept) => inbound.answer(kept),
            None => drop(inbound),
        }
    }
    // The first acknowledgement of all is that of the one message that is kept.
    let packet = device.packet().await;
    assert!(
        matches!(&packet, Packet::PubAck(ack) if ack.pkid == 4),
        "{packet:?}"
    );
    server.stop().await;
}

/// What a device that comes anew is sent of what is kept below `twin/`.
async fn kept(server: &Server) -> Vec<String> {
    let mut device = server.d1().await;
    device.subscribes("dm/d1/twin/#").await;
    server.d1.publish("twin/end", "").unwrap();
    let mut kept = Vec::new();
    loop {
        let message = device.message().await;
        if message.topic == "dm/d1/twin/end" {
            return kept;
        }
        assert!(message.retain && message.topic == "dm/d1/twin/desired");
        kept.push(String::from_utf8(message.payload.to_vec()).unwrap());
    }
}

#[tokio::test]
async fn what_the_gateway_retains_is_not_replaced_by_the_device() {
    const OURS: &str = "dm/d1/twin/desired";
    const QOS: QoS = QoS::AtLeastOnce;
    let server = Server::start().await;
    for payload in ["before", "theirs", ""] {
        let mut device = server.d1().await;
        device.publishes(OURS, QOS, true, payload).await;
        assert!(matches!(device.packet().await, Packet::PubAck(_)));
        if payload == "before" {
            assert_eq!(kept(&server).await, ["before"]);
            server.d1.retain("twin/desired", "ours");
        }
        assert_eq!(kept(&server).await, ["ours"], "{payload:?}");
    }

    let mut willing = options(server.address, "d1", "d1", "secret1");
    willing.set_last_will(rumqttc::LastWill::new(OURS, "will", QOS, true));
    let Ok(device) = TestDevice::try_connect(willing).await else {
        panic!("refused");
    };
    device.dies().await;
    assert_eq!(kept(&server).await, ["ours"], "a last will");

    let mut device = server.d1().await;
    for n in 0..100 {
        let topic = format!("dm/d1/own/{n}");
        device.publishes(&topic, QOS, true, "own").await;
        assert!(matches!(device.packet().await, Packet::PubAck(_)));
    }
    server.d1.retain("twin/desired", "newer");
    assert_eq!(kept(&server).await, ["newer"], "a crowd");
    server.stop().await;
}

#[tokio::test]
async fn sign_in_takes_the_right_name_password_and_client_id() {
    #[track_caller]
    fn check(server: &Server, id: &str, user: &str, password: &str) -> MqttOptions {
        options(server.address, id, user, password)
    }
    let mut server = Server::start().await;
    let bad = ConnectReturnCode::BadUserNamePassword;
    for (id, user, password, code) in [
        ("d1", "d1", "wrong", bad),
        ("d1", "d1", "", bad),
        ("d1", "d1", "secret11", bad),
        ("d1", "d1", "secret2", bad),
        ("d3", "d3", "secret1", bad),
        ("d1", "d2", "secret2", ConnectReturnCode::BadClientId),
    ] {
        let options = check(&server, id, user, password);
        let refused = TestDevice::try_connect(options).await.err();
        assert_eq!(refused, Some(code), "{id} {user} {password}");
    }
    let mut nameless = MqttOptions::new("d1", "127.0.0.1", server.address.port());
    nameless.set_clean_session(true);
    let refused = TestDevice::try_connect(nameless).await.err();
    assert_eq!(refused, Some(bad));

    let mut foreign_will = options(server.address, "d1", "d1", "secret1");
    let topic = "dm/d2/status";
    foreign_will.set_last_will(rumqttc::LastWill::new(topic, "x", QoS::AtMostOnce, true));
    let refused = TestDevice::try_connect(foreign_will).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized));
    server.no_event();
    server.stop().await;
}

#[tokio::test]
async fn a_device_cannot_reach_another() {
    let mut server = Server::start().await;
    let mut d2 = TestDevice::connect(server.address, "d2", "secret2").await;
    for filter in ["dm/d1/birth", "dm/+/birth", "#"] {
        let refused = d2.subscribes(filter).await;
        assert_eq!(refused, SubscribeReasonCode::Failure, "{filter}");
    }
    d2.publishes("dm/d1/birth", QoS::AtMostOnce, false, "x")
        .await;
    d2.ends().await;
    let d1 = server.d1().await;
    assert_eq!(server.event().await, Event::Connected);
    d1.disconnects().await;
    assert_eq!(server.event().await, Event::Disconnected);
    server.stop().await;
}

#[tokio::test]
async fn a_packet_that_is_too_large_ends_the_connection() {
    let server = Server::start().await;
    let device = server.d1().await;
    // The client has no such limit on what it sends.
    let large = "x".repeat(261 * 1024);
    let mut options = options(server.address, "d2", "d2", "secret2");
    options.set_max_packet_size(1 << 20, 1 << 20);
    let d2 = TestDevice::try_connect(options)
        .await
        .unwrap_or_else(|_| panic!());
    d2.says("telemetry", large).await;
    d2.ends().await;
    device.disconnects().await;
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_not_mqtt_cost_their_connection_only() {
    let mut server = Server::start().await;
    let mut device = server.d1().await;
    assert_eq!(server.event().await, Event::Connected);
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 64],
        // A CONNECT of MQTT 3.1, one with a length that never ends, and a PINGREQ before one.
        b"\x10\x12\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x04test",
        b"\x10\xff\xff\xff\xff\xff",
        b"\xc0\x00",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // It may be closed with bytes unread, which is an error to the peer.
        let _ = soon(stream.read_to_end(&mut answer)).await;
        assert!(answer.len() <= 4, "{answer:?}");
    }
    device.subscribes("dm/d1/cmd/reboot").await;
    server.d1.publish("cmd/reboot", "x").unwrap();
    assert_eq!(device.message().await.payload, "x");
    server.stop().await;
}

#[tokio::test]
async fn another_version_of_mqtt_is_refused_by_name() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mqtt_5 = b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02d1";
    stream.write_all(mqtt_5).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"\x20\x02\x00\x01");
    server.stop().await;
}

#[tokio::test]
async fn strangers_cannot_keep_devices_out() {
    let server = Server::start().await;
    let mut crowd = Vec::new();
    for _ in 0..STRANGERS * 2 {
        crowd.push(TcpStream::connect(server.address).await.unwrap());
    }
    server.d1().await.disconnects().await;
    drop(crowd);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_does_not_sign_in_ends() {
    let server = Server::start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(soon(idle.read(&mut [0])).await.unwrap(), 0);
    server.stop().await;
}

#[tokio::test]
async fn silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    let mut server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&sign_in(1)).await.unwrap();
    let begun = time::Instant::now();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"\x20\x02\x00\x00");
    assert!(begun.elapsed() >= Duration::from_millis(1500));
    assert_eq!(server.event().await, Event::Connected);
    assert_eq!(server.event().await, Event::Disconnected);
    server.stop().await;
}

#[tokio::test]
async fn an_address_in_use_and_an_id_that_is_no_topic_are_told() {
    let server = Server::start().await;
    let error = LocalMqtt::bind(server.address, []).await.unwrap_err();
    assert!(matches!(error, LocalMqttError::Bind { .. }), "{error}");
    for id in ["", "a/b", "+", "a#"] {
        let accounts = [(id.to_owned(), "x".into())];
        let error = LocalMqtt::bind(([127, 0, 0, 1], 0).into(), accounts).await;
        assert!(matches!(error, Err(LocalMqttError::DeviceId(_))), "{id}");
    }
    server.stop().await;
}

#[tokio::test]
async fn whoever_has_no_account_any_more_is_shown_out() {
    let endpoint = LocalMqtt::bind(([127, 0, 0, 1], 0).into(), [])
        .await
        .unwrap();
    let (address, accounts) = (endpoint.local_addr(), endpoint.accounts());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(endpoint.serve(shutdown.clone()));
    for id in ["d1", "d2"] {
        accounts
            .admit(id, Some("old".into()), Elsewhere::default())
            .unwrap();
    }
    let mut streams = Vec::new();
    for id in ["d1", "d2"] {
        let device = accounts.device(id).unwrap();
        let mut events = Heard::of(&device);
        streams.push((TestDevice::connect(address, id, "old").await, device));
        assert_eq!(events.next().await, Event::Connected);
        let change = if id == "d1" {
            accounts.dismiss("d1");
            "a dismissal"
        } else {
            accounts
                .admit("d2", Some("new".into()), Elsewhere::default())
                .unwrap();
            "another password"
        };
        // Its last will comes first.
        let will = events.next().await;
        assert!(matches!(will, Event::Message { .. }), "{change}: {will:?}");
        assert_eq!(events.next().await, Event::Disconnected, "{change}");
    }
    for (id, password) in [("d1", "old"), ("d2", "old")] {
        let options = options(address, id, id, password);
        let refused = TestDevice::try_connect(options).await.err();
        assert_eq!(
            refused,
            Some(ConnectReturnCode::BadUserNamePassword),
            "{id}"
        );
    }
    TestDevice::connect(address, "d2", "new").await;
    shutdown.cancel();
    soon(serving).await.unwrap();
}

#[test]
fn no_bytes_whatever_end_the_endpoint() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let prefix = prop::sample::select(vec![Vec::new(), sign_in(1)]);
    let packet = (
        prop::sample::select(vec![0x30_u8, 0x32, 0x40, 0x82, 0xa2, 0xc0, 0xe0, 0x10]),
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(head, body)| {
            let length = u8::try_from(body.len()).unwrap();
            [vec![head, length], body].concat()
        });
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec(packet, 0..10).prop_map(|packets| packets.concat()),
    ];
    TestRunner::default()
        .run(&(prefix, bytes), |(prefix, bytes)| {
            runtime.block_on(async {
                let accounts = Accounts::default();
                let device = accounts
                    .admit("d1", Some("secret1".into()), Elsewhere::default())
                    .unwrap();
                let mut strangers = Strangers::default();
                let stranger = strangers.admit();
                let (mut peer, stream) = tokio::io::duplex(1024);
                let served = tokio::spawn(connection::serve(stream, accounts, stranger));
                // The server may hang up before it has read all.
                let _ = peer.write_all(&prefix).await;
                let _ = peer.write_all(&bytes).await;
                drop(peer);
                let ended = served.await;
                prop_assert!(ended.is_ok(), "it panicked: {ended:?}");
                prop_assert_eq!(
                    device.publish("x", Bytes::new()),
                    Err(PublishError::NotConnected)
                );
                prop_assert_eq!(strangers.count(), 0);
                Ok(())
            })
        })
        .unwrap();
}
