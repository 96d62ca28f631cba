//! The session as a value: packets in; packets and events out.

use mqtt_wire::SubscribeFilter;
use proptest::prelude::*;

use super::*;
use crate::local_mqtt::Elsewhere;

fn own() -> Topics {
    Topics::of("d1", Elsewhere::default())
}

struct Peer {
    session: Session,
    retained: Retained,
}

impl Peer {
    fn new() -> Self {
        Self {
            session: Session::new(&own(), None).unwrap(),
            retained: Retained::default(),
        }
    }

    /// One whose protocol has topics of its own besides.
    fn strange() -> Self {
        let topics = Topics::of(
            "d1",
            Elsewhere {
                prefixes: vec!["cmnd/plug/".to_owned(), "tele/plug/".to_owned()],
                ..Elsewhere::default()
            },
        );
        Self {
            session: Session::new(&topics, None).unwrap(),
            ..Self::new()
        }
    }

    fn sends(&mut self, packet: Packet) -> Result<Next, Violation> {
        self.session.on_packet(packet, &mut self.retained)
    }

    /// Sends a packet, and returns all that comes back.
    #[track_caller]
    fn asks(&mut self, packet: Packet) -> Vec<Packet> {
        self.sends(packet).unwrap();
        self.receives()
    }

    fn receives(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.session.next_packet()).collect()
    }

    fn subscribes(&mut self, filters: &[(&str, QoS)]) -> Vec<SubscribeReasonCode> {
        let mut subscribe = Subscribe::new_many(
            filters
                .iter()
                .map(|(path, qos)| SubscribeFilter::new((*path).to_owned(), *qos)),
        );
        subscribe.pkid = 9;
        let mut packets = self.asks(Packet::Subscribe(subscribe)).into_iter();
        match packets.next() {
            Some(Packet::SubAck(ack)) => ack.return_codes,
            other => panic!("expected a SUBACK, got {other:?}"),
        }
    }
}

fn publish(topic: &str, qos: QoS, payload: &str, retain: bool) -> Publish {
    let mut publish = Publish::new(topic, qos, payload);
    publish.pkid = u16::from(qos != QoS::AtMostOnce) * 5;
    publish.retain = retain;
    publish
}

fn message(name: &str, payload: &str) -> Next {
    Next::Continue(Some(Event::Message {
        name: name.to_owned(),
        payload: payload.to_owned().into(),
    }))
}

#[test]
fn a_message_is_told_and_acknowledged_by_its_qos() {
    let mut peer = Peer::new();
    let once = publish("dm/d1/birth", QoS::AtMostOnce, "b", false);
    assert_eq!(peer.sends(Packet::Publish(once)), Ok(message("birth", "b")));
    assert_eq!(peer.receives(), []);
    let at_least = publish("dm/d1/a/b", QoS::AtLeastOnce, "x", true);
    assert_eq!(
        peer.sends(Packet::Publish(at_least)),
        Ok(message("a/b", "x"))
    );
    assert_eq!(peer.receives(), [Packet::PubAck(PubAck::new(5))]);
}

#[test]
fn nothing_outside_its_own_topics_is_allowed() {
    for foreign in ["dm/d2/birth", "dm/d1", "dm/d1/", "dm/d12/x", "$SYS/x", "ä"] {
        let mut peer = Peer::new();
        let sent = peer.sends(Packet::Publish(publish(
            foreign,
            QoS::AtMostOnce,
            "",
            false,
        )));
        assert_eq!(sent, Err(Violation::ForeignTopic(foreign.to_owned())));
        let will = LastWill::new(foreign, "x", QoS::AtLeastOnce, true);
        assert!(Session::new(&own(), Some(will)).is_err());
    }
    let mut peer = Peer::new();
    for foreign in ["#", "+/d1/x", "dm/#", "dm/+/birth", "dm/d2/birth", "dm/d1/"] {
        let codes = peer.subscribes(&[(foreign, QoS::AtMostOnce)]);
        assert_eq!(codes, [SubscribeReasonCode::Failure], "{foreign}");
    }
    assert!(!peer.session.is_subscribed("dm/d2/birth"));
}

