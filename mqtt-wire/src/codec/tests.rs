//! What the codec refuses, and that reading inverts writing.

use bytes::{BufMut, Bytes};
use proptest::prelude::*;

use super::*;
use crate::{
    ConnAck, Connect, ConnectReturnCode, FromServer, LastWill, Login, PubAck, Publish, QoS, SubAck,
    Subscribe, SubscribeFilter, SubscribeReasonCode, UnsubAck, Unsubscribe,
};

const LIMIT: usize = 1024;

fn read(bytes: &[u8]) -> Result<Option<Packet>, Error> {
    ServerCodec::new(LIMIT).decode(&mut BytesMut::from(bytes))
}

fn write(packet: Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    ServerCodec::new(LIMIT).encode(packet, &mut bytes).unwrap();
    bytes
}

/// A packet of a first byte and a body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, u8::try_from(body.len()).unwrap()];
    bytes.extend_from_slice(body);
    bytes
}

/// A CONNECT of a protocol, a level, flags and everything behind the keep-alive.
fn connect_packet(name: &str, level: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = string(name);
    body.extend([level, flags, 0, 60]);
    body.extend_from_slice(payload);
    packet(0x10, &body)
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[track_caller]
fn check_refused(bytes: &[u8], message: &str) {
    match read(bytes) {
        Err(error) => assert_eq!(error.to_string(), message),
        Ok(packet) => panic!("{packet:?} was read from {bytes:?}"),
    }
}

#[test]
fn another_version_of_mqtt_is_told_apart() {
    for (name, level) in [("MQTT", 5), ("MQTT", 3), ("MQIsdp", 3)] {
        let error = read(&connect_packet(name, level, 2, &string("d"))).unwrap_err();
        assert!(
            matches!(error, Error::InvalidProtocolLevel(found) if found == level),
            "{error}"
        );
    }
    check_refused(
        &connect_packet("HTTP", 4, 2, &string("d")),
        "malformed packet: CONNECT is not of MQTT",
    );
}

#[test]
fn qos_2_is_told_apart() {
    // The flags are enough: no body has come.
    assert!(matches!(read(&[0x34]), Err(Error::ExactlyOnce)));
    for first in [0x50, 0x62, 0x70] {
        assert!(matches!(
            read(&packet(first, &[0, 1])),
            Err(Error::ExactlyOnce)
        ));
    }
}

#[test]
fn refuses_a_connect_against_the_rules() {
    let both = [string("d"), string("x")].concat();
    check_refused(
        &connect_packet("MQTT", 4, 0b11, &string("d")),
        "malformed packet: reserved flag of CONNECT",
    );
    check_refused(
        &connect_packet("MQTT", 4, 0b0000_1010, &string("d")),
        "malformed packet: CONNECT has flags of a will and no will",
    );
    check_refused(
        &connect_packet("MQTT", 4, 0b0001_1110, &both),
        "malformed packet: will has QoS 3",
    );
    check_refused(
        &connect_packet("MQTT", 4, 0b0100_0010, &both),
        "malformed packet: CONNECT has a password and no user name",
    );
    check_refused(
        &connect_packet("MQTT", 4, 2, &both),
        "malformed packet: packet has more than its fields",
    );
    check_refused(
        &connect_packet("MQTT", 4, 2, &string("a\0")),
        "malformed packet: string contains a null character",
    );
    check_refused(
        &connect_packet("MQTT", 4, 2, &[0, 1, 0xff]),
        "malformed packet: string is not UTF-8",
    );
    check_refused(
        &connect_packet("MQTT", 4, 2, &[0, 9, b'd']),
        "malformed packet: packet ends within a field",
    );
    check_refused(
        &packet(0x10, &[]),
        "malformed packet: packet ends within a field",
    );
    let will = [string("d"), string("a/#"), string("gone")].concat();
    check_refused(
        &connect_packet("MQTT", 4, 0b110, &will),
        "malformed packet: topic contains a wildcard or a null character",
    );
}

#[test]
fn refuses_a_publish_against_the_rules() {
    check_refused(&packet(0x36, &[]), "malformed packet: PUBLISH has QoS 3");
    check_refused(
        &packet(0x38, &[]),
        "malformed packet: PUBLISH of QoS 0 is marked as a duplicate",
    );
    check_refused(
        &packet(0x30, &string("")),
        "malformed packet: topic is empty",
    );
    for topic in ["a/+", "#", "a\0"] {
        check_refused(
            &packet(0x30, &string(topic)),
            "malformed packet: topic contains a wildcard or a null character",
        );
    }
    check_refused(
        &packet(0x32, &[string("a"), vec![0, 0]].concat()),
        "unreadable packet: Packet id Zero",
    );
    check_refused(
        &packet(0x30, &[0, 9]),
        "unreadable packet: Promised boundary crossed: 9",
    );
}

#[test]
fn refuses_subscriptions_against_the_rules() {
    let filter = |text: &str, qos: u8| [vec![0, 1], string(text), vec![qos]].concat();
    check_refused(
        &packet(0x80, &filter("a", 0)),
        "malformed packet: reserved flags of the fixed header",
    );
    check_refused(
        &packet(0x82, &filter("a", 3)),
        "malformed packet: SUBSCRIBE asks for a QoS above 2",
    );
    check_refused(
        &packet(0x82, &filter("a", 0x81)),
        "malformed packet: SUBSCRIBE asks for a QoS above 2",
    );
    check_refused(
        &packet(0x82, &filter("", 0)),
        "unreadable packet: topic filter is empty",
    );
    check_refused(
        &packet(0x82, &[0, 0, 0, 1, b'a', 0]),
        "malformed packet: packet id is 0",
    );
    check_refused(
        &packet(0x82, &[0, 1]),
        "unreadable packet: A Subscribe packet must contain atleast one filter",
    );
    check_refused(
        &packet(0xa2, &[0, 1]),
        "malformed packet: packet names no topic filter",
    );
    check_refused(
        &packet(0xa2, &[0, 0, 0, 1, b'a']),
        "malformed packet: packet id is 0",
    );
    check_refused(
        &packet(0xa2, &[0, 1, 0, 2, b'a', b'#']),
        "unreadable packet: topic filter has a wildcard that is no level of its own, or `#` that is not the last",
    );
}

#[test]
fn refuses_headers_against_the_rules() {
    check_refused(&[0x00], "packet of type 0 is none that a client sends");
    check_refused(&[0xf0], "packet of type 15 is none that a client sends");
    for server_packet in [0x20, 0x90, 0xb0, 0xd0] {
        assert!(matches!(
            read(&[server_packet]),
            Err(Error::UnexpectedType(_))
        ));
    }
    check_refused(
        &[0xc1],
        "malformed packet: reserved flags of the fixed header",
    );
    check_refused(
        &[0x41],
        "malformed packet: reserved flags of the fixed header",
    );
    check_refused(
        &packet(0xc0, &[0]),
        "malformed packet: length of a packet without content",
    );
    check_refused(
        &packet(0xe0, &[0]),
        "malformed packet: length of a packet without content",
    );
    check_refused(
        &packet(0x40, &[0, 1, 0]),
        "malformed packet: length of a packet without content",
    );
    check_refused(&packet(0x40, &[0, 0]), "malformed packet: packet id is 0");
    check_refused(
        &[0x30, 0x80, 0x80, 0x80, 0x80],
        "malformed packet: remaining length has more than 4 bytes",
    );
    assert!(matches!(read(&[0x30, 0x80, 0x80, 0x80]), Ok(None)));
}

#[test]
fn takes_packets_up_to_the_limit() {
    let publish = |payload: usize| {
        let mut bytes = vec![0x30];
        let remaining = 3 + payload;
        bytes.extend([(remaining & 0x7f) as u8 | 0x80, (remaining >> 7) as u8]);
        bytes.extend(string("t"));
        bytes.resize(bytes.len() + payload, 7);
        bytes
    };
    assert_eq!(publish(LIMIT - 6).len(), LIMIT);
    assert!(matches!(
        read(&publish(LIMIT - 6)),
        Ok(Some(Packet::Publish(_)))
    ));
    // Refused by its header, before the rest has come.
    check_refused(
        &publish(LIMIT - 5)[..3],
        "packet of 1025 bytes is larger than the limit of 1024",
    );
}

#[test]
fn a_header_alone_does_not_take_memory() {
    let mut bytes = BytesMut::from(&[0x30, 0xff, 0xff, 0x7f][..]);
    assert!(matches!(
        ServerCodec::new(usize::MAX).decode(&mut bytes),
        Ok(None)
    ));
    assert!(bytes.capacity() <= 2 * READ_STEP);
}

#[test]
fn refuses_to_write_what_cannot_be_read() {
    #[track_caller]
    fn check(packet: impl Into<Packet>, message: &str) {
        let mut bytes = BytesMut::new();
        let error = ServerCodec::new(LIMIT)
            .encode(packet.into(), &mut bytes)
            .unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(bytes.is_empty());
    }
    let long = "x".repeat(65536);
    let too_long = "unwritable packet: a string is longer than 65535 bytes";
    check(
        Packet::Publish(Publish::new("a", QoS::AtLeastOnce, "")),
        "unwritable packet: packet id is 0",
    );
    check(
        Packet::Publish(Publish::new("a/#", QoS::AtMostOnce, "")),
        "unwritable packet: topic contains a wildcard or a null character",
    );
    check(
        Packet::Publish(Publish::new("", QoS::AtMostOnce, "")),
        "unwritable packet: topic is empty",
    );
    check(
        Packet::Publish(Publish::new(&long, QoS::AtMostOnce, "")),
        "unwritable packet: topic is longer than 65535 bytes",
    );
    check(
        Packet::Subscribe(Subscribe::new(&long, QoS::AtMostOnce)),
        too_long,
    );
    check(Packet::Unsubscribe(Unsubscribe::new(&long)), too_long);
    check(Packet::Connect(Connect::new(&long)), too_long);
}

#[test]
fn packets_follow_each_other() {
    let mut bytes = write(Packet::PingReq);
    bytes.unsplit(write(Packet::PubAck(PubAck::new(7))));
    bytes.put_u8(0xe0);
    let mut codec = ServerCodec::new(LIMIT);
    assert_eq!(codec.decode(&mut bytes).unwrap(), Some(Packet::PingReq));
    assert_eq!(
        codec.decode(&mut bytes).unwrap(),
        Some(Packet::PubAck(PubAck::new(7)))
    );
    assert_eq!(codec.decode(&mut bytes).unwrap(), None);
    bytes.put_u8(0);
    assert_eq!(codec.decode(&mut bytes).unwrap(), Some(Packet::Disconnect));
}

fn topic() -> impl Strategy<Value = String> {
    "[^+#\\x00]{1,20}"
}

fn filter() -> impl Strategy<Value = String> {
    "([^+#/\\x00]{1,4}|\\+)(/([^+#/\\x00]{0,4}|\\+)){0,3}(/#)?"
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![
        Just(QoS::AtMostOnce),
        Just(QoS::AtLeastOnce),
        Just(QoS::ExactlyOnce)
    ]
}

prop_compose! {
    fn publish()(
        topic in topic(),
        id in proptest::option::of(1..=u16::MAX),
        dup in any::<bool>(),
        retain in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) -> Packet {
        let qos = if id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let dup = dup && id.is_some();
        Packet::Publish(Publish { dup, qos, retain, topic, pkid: id.unwrap_or_default(), payload: payload.into() })
    }
}

prop_compose! {
    fn connect()(
        client_id in "[^\\x00]{0,20}",
        keep_alive in any::<u16>(),
        clean_session in any::<bool>(),
        will in proptest::option::of((topic(), proptest::collection::vec(any::<u8>(), 0..20), qos(), any::<bool>())),
        login in proptest::option::of(("[^\\x00]{1,20}", "[^\\x00]{0,20}")),
    ) -> Packet {
        let last_will = will.map(|(topic, message, qos, retain)| LastWill { topic, message: Bytes::from(message), qos, retain });
        let login = login.map(|(username, password)| Login { username, password });
        Packet::Connect(Connect { keep_alive, clean_session, last_will, login, ..Connect::new(client_id) })
    }
}

/// What a client sends.
fn client_packet() -> impl Strategy<Value = Packet> {
    let filters = proptest::collection::vec((filter(), qos()), 1..4);
    prop_oneof![
        connect(),
        publish(),
        (1..=u16::MAX).prop_map(|id| Packet::PubAck(PubAck::new(id))),
        (1..=u16::MAX, filters).prop_map(|(pkid, filters)| {
            let filters = filters
                .into_iter()
                .map(|(path, qos)| SubscribeFilter { path, qos })
                .collect();
            Packet::Subscribe(Subscribe { pkid, filters })
        }),
        (1..=u16::MAX, proptest::collection::vec(filter(), 1..4))
            .prop_map(|(pkid, topics)| Packet::Unsubscribe(Unsubscribe { pkid, topics })),
        Just(Packet::PingReq),
        Just(Packet::Disconnect),
    ]
}

/// What a server sends.
fn server_packet() -> impl Strategy<Value = Packet> {
    let code = prop_oneof![
        Just(ConnectReturnCode::Success),
        Just(ConnectReturnCode::RefusedProtocolVersion),
        Just(ConnectReturnCode::NotAuthorized),
    ];
    let grant = prop_oneof![
        qos().prop_map(SubscribeReasonCode::Success),
        Just(SubscribeReasonCode::Failure)
    ];
    prop_oneof![
        publish(),
        (code, any::<bool>())
            .prop_map(|(code, present)| Packet::ConnAck(ConnAck::new(code, present))),
        (1..=u16::MAX, proptest::collection::vec(grant, 1..5))
            .prop_map(|(id, codes)| Packet::SubAck(SubAck::new(id, codes))),
        (1..=u16::MAX).prop_map(|id| Packet::UnsubAck(UnsubAck::new(id))),
        (1..=u16::MAX).prop_map(|id| Packet::PubAck(PubAck::new(id))),
        Just(Packet::PingResp),
    ]
}

proptest! {
    #[test]
    fn reading_inverts_writing(packet in client_packet()) {
        let mut bytes = write(packet.clone());
        prop_assert_eq!(ServerCodec::new(LIMIT).decode(&mut bytes).unwrap(), Some(packet));
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn a_client_reads_what_we_write(packet in server_packet()) {
        let mut bytes = write(packet.clone());
        let read = Packet::read(&mut bytes, LIMIT).unwrap();
        prop_assert_eq!(&read, &packet);
        prop_assert!(bytes.is_empty());
        let heard = match FromServer::try_from(read).unwrap() {
            FromServer::ConnAck(ack) => Packet::ConnAck(ack),
            FromServer::Publish(publish) => Packet::Publish(publish),
            FromServer::PubAck(ack) => Packet::PubAck(ack),
            FromServer::SubAck(ack) => Packet::SubAck(ack),
            FromServer::UnsubAck(ack) => Packet::UnsubAck(ack),
            FromServer::PingResp => Packet::PingResp,
        };
        prop_assert_eq!(heard, packet);
    }

    #[test]
    fn a_client_hears_nothing_that_only_clients_say(packet in client_packet()) {
        let both_say = matches!(packet, Packet::Publish(_) | Packet::PubAck(_));
        prop_assert_eq!(FromServer::try_from(packet).is_ok(), both_say);
    }

    #[test]
    fn half_a_packet_is_none(packet in client_packet(), at in any::<proptest::sample::Index>()) {
        let bytes = write(packet);
        prop_assert!(matches!(read(&bytes[..at.index(bytes.len())]), Ok(None)));
    }

    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), first in any::<Option<u8>>()) {
        if let (Some(first), Some(byte), true) = (first, bytes.first().copied(), bytes.len() > 1) {
            bytes[0] = first ^ byte & 0x0f;
            bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
        }
        let mut bytes = BytesMut::from(&bytes[..]);
        let mut codec = ServerCodec::new(LIMIT);
        while let Ok(Some(packet)) = codec.decode(&mut bytes) {
            let _ = codec.encode(packet, &mut BytesMut::new());
        }
    }

    #[test]
    fn no_changed_packet_panics(packet in client_packet(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = write(packet);
        let index = at.index(bytes.len());
        bytes[index] = byte;
        let _ = ServerCodec::new(LIMIT).decode(&mut bytes);
    }
}
