//! The codec of a server's side of a connection.

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use crate::{
    Error, Packet, connect, filter,
    header::{Header, Kind},
    publish,
    text::{MAX_STRING, Reader, check_packet_id, check_topic},
};

/// How much memory is asked for at a time: a header alone does not make us hold what it promises.
const READ_STEP: usize = 16 * 1024;

/// Reads what a client sends and writes what a server sends.
#[derive(Debug, Clone)]
pub struct ServerCodec {
    max_packet: usize,
}

impl ServerCodec {
    /// Makes a codec that takes packets of at most `max_packet` bytes, headers included.
    pub fn new(max_packet: usize) -> Self {
        Self { max_packet }
    }
}

impl Decoder for ServerCodec {
    type Item = Packet;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Packet>, Error> {
        let Some(header) = Header::read(src, self.max_packet)? else {
            return Ok(None);
        };
        let Some(bytes) = src.get(..header.packet_bytes) else {
            src.reserve((header.packet_bytes - src.len()).min(READ_STEP));
            return Ok(None);
        };
        check_body(header.kind, &bytes[header.bytes..])?;
        let packet = Packet::read(src, self.max_packet).map_err(Error::unreadable)?;
        check_packet(&packet)?;
        Ok(Some(packet))
    }
}

/// The rules that need the bytes of a packet.
fn check_body(kind: Kind, body: &[u8]) -> Result<(), Error> {
    match kind {
        Kind::Connect => connect::check(body),
        Kind::Subscribe => check_subscribe(body),
        Kind::Publish | Kind::PubAck | Kind::Unsubscribe | Kind::PingReq | Kind::Disconnect => {
            Ok(())
        }
    }
}

fn check_subscribe(body: &[u8]) -> Result<(), Error> {
    let mut reader = Reader(body);
    reader.u16()?;
    while reader.end().is_err() {
        reader.string()?;
        if reader.u8()? > 2 {
            return Err(Error::Malformed("SUBSCRIBE asks for a QoS above 2"));
        }
    }
    Ok(())
}

/// The rules that a packet shows.
fn check_packet(packet: &Packet) -> Result<(), Error> {
    match packet {
        Packet::Publish(publish) => check_topic(&publish.topic).map_err(Error::Malformed),
        Packet::PubAck(ack) => check_packet_id(ack.pkid),
        Packet::Subscribe(subscribe) => {
            check_packet_id(subscribe.pkid)?;
            check_filters(subscribe.filters.iter().map(|filter| filter.path.as_str()))
        }
        Packet::Unsubscribe(unsubscribe) => {
            check_packet_id(unsubscribe.pkid)?;
            check_filters(unsubscribe.topics.iter().map(String::as_str))
        }
        Packet::Connect(_)
        | Packet::PingReq
        | Packet::Disconnect
        | Packet::ConnAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::PingResp => Ok(()),
    }
}

fn check_filters<'a>(filters: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Error> {
    if filters.len() == 0 {
        return Err(Error::Malformed("packet names no topic filter"));
    }
    for filter in filters {
        filter::check(filter).map_err(|error| Error::Unreadable(Box::new(error)))?;
    }
    Ok(())
}

impl Encoder<Packet> for ServerCodec {
    type Error = Error;

    /// Writes a packet of either side: a test may be the client.
    fn encode(&mut self, packet: Packet, dst: &mut BytesMut) -> Result<(), Error> {
        if let Packet::Publish(publish) = &packet {
            return publish::write(publish, dst);
        }
        check_writable(&packet)?;
        dst.reserve(packet.size());
        match packet.write(dst, usize::MAX) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Unwritable("its parts do not fit together")),
        }
    }
}

/// Refuses what the packets' writer would write wrongly: it cuts the length of strings to 16 bits.
fn check_writable(packet: &Packet) -> Result<(), Error> {
    let fits = match packet {
        Packet::Connect(connect) => {
            let will = connect.last_will.as_ref();
            let login = connect.login.as_ref();
            connect.client_id.len() <= MAX_STRING
                && will.is_none_or(|will| {
                    will.topic.len() <= MAX_STRING && will.message.len() <= MAX_STRING
                })
                && login.is_none_or(|login| {
                    login.username.len() <= MAX_STRING && login.password.len() <= MAX_STRING
                })
        }
        Packet::Subscribe(subscribe) => subscribe
            .filters
            .iter()
            .all(|filter| filter.path.len() <= MAX_STRING),
        Packet::Unsubscribe(unsubscribe) => unsubscribe
            .topics
            .iter()
            .all(|topic| topic.len() <= MAX_STRING),
        Packet::Publish(_)
        | Packet::PubAck(_)
        | Packet::PingReq
        | Packet::Disconnect
        | Packet::ConnAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::PingResp => true,
    };
    if fits {
        Ok(())
    } else {
        Err(Error::Unwritable("a string is longer than 65535 bytes"))
    }
}

#[cfg(test)]
mod tests;