#[test]
fn a_protocol_with_topics_of_its_own_has_those_and_no_others() {
    let mut peer = Peer::strange();
    let granted = peer.subscribes(&[
        ("cmnd/plug/#", QoS::AtMostOnce),
        ("cmnd/#", QoS::AtMostOnce),
        ("cmnd/+/Status", QoS::AtMostOnce),
        ("cmnd/plug2/#", QoS::AtMostOnce),
        ("dm/d2/#", QoS::AtMostOnce),
        ("dm/d1/#", QoS::AtMostOnce),
    ]);
    let (yes, no) = (
        SubscribeReasonCode::Success(QoS::AtMostOnce),
        SubscribeReasonCode::Failure,
    );
    assert_eq!(granted, [yes, no, no, no, no, yes]);

    let says = |peer: &mut Peer, topic: &str| {
        let publish = publish(topic, QoS::AtLeastOnce, "x", true);
        let told = peer.sends(Packet::Publish(publish)).unwrap();
        let acknowledged = peer.receives().contains(&Packet::PubAck(PubAck::new(5)));
        assert!(acknowledged, "{topic}");
        told
    };
    let elsewhere = Next::Continue(Some(Event::Elsewhere {
        topic: "tele/plug/LWT".to_owned(),
        payload: "x".into(),
    }));
    assert_eq!(says(&mut peer, "tele/plug/LWT"), elsewhere);
    // It cannot be taught, so it is not shown out for it; but nobody hears it.
    for foreign in [
        "tasmota/discovery/1",
        "tele/plug/",
        "tele/plug2/LWT",
        "dm/d2/birth",
    ] {
        assert_eq!(says(&mut peer, foreign), Next::Continue(None), "{foreign}");
    }
    assert!(peer.retained.messages.is_empty(), "nobody could read it");
    assert_eq!(says(&mut peer, "dm/d1/birth"), message("birth", "x"));

    let foreign = LastWill::new("tele/plug2/LWT", "x", QoS::AtLeastOnce, true);
    assert!(Session::new(&peer.session.topics, Some(foreign)).is_err());
    let will = LastWill::new("tele/plug/LWT", "x", QoS::AtLeastOnce, true);
    let session = Session::new(&peer.session.topics, Some(will)).unwrap();
    let told = session
        .end(&mut peer.retained)
        .map(Some)
        .map(Next::Continue);
    assert_eq!(told, Some(elsewhere));
}

#[test]
fn a_subscription_is_granted_no_more_than_qos_1() {
    let mut peer = Peer::new();
    let codes = peer.subscribes(&[
        ("dm/d1/a", QoS::AtMostOnce),
        ("dm/d1/b/#", QoS::ExactlyOnce),
        ("dm/d2/c", QoS::AtMostOnce),
    ]);
    assert_eq!(
        codes,
        [
            SubscribeReasonCode::Success(QoS::AtMostOnce),
            SubscribeReasonCode::Success(QoS::AtLeastOnce),
            SubscribeReasonCode::Failure,
        ]
    );
    let mut unsubscribe = Unsubscribe::new("dm/d1/a");
    unsubscribe.pkid = 3;
    assert_eq!(
        peer.asks(Packet::Unsubscribe(unsubscribe)),
        [Packet::UnsubAck(UnsubAck::new(3))]
    );
    assert!(!peer.session.is_subscribed("dm/d1/a"));
    assert!(peer.session.is_subscribed("dm/d1/b/c"));
}

#[test]
fn retained_messages_come_with_a_subscription_and_say_that_they_are_old() {
    let mut peer = Peer::new();
    for (topic, payload) in [("dm/d1/a", "1"), ("dm/d1/b", "2"), ("dm/d1/b", "")] {
        peer.asks(Packet::Publish(publish(
            topic,
            QoS::AtMostOnce,
            payload,
            true,
        )));
    }
    let mut subscribe = Subscribe::new("dm/d1/#", QoS::AtLeastOnce);
    subscribe.pkid = 1;
    let packets = peer.asks(Packet::Subscribe(subscribe));
    let retained = publish("dm/d1/a", QoS::AtMostOnce, "1", true);
    assert_eq!(packets[1..], [Packet::Publish(retained)]);
}

#[test]
fn a_device_is_sent_what_it_can_take() {
    let mut peer = Peer::new();
    peer.subscribes(&[("dm/d1/#", QoS::AtLeastOnce)]);
    let payload = Bytes::from_static(b"x");
    for _ in 0..IN_FLIGHT + WAITING {
        peer.session.deliver("dm/d1/cmd", &payload).unwrap();
    }
    assert_eq!(
        peer.session.deliver("dm/d1/cmd", &payload),
        Err(Violation::SlowReader)
    );
    let sent = peer.receives();
    assert_eq!(sent.len(), IN_FLIGHT);
    let Packet::Publish(first) = &sent[0] else {
        panic!("not a publish: {sent:?}");
    };
    let more = peer.asks(Packet::PubAck(PubAck::new(first.pkid)));
    assert_eq!(more.len(), 1, "one acknowledgement, one more message");
}

