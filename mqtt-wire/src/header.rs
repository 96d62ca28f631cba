//! The fixed header: type, flags and remaining length.

use crate::Error;

/// The most bytes that a remaining length is written in.
const MAX_LENGTH_BYTES: usize = 4;

/// The packets that a client sends when QoS 2 is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Connect,
    Publish,
    PubAck,
    Subscribe,
    Unsubscribe,
    PingReq,
    Disconnect,
}

/// A fixed header that promises a packet that a client may send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// The header's own size.
    pub(crate) bytes: usize,
    /// The whole packet's size.
    pub(crate) packet_bytes: usize,
}

impl Header {
    /// Reads a header, or `None` when more bytes are needed.
    ///
    /// Each check is made as soon as its bytes are here, so that nothing is awaited from a client
    /// that is wrong already.
    pub(crate) fn read(bytes: &[u8], limit: usize) -> Result<Option<Self>, Error> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let kind = kind(first)?;
        check_flags(kind, first & 0x0f)?;
        let Some((length_bytes, remaining)) = remaining_length(rest)? else {
            return Ok(None);
        };
        let header_bytes = 1 + length_bytes;
        let packet_bytes = header_bytes + remaining;
        if packet_bytes > limit {
            return Err(Error::TooLarge {
                bytes: packet_bytes,
                limit,
            });
        }
        check_length(kind, remaining)?;
        Ok(Some(Self {
            kind,
            bytes: header_bytes,
            packet_bytes,
        }))
    }
}

/// The packet's type, if a client sends such packets.
fn kind(first: u8) -> Result<Kind, Error> {
    match first >> 4 {
        1 => Ok(Kind::Connect),
        3 => Ok(Kind::Publish),
        4 => Ok(Kind::PubAck),
        5..=7 => Err(Error::ExactlyOnce),
        8 => Ok(Kind::Subscribe),
        10 => Ok(Kind::Unsubscribe),
        12 => Ok(Kind::PingReq),
        14 => Ok(Kind::Disconnect),
        other => Err(Error::UnexpectedType(other)),
    }
}

fn check_flags(kind: Kind, flags: u8) -> Result<(), Error> {
    if kind == Kind::Publish {
        let is_duplicate = flags & 0b1000 != 0;
        return match flags >> 1 & 0b11 {
            0 if is_duplicate => Err(Error::Malformed(
                "PUBLISH of QoS 0 is marked as a duplicate",
            )),
            0 | 1 => Ok(()),
            2 => Err(Error::ExactlyOnce),
            _ => Err(Error::Malformed("PUBLISH has QoS 3")),
        };
    }
    let expected = match kind {
        Kind::Subscribe | Kind::Unsubscribe => 0b0010,
        Kind::Connect | Kind::Publish | Kind::PubAck | Kind::PingReq | Kind::Disconnect => 0,
    };
    if flags == expected {
        Ok(())
    } else {
        Err(Error::Malformed("reserved flags of the fixed header"))
    }
}

/// Checks the length of packets that have one only.
fn check_length(kind: Kind, remaining: usize) -> Result<(), Error> {
    let good = match kind {
        Kind::PubAck => remaining == 2,
        Kind::PingReq | Kind::Disconnect => remaining == 0,
        Kind::Connect | Kind::Publish | Kind::Subscribe | Kind::Unsubscribe => true,
    };
    if good {
        Ok(())
    } else {
        Err(Error::Malformed("length of a packet without content"))
    }
}

/// How many bytes the remaining length takes, and what it is.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(MAX_LENGTH_BYTES).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 1, length)));
        }
    }
    if bytes.len() < MAX_LENGTH_BYTES {
        Ok(None)
    } else {
        Err(Error::Malformed("remaining length has more than 4 bytes"))
    }
}
