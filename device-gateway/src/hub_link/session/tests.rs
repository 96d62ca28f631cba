//! A session with a hub that is scripted packet by packet.

use futures_util::{SinkExt as _, StreamExt as _};
use hub_emulator::{Emulator, EmulatorConfig};
use mqtt_wire::{ConnAck, ConnectReturnCode, ServerCodec, SubAck};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{self, DuplexStream},
    task::JoinHandle,
};
use tokio_util::codec::Framed;

use super::*;
use crate::{
    config::Config,
    hub_link::{LinkHandle, MethodCall, clock_tests::link_of},
};

/// Nobody waits longer on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the hub may take for anything.
const LIMIT: Duration = Duration::from_millis(500);

/// A device's link, and the connection that it works on.
struct Held {
    handle: LinkHandle,
    hub: Hub,
    /// The link, once it has given up the connection, and why.
    working: JoinHandle<(Box<Link>, End)>,
    _folder: TempDir,
}

/// The other end of the connection.
struct Hub(Framed<DuplexStream, ServerCodec>);

impl Held {
    /// The link has signed in, and works on.
    async fn new(hub: Option<&Emulator>, prepare: impl FnOnce(&mut Link, &mut Session)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (connection, settings) = match hub {
            Some(hub) => {
                std::fs::write(folder.path().join("ca.pem"), hub.ca_pem()).unwrap();
                let port = hub.mqtt_port();
                let settings = format!("[hub]\nmqtt_port = {port}\nca_file = \"ca.pem\"\n");
                (hub.device("d1"), settings)
            }
            None => {
                let key = "SharedAccessKey=c2VjcmV0c2VjcmV0c2VjcmV0";
                (format!("HostName=h;DeviceId=d1;{key}"), String::new())
            }
        };
        let text = format!(
            "state_dir = \"state\"\n{settings}[timing]\nrequest_limit = \"{LIMIT:?}\"\n\
             [[device]]\nid = \"d1\"\nconnection_string = \"{connection}\"\n\
             [device.command]\nbaseline = [\"false\"]\ntrigger = [\"false\"]\nobserve = [\"false\"]\n"
        );
        let (mut link, handle) = link_of(&Config::parse(&text, folder.path()).unwrap());
        link.connection = link.home.known(link.scope()).await;
        let (ours, theirs) = io::duplex(1 << 20);
        let mut hub = Hub(Framed::new(theirs, ServerCodec::new(1 << 20)));
        let login = Login {
            client_id: "d1".into(),
            user: "u".into(),
            password: "p".into(),
            keep_alive: 240,
            clean: false,
            will: None,
            max_packet: 4_096,
        };
        let (session, ()) = tokio::join!(Session::open(Box::new(ours), login, None), async {
            assert!(matches!(hub.next().await, Packet::Connect(_)));
            let welcome = ConnAck::new(ConnectReturnCode::Success, false);
            hub.sends(Packet::ConnAck(welcome)).await;
        });
        let mut session = session.unwrap();
        prepare(&mut link, &mut session);
        let working = tokio::spawn(async move {
            let end = link.hold(session, false, &CancellationToken::new()).await;
            (link, end)
        });
        Self {
            handle,
            hub,
            working,
            _folder: folder,
        }
    }

    /// The same with a hub that has told the twin.
    async fn subscribed() -> Self {
        let mut held = Self::new(None, |_, _| ()).await;
        held.hub.subscribes().await;
        let get = held.hub.publish().await;
        let rid = rid_of(&get);
        let twin = json!({ "desired": { "$version": 1 }, "reported": { "$version": 1 } });
        held.hub.answers(rid, 200, &twin.to_string()).await;
        held
    }