#[test]
fn a_device_that_hears_itself_and_confirms_nothing_fills_no_memory() {
    let mut peer = Peer::strange();
    peer.subscribes(&[("tele/plug/#", QoS::AtLeastOnce)]);
    let large = "x".repeat(WAITING_BYTES);
    let said = || Packet::Publish(publish("tele/plug/x", QoS::AtLeastOnce, &large, false));
    for _ in 0..=IN_FLIGHT {
        peer.asks(said());
    }
    assert_eq!(peer.sends(said()), Err(Violation::SlowReader));
    let waiting = &peer.session.waiting;
    assert_eq!(waiting.len(), 1, "one of any size may wait");
}

#[test]
fn a_device_that_only_asks_and_never_reads_is_let_go() {
    let mut peer = Peer::new();
    let asked = (0..1000).find_map(|_| peer.sends(Packet::PingReq).err());
    assert_eq!(asked, Some(Violation::SlowReader));
}

#[test]
fn the_last_will_is_for_those_who_do_not_say_goodbye() {
    let will = LastWill::new("dm/d1/status", "offline", QoS::AtLeastOnce, true);
    let mut retained = Retained::default();
    let session = Session::new(&own(), Some(will.clone())).unwrap();
    let told = session.end(&mut retained).map(Some).map(Next::Continue);
    assert_eq!(told, Some(message("status", "offline")));
    assert!(retained.messages.contains_key("dm/d1/status"));

    let mut session = Session::new(&own(), Some(will)).unwrap();
    let next = session.on_packet(Packet::Disconnect, &mut retained);
    assert_eq!(next, Ok(Next::Disconnect));
    assert_eq!(session.end(&mut retained), None);
}

#[test]
fn what_has_no_place_in_a_device_ends_its_connection() {
    let mut peer = Peer::new();
    let exactly_once = publish("dm/d1/x", QoS::ExactlyOnce, "", false);
    for packet in [
        Packet::Publish(exactly_once),
        Packet::PingResp,
        Packet::SubAck(SubAck::new(1, vec![])),
        Packet::UnsubAck(UnsubAck::new(1)),
    ] {
        assert!(peer.sends(packet.clone()).is_err(), "{packet:?}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Publish(u8, usize, bool),
    Subscribe(u8),
    Unsubscribe(u8),
    Ack(u16),
    Deliver(u8),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<u8>(), 0..20_000_usize, any::<bool>())
            .prop_map(|(n, len, retain)| Step::Publish(n, len, retain)),
        any::<u8>().prop_map(Step::Subscribe),
        any::<u8>().prop_map(Step::Unsubscribe),
        (0..40_u16).prop_map(Step::Ack),
        any::<u8>().prop_map(Step::Deliver),
        Just(Step::Read),
    ]
}

proptest! {
    #[test]
    fn whatever_a_device_does_it_stays_small(steps in prop::collection::vec(step(), 0..200)) {
        let mut peer = Peer::new();
        for step in steps {
            let topic = |n: u8| format!("dm/d1/{n}");
            // A refused step would end the connection; here it goes on, which is worse.
            let _ = match step {
                Step::Publish(n, len, retain) => {
                    let payload = "x".repeat(len);
                    peer.sends(Packet::Publish(publish(&topic(n), QoS::AtLeastOnce, &payload, retain)))
                }
                Step::Subscribe(n) => {
                    peer.sends(Packet::Subscribe(Subscribe::new(topic(n), QoS::AtLeastOnce)))
                }
                Step::Unsubscribe(n) => peer.sends(Packet::Unsubscribe(Unsubscribe::new(topic(n)))),
                Step::Ack(pkid) => peer.sends(Packet::PubAck(PubAck::new(pkid))),
                Step::Deliver(n) => peer
                    .session
                    .deliver(&topic(n), &Bytes::from_static(b"x"))
                    .map(|()| Next::Continue(None)),
                Step::Read => {
                    peer.session.next_packet();
                    Ok(Next::Continue(None))
                }
            };
            let session = &peer.session;
            prop_assert!(session.in_flight.len() <= IN_FLIGHT);
            prop_assert!(session.waiting.len() <= WAITING);
            prop_assert!(session.outbox.len() <= WAITING);
            prop_assert!(session.subscriptions.len() <= SUBSCRIPTIONS);
            let retained = &peer.retained.messages;
            prop_assert!(retained.len() <= RETAINED);
            let bytes = |(topic, (_, payload)): (&String, &(QoS, Bytes))| topic.len() + payload.len();
            prop_assert!(retained.iter().map(bytes).sum::<usize>() <= RETAINED_BYTES);
            let waiting = session.waiting.iter().map(|one| one.payload.len());
            prop_assert!(waiting.sum::<usize>() <= WAITING_BYTES);
        }
    }
}
