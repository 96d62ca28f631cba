//! Writing PUBLISH, the packet that a server sends most.

use bytes::{BufMut, BytesMut};

use crate::{Error, Publish, QoS, text::check_topic};

/// The most that a remaining length can say.
const MAX_REMAINING: usize = 268_435_455;

/// Appends the packet: one allocation at most, and one copy of topic and payload.
pub(crate) fn write(publish: &Publish, dst: &mut BytesMut) -> Result<(), Error> {
    check_topic(&publish.topic).map_err(Error::Unwritable)?;
    let packet_id = match (publish.qos, publish.pkid) {
        (QoS::AtMostOnce, _) => None,
        (QoS::AtLeastOnce | QoS::ExactlyOnce, 0) => {
            return Err(Error::Unwritable("packet id is 0"));
        }
        (QoS::AtLeastOnce | QoS::ExactlyOnce, id) => Some(id),
    };
    let remaining = 2 + publish.topic.len() + packet_id.map_or(0, |_| 2) + publish.payload.len();
    if remaining > MAX_REMAINING {
        return Err(Error::Unwritable("PUBLISH is larger than 256 MiB"));
    }
    let topic_length = u16::try_from(publish.topic.len())
        .map_err(|_| Error::Unwritable("topic is longer than 65535 bytes"))?;

    dst.reserve(5 + remaining);
    let flags = u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    dst.put_u8(0x30 | flags);
    put_length(dst, remaining);
    dst.put_u16(topic_length);
    dst.put_slice(publish.topic.as_bytes());
    if let Some(id) = packet_id {
        dst.put_u16(id);
    }
    dst.put_slice(&publish.payload);
    Ok(())
}

fn put_length(dst: &mut BytesMut, mut length: usize) {
    while length > 0x7f {
        dst.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    dst.put_u8(length as u8);
}
