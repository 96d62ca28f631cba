//! The gateway's part at a broker that does what a test says.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use mqtt_wire::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, QoS, ServerCodec, SubAck,
    SubscribeReasonCode,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::codec::Framed;

use super::{standing::Lines, *};
use crate::{
    config::BrokerConfig,
    local_mqtt::{
        Elsewhere, Inbound, LocalDevice,
        test_device::{Heard, soon},
    },
};

/// A broker that serves nobody by itself.
struct Broker {
    listener: TcpListener,
    accounts: Accounts,
    device: LocalDevice,
    serving: JoinHandle<()>,
}

/// A connection of the gateway's.
struct Peer {
    packets: Framed<TcpStream, ServerCodec>,
    connect: Connect,
}

impl Broker {
    /// The gateway begins to serve the device `d1`, with what its driver hears.
    async fn new() -> (Self, Heard) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = BrokerClient::new(settings(address));
        let accounts = client.accounts();
        let device = accounts.admit("d1", None, Elsewhere::default()).unwrap();
        let mut events = Heard::of(&device);
        assert!(matches!(events.next().await, Event::Unheard));
        let broker = Self {
            listener,
            accounts,
            device,
            serving: tokio::spawn(client.serve(CancellationToken::new())),
        };
        (broker, events)
    }

    /// Lets the gateway in on the line of that client id; the other one stays in the door.
    async fn line(&self, client_id: &str) -> Peer {
        loop {
            let (stream, _) = soon(self.listener.accept()).await.unwrap();
            let mut packets = Framed::new(stream, ServerCodec::new(1 << 20));
            let Packet::Connect(connect) = soon(packets.next()).await.unwrap().unwrap() else {
                panic!("expected a CONNECT");
            };
            if connect.client_id == client_id {
                let ack = ConnAck::new(ConnectReturnCode::Success, false);
                packets.send(Packet::ConnAck(ack)).await.unwrap();
                return Peer { packets, connect };
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Peer {
    /// The next packet; subscriptions are granted.
    async fn packet(&mut self) -> Packet {
        loop {
            let packet = soon(self.packets.next()).await.unwrap().unwrap();
            let Packet::Subscribe(subscribe) = packet else {
                return packet;
            };
            let codes = subscribe.filters.iter();
            let codes = codes.map(|_| SubscribeReasonCode::Success(QoS::AtLeastOnce));
            let ack = SubAck::new(subscribe.pkid, codes.collect());
            self.packets.send(Packet::SubAck(ack)).await.unwrap();
        }
    }

    /// The next message of the gateway, with pings left unanswered.
    async fn message(&mut self) -> Publish {
        loop {
            if let Packet::Publish(publish) = self.packet().await {
                return publish;
            }
        }
    }

    async fn says(&mut self, topic: &str, payload: &str, pkid: u16, retain: bool) {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.pkid = pkid;
        publish.retain = retain;
        self.packets.send(Packet::Publish(publish)).await.unwrap();
    }

    /// Waits for a ping; what was acknowledged before it.
    async fn pinged(&mut self) -> Vec<u16> {
        let mut acknowledged = Vec::new();
        loop {
            let packet = self.packet().await;
            if packet == Packet::PingReq {
                return acknowledged;
            }
            if let Packet::PubAck(ack) = packet {
                acknowledged.push(ack.pkid);
            }
        }
    }

    async fn answers_ping(&mut self) {
        self.packets.send(Packet::PingResp).await.unwrap();
    }

    async fn acknowledged(&mut self) -> u16 {
        loop {
            if let Packet::PubAck(ack) = self.packet().await {
                return ack.pkid;
            }
        }
    }
}

fn settings(address: SocketAddr) -> BrokerSettings {
    BrokerSettings::new(&BrokerConfig {
        host: address.ip().to_string(),
        port: address.port(),
        user: "gw".to_owned(),
        password: "secret".into(),
        client_id: "edge-1".to_owned(),
        tls: false,
        ca_file: None,
    })
    .unwrap()
}

fn said(event: Event) -> String {
    match event {
        Event::Message { name, payload } => {
            format!("{name} {}", String::from_utf8_lossy(&payload))
        }
        other @ (Event::Connected
        | Event::Disconnected
        | Event::Unheard
        | Event::Elsewhere { .. }) => format!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_broker_says_as_its_last_is_not_believed() {
    let (broker, mut events) = Broker::new().await;
    let mut peer = broker.line("edge-1").await;
    peer.says("dm/d1/status", "online", 1, false).await;
    assert_eq!(peer.pinged().await, [0_u16; 0], "nothing is proved");
    // Said after the ping was sent: its answer vouches for the first alone.
    peer.says("dm/d1/ack", "2", 2, false).await;
    peer.says("dm/d1/status", "offline", 3, false).await;
    peer.answers_ping().await;
    assert!(matches!(events.next().await, Event::Connected));
    assert_eq!(said(events.next().await), "status online");
    assert_eq!(peer.pinged().await, [1]);
    drop(peer);
    assert!(matches!(events.next().await, Event::Unheard));

    // On the next line it is said again, by a broker that goes on.
    let mut peer = broker.line("edge-1").await;
    peer.says("dm/d1/status", "offline", 1, false).await;
    peer.pinged().await;
    peer.answers_ping().await;
    assert!(matches!(events.next().await, Event::Connected));
    assert_eq!(said(events.next().await), "status offline");
}

#[tokio::test]
async fn what_is_retained_is_old_and_a_device_is_asked_until_it_is_heard() {
    let (broker, mut events) = Broker::new().await;
    let mut peer = broker.line("edge-1").await;
    assert!(peer.connect.clean_session);
    let will = peer.connect.last_will.clone().unwrap();
    assert_eq!(will.topic, "dm-gateway/edge-1/status");
    assert_eq!((&*will.message, will.retain), (&b"offline"[..], true));
    let online = peer.message().await;
    assert_eq!((online.topic, online.retain), (will.topic, true));

    peer.says("dm/d1/birth", "old", 1, true).await;
    for _ in 0..2 {
        assert_eq!(peer.message().await.topic, "dm/d1/cmd/birth");
    }
    peer.says("dm/d1/birth", "new", 2, false).await;
    peer.pinged().await;
    peer.answers_ping().await;
    assert!(matches!(events.next().await, Event::Connected));
    assert_eq!(said(events.next().await), "birth new");
    // From here on nobody asks it.
    broker.device.publish("cmd/reboot", "now").unwrap();
    assert_eq!(peer.message().await.topic, "dm/d1/cmd/reboot");
}

#[tokio::test]
async fn telemetry_is_acknowledged_once_it_is_kept_and_comes_again_otherwise() {
    let (broker, _events) = Broker::new().await;
    let mut bridge = broker.device.bridge();
    let mut next = async || -> Inbound { soon(bridge.recv()).await.unwrap() };
    let mut peer = broker.line("edge-1-telemetry").await;
    assert!(!peer.connect.clean_session && peer.connect.last_will.is_none());
    peer.says("dm/d1/telemetry", "old", 6, true).await;
    peer.says("dm/d1/telemetry", "1", 7, false).await;
    assert_eq!(peer.acknowledged().await, 6);
    let first = next().await;
    assert_eq!((&*first.name, &*first.payload), ("telemetry", &b"1"[..]));
    first.answer(true);
    assert_eq!(peer.acknowledged().await, 7);

    peer.says("dm/d1/telemetry", "2", 8, false).await;
    next().await.answer(false);
    // A broker sends again on the next connection alone.
    assert!(soon(peer.packets.next()).await.is_none());
    let mut peer = broker.line("edge-1-telemetry").await;
    peer.says("dm/d1/telemetry", "2", 8, false).await;
    next().await.answer(true);
    assert_eq!(peer.acknowledged().await, 8);
}

#[tokio::test]
async fn what_one_device_cannot_have_kept_is_lost_and_keeps_no_other_waiting() {
    let (broker, _events) = Broker::new().await;
    let well = broker.accounts.admit("d2", None, Elsewhere::default());
    let mut bridge = well.unwrap().bridge();
    broker.device.bar(true);
    let mut peer = broker.line("edge-1-telemetry").await;
    peer.says("dm/d1/telemetry", "1", 1, false).await;
    peer.says("dm/d2/telemetry", "2", 2, false).await;
    assert_eq!(peer.acknowledged().await, 1);
    soon(bridge.recv()).await.unwrap().answer(true);
    assert_eq!(peer.acknowledged().await, 2);

    // From here on it can be kept again, and is not lost.
    let mut bridge = broker.device.bridge();
    peer.says("dm/d1/telemetry", "3", 3, false).await;
    soon(bridge.recv()).await.unwrap().answer(false);
    assert!(soon(peer.packets.next()).await.is_none());
}

#[tokio::test]
async fn it_is_told_why_the_broker_is_of_no_use() {
    let (broker, _events) = Broker::new().await;
    let standing = broker.accounts.broker().unwrap();
    let mut lines = standing.0.subscribe();
    assert_eq!(standing.trouble().unwrap(), "not connected yet");
    assert!(broker.device.publish("cmd/reboot", "now").is_err());
    let control = broker.line("edge-1").await;
    let telemetry = broker.line("edge-1-telemetry").await;
    soon(lines.wait_for(|lines| lines.trouble().is_none()))
        .await
        .unwrap();
    drop(telemetry);
    soon(lines.wait_for(|lines| lines.trouble().is_some()))
        .await
        .unwrap();
    drop(control);
}

#[tokio::test]
async fn a_refusal_is_told_in_words_of_the_broker() {
    let (broker, _events) = Broker::new().await;
    let mut lines = broker.accounts.broker().unwrap().0.subscribe();
    let refuse = async {
        loop {
            let (stream, _) = broker.listener.accept().await.unwrap();
            let mut packets = Framed::new(stream, ServerCodec::new(1 << 20));
            packets.next().await.unwrap().unwrap();
            let ack = ConnAck::new(ConnectReturnCode::NotAuthorized, false);
            packets.send(Packet::ConnAck(ack)).await.unwrap();
        }
    };
    let told =
        |lines: &Lines| lines.trouble() == Some("the broker refused the user name or the password");
    tokio::select! {
        () = refuse => {}
        told = soon(lines.wait_for(told)) => drop(told.unwrap()),
    }
}
