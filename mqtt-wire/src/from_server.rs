//! What a server sends, as its client takes it in.

use crate::{ConnAck, Packet, PubAck, Publish, SubAck, UnsubAck};

/// A packet that a server sends to a client that takes no part in QoS 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// Whether it lets the client in.
    ConnAck(ConnAck),
    /// A message.
    Publish(Publish),
    /// It has a message of the client's.
    PubAck(PubAck),
    /// What became of a subscription.
    SubAck(SubAck),
    /// A subscription is over.
    UnsubAck(UnsubAck),
    /// It is there.
    PingResp,
}

/// A packet has no place at a client's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is nothing that a server sends here")]
pub struct NotFromServer(&'static str);

impl TryFrom<Packet> for FromServer {
    type Error = NotFromServer;

    fn try_from(packet: Packet) -> Result<Self, NotFromServer> {
        match packet {
            Packet::ConnAck(ack) => Ok(Self::ConnAck(ack)),
            Packet::Publish(publish) => Ok(Self::Publish(publish)),
            Packet::PubAck(ack) => Ok(Self::PubAck(ack)),
            Packet::SubAck(ack) => Ok(Self::SubAck(ack)),
            Packet::UnsubAck(ack) => Ok(Self::UnsubAck(ack)),
            Packet::PingResp => Ok(Self::PingResp),
            Packet::Connect(_) => Err(NotFromServer("CONNECT")),
            Packet::PubRec(_) => Err(NotFromServer("PUBREC")),
            Packet::PubRel(_) => Err(NotFromServer("PUBREL")),
            Packet::PubComp(_) => Err(NotFromServer("PUBCOMP")),
            Packet::Subscribe(_) => Err(NotFromServer("SUBSCRIBE")),
            Packet::Unsubscribe(_) => Err(NotFromServer("UNSUBSCRIBE")),
            Packet::PingReq => Err(NotFromServer("PINGREQ")),
            Packet::Disconnect => Err(NotFromServer("DISCONNECT")),
        }
    }
}
