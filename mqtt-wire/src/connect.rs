//! The rules of CONNECT that its reader lets pass.

use crate::{
    Error,
    text::{Reader, check_topic},
};

const RESERVED: u8 = 0b0000_0001;
const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// Checks everything behind the fixed header.
pub(crate) fn check(body: &[u8]) -> Result<(), Error> {
    let mut reader = Reader(body);
    match (reader.string()?, reader.u8()?) {
        ("MQTT", 4) => {}
        ("MQTT" | "MQIsdp", level) => return Err(Error::InvalidProtocolLevel(level)),
        _ => return Err(Error::Malformed("CONNECT is not of MQTT")),
    }
    let flags = reader.u8()?;
    check_flags(flags)?;
    let _keep_alive = reader.u16()?;
    let _client_id = reader.string()?;
    if flags & WILL != 0 {
        check_topic(reader.string()?).map_err(Error::Malformed)?;
        reader.binary()?;
    }
    if flags & USER_NAME != 0 {
        reader.string()?;
    }
    if flags & PASSWORD != 0 {
        // Binary to the standard; a text to all who speak to us, and to the packet's type.
        reader.string()?;
    }
    reader.end()
}

fn check_flags(flags: u8) -> Result<(), Error> {
    if flags & RESERVED != 0 {
        return Err(Error::Malformed("reserved flag of CONNECT"));
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(Error::Malformed("CONNECT has flags of a will and no will"));
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(Error::Malformed("will has QoS 3"));
    }
    if flags & USER_NAME == 0 && flags & PASSWORD != 0 {
        return Err(Error::Malformed("CONNECT has a password and no user name"));
    }
    Ok(())
}
