//! MQTT packets over a connection to a server, with no room set aside while nothing comes or goes.
//!
//! A device is silent nearly all of its life, and a gateway may hold thousands of them: what is read
//! into is on the stack of the thread that reads, and what is kept is an unfinished packet alone.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use futures_util::future::poll_fn;
use mqtt_wire::FromServer;
use rumqttc::{Packet, mqttbytes};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};

use super::{LinkError, dial::Stream};

/// The largest packet of a hub: a call is up to 128 KiB, a twin up to 64.
pub(super) const MAX_PACKET: usize = 512 * 1024;

/// How much is read at once.
const READ: usize = 4096;

/// A connection that carries packets.
pub(crate) struct Packets {
    stream: Stream,
    /// The largest packet that is taken.
    most: usize,
    /// The beginning of a packet that has not arrived whole, or more packets.
    received: BytesMut,
}

impl Packets {
    pub(super) fn new(stream: Stream, most: usize) -> Self {
        Self {
            stream,
            most,
            received: BytesMut::new(),
        }
    }

    /// Sends a packet.
    pub(crate) async fn send(&mut self, packet: Packet) -> Result<(), LinkError> {
        let mut bytes = BytesMut::with_capacity(packet.size());
        packet.write(&mut bytes, self.most).map_err(protocol)?;
        self.stream.write_all(&bytes).await.map_err(protocol)?;
        self.stream.flush().await.map_err(protocol)
    }

    /// Waits for the next packet. Nothing is lost when it is waited for no longer.
    pub(crate) async fn next(&mut self) -> Result<FromServer, LinkError> {
        let packet = poll_fn(|context| self.poll_next(context)).await?;
        FromServer::try_from(packet).map_err(protocol)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Packet, LinkError>> {
        loop {
            match Packet::read(&mut self.received, self.most) {
                Ok(packet) => {
                    if self.received.is_empty() {
                        self.received = BytesMut::new();
                    }
                    return Poll::Ready(Ok(packet));
                }
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => return Poll::Ready(Err(protocol(error))),
            }
            if ready!(self.poll_receive(context)).map_err(protocol)? == 0 {
                return Poll::Ready(Err(LinkError::Closed));
            }
        }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [0; READ];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        self.received.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

pub(super) fn protocol(error: impl std::fmt::Display) -> LinkError {
    LinkError::Protocol(error.to_string())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use rumqttc::{PubAck, Publish, QoS};

    use super::*;

    fn publish(bytes: usize) -> Packet {
        Packet::Publish(Publish::new("t", QoS::AtMostOnce, vec![7; bytes]))
    }

    #[tokio::test]
    async fn packets_arrive_as_they_were_sent_however_they_are_cut() {
        let (ours, mut theirs) = tokio::io::duplex(MAX_PACKET * 2);
        let mut packets = Packets::new(Box::new(ours), MAX_PACKET);
        let sent = [
            publish(10),
            publish(3 * READ),
            Packet::PingResp,
            Packet::PubAck(PubAck::new(9)),
        ];
        let mut bytes = BytesMut::new();
        for packet in &sent {
            packet.write(&mut bytes, MAX_PACKET).unwrap();
        }
        let (begin, rest) = bytes.split_at(5);
        theirs.write_all(begin).await.unwrap();
        assert!(packets.next().now_or_never().is_none(), "it is not whole");
        theirs.write_all(rest).await.unwrap();
        for packet in &sent {
            let expected = FromServer::try_from(packet.clone()).unwrap();
            assert_eq!(packets.next().await.unwrap(), expected);
        }
        assert_eq!(packets.received.capacity(), 0, "no room while it is silent");
        let mut nonsense = BytesMut::new();
        Packet::PingReq.write(&mut nonsense, MAX_PACKET).unwrap();
        theirs.write_all(&nonsense).await.unwrap();
        let heard = packets.next().await;
        assert!(matches!(heard, Err(LinkError::Protocol(_))), "{heard:?}");
        drop(theirs);
        let end = packets.next().await;
        assert!(matches!(end, Err(LinkError::Closed)));
    }
}
