//! Strings, topic names and packet ids.

use crate::Error;

/// The most bytes that a string may have.
pub(crate) const MAX_STRING: usize = u16::MAX as usize;

/// Checks the name of a topic that a message is published to.
pub(crate) fn check_topic(topic: &str) -> Result<(), &'static str> {
    if topic.is_empty() {
        return Err("topic is empty");
    }
    if topic.len() > MAX_STRING {
        return Err("topic is longer than 65535 bytes");
    }
    if topic.contains(['+', '#', '\0']) {
        return Err("topic contains a wildcard or a null character");
    }
    Ok(())
}

pub(crate) fn check_packet_id(id: u16) -> Result<(), Error> {
    if id == 0 {
        Err(Error::Malformed("packet id is 0"))
    } else {
        Ok(())
    }
}

/// Takes fields off the front of a packet.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    const SHORT: Error = Error::Malformed("packet ends within a field");

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        let (byte, rest) = self.0.split_first().ok_or(Self::SHORT)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// Binary data behind its length.
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::from(self.u16()?);
        let (data, rest) = self.0.split_at_checked(length).ok_or(Self::SHORT)?;
        self.0 = rest;
        Ok(data)
    }

    pub(crate) fn string(&mut self) -> Result<&'a str, Error> {
        match std::str::from_utf8(self.binary()?) {
            Ok(text) if text.contains('\0') => {
                Err(Error::Malformed("string contains a null character"))
            }
            Ok(text) => Ok(text),
            Err(_) => Err(Error::Malformed("string is not UTF-8")),
        }
    }

    pub(crate) fn end(&self) -> Result<(), Error> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::Malformed("packet has more than its fields"))
        }
    }
}