    /// The next event of this kind, however many others come before it.
    async fn until<T>(&mut self, wanted: impl Fn(LinkEvent) -> Option<T>) -> T {
        let comes = async {
            loop {
                if let Some(found) = wanted(self.handle.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        time::timeout(PATIENCE, comes).await.unwrap()
    }

    fn sends(&self, number: u64) {
        let properties = "".parse().unwrap();
        let payload = vec![7];
        let message = Message {
            number,
            properties,
            payload,
        };
        assert!(self.handle.send(message));
    }

    /// Waits until the connection is given up; the link, and why.
    async fn given_up(self) -> (Box<Link>, String) {
        let ended = time::timeout(PATIENCE, self.working).await;
        let (link, end) = ended.expect("it is not held for ever").unwrap();
        match end {
            End::Lost(error) => (link, error.to_string()),
            End::Stopped | End::Renew(_) => panic!("it is lost"),
        }
    }
}

impl Hub {
    async fn next(&mut self) -> Packet {
        let next = time::timeout(PATIENCE, self.0.next()).await;
        next.unwrap().unwrap().unwrap()
    }

    async fn sends(&mut self, packet: Packet) {
        self.0.send(packet).await.unwrap();
    }

    async fn subscribes(&mut self) {
        let Packet::Subscribe(subscribe) = self.next().await else {
            panic!("expected a SUBSCRIBE");
        };
        let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); 3];
        let ack = SubAck::new(subscribe.pkid, codes);
        self.sends(Packet::SubAck(ack)).await;
    }

    async fn publish(&mut self) -> Publish {
        let packet = self.next().await;
        let Packet::Publish(publish) = packet else {
            panic!("expected a PUBLISH, not {packet:?}");
        };
        publish
    }

    async fn says(&mut self, topic: String, payload: &str) {
        let publish = Publish::new(topic, QoS::AtMostOnce, payload);
        self.sends(Packet::Publish(publish)).await;
    }

    async fn answers(&mut self, rid: &str, status: u16, body: &str) {
        let topic = format!("$iothub/twin/res/{status}/?$rid={rid}&$version=2");
        self.says(topic, body).await;
    }

    async fn acknowledges(&mut self, publish: &Publish) {
        self.sends(Packet::PubAck(PubAck::new(publish.pkid))).await;
    }
}

fn rid_of(publish: &Publish) -> &str {
    publish.topic.split_once("$rid=").unwrap().1
}

#[tokio::test]
async fn a_hub_that_does_not_acknowledge_the_subscriptions_is_left() {
    let held = Held::new(None, |_, _| ()).await;
    let (_, error) = held.given_up().await;
    assert_eq!(error, format!("subscribing took longer than {LIMIT:?}"));
}

#[tokio::test]
async fn a_hub_that_answers_no_patch_is_left() {
    let mut held = Held::subscribed().await;
    // One answer, and the count begins anew.
    for (number, answered) in [false, false, true, false, false, false].iter().enumerate() {
        let document = json!({ "n": number }).as_object().unwrap().clone();
        assert!(held.handle.patch(1, document));
        let patch = held.hub.publish().await;
        if *answered {
            held.hub.answers(rid_of(&patch), 204, "").await;
        }
        let applied = held.until(|event| {
            let applied = matches!(event, LinkEvent::PatchApplied);
            (applied || matches!(event, LinkEvent::PatchUnanswered)).then_some(applied)
        });
        assert_eq!(applied.await, *answered);
    }
    let (_, error) = held.given_up().await;
    assert_eq!(
        error,
        format!("the hub has not answered patches within {LIMIT:?}")
    );
}

#[tokio::test]
async fn a_message_that_is_not_acknowledged_in_time_ends_the_session_and_is_kept() {
    let mut held = Held::subscribed().await;
    let began = Instant::now();
    for number in 1..=3 {
        held.sends(number);
    }
    let _first = held.hub.publish().await;
    for _ in 0..2 {
        let publish = held.hub.publish().await;
        held.hub.acknowledges(&publish).await;
    }
    let (link, error) = held.given_up().await;
    assert!(began.elapsed() >= LIMIT);
    assert_eq!(
        error,
        format!("the hub has not acknowledged a message within {LIMIT:?}")
    );
    let kept: Vec<_> = link
        .unsent_messages
        .iter()
        .map(|message| message.number)
        .collect();
    assert_eq!(kept, [1]);
}

#[tokio::test]
async fn an_answer_that_is_not_acknowledged_in_time_ends_the_session_and_is_kept() {
    let mut held = Held::subscribed().await;
    held.hub
        .says("$iothub/methods/POST/reboot/?$rid=9".into(), "{}")
        .await;
    let call = |event| {
        if let LinkEvent::Call(call) = event {
            Some(call)
        } else {
            None
        }
    };
    let call: MethodCall = held.until(call).await;
    call.reply.send(200, &json!({}));
    held.hub.publish().await;
    let (link, _) = held.given_up().await;
    let kept: Vec<_> = link.unsent.iter().map(|answer| &*answer.rid).collect();
    assert_eq!(kept, ["9"]);
}

#[tokio::test]
async fn calls_without_number_that_are_not_acknowledged_cost_no_more_than_so_many_refusals() {
    let mut held = Held::subscribed().await;
    for rid in 0..400 {
        let topic = format!("$iothub/methods/POST/reboot/?$rid={rid}");
        held.hub.says(topic, "{}").await;
    }
    let (link, _) = held.given_up().await;
    assert!(!link.unsent.is_empty());
    assert!(link.unsent.len() <= 2 * IN_FLIGHT, "{}", link.unsent.len());
}

#[tokio::test]
async fn a_patch_under_way_when_the_connection_is_renewed_is_told_to_be_unanswered() {
    let hub = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let mut held = Held::new(Some(&hub), |link, session| {
        session.subscribed = true;
        session.renewing = Some(Instant::now());
        let (rid, _) = link.next_request();
        session.patch.ask(rid, Instant::now() + PATIENCE);
    })
    .await;
    held.until(|event| matches!(event, LinkEvent::PatchUnanswered).then_some(()))
        .await;
    let ended = time::timeout(PATIENCE, held.working)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(ended.1, End::Renew(_)));
}

#[test]
fn a_link_was_of_no_use_while_its_hub_did_not_do_its_part() {
    let seconds = Duration::from_secs;
    let error = LinkError::Unanswered("acknowledged a message", seconds(30));
    assert_eq!(error.was_of_use(seconds(31)), seconds(1));
    assert_eq!(error.was_of_use(seconds(29)), Duration::ZERO);
    assert_eq!(LinkError::Closed.was_of_use(seconds(31)), seconds(31));
}
