//! What a client sends: how it arrives makes no difference, and what is read can be written and
//! read again.

use bytes::{Bytes, BytesMut};
use mqtt_wire::{Packet, ServerCodec};
use tokio_util::codec::{Decoder as _, Encoder as _};

const MAX_PACKET: usize = 4096;

pub(crate) fn run(data: &[u8]) {
    let (packets, failed) = read([data]);
    assert_eq!(read(data.chunks(5)), (packets.clone(), failed));
    for packet in packets {
        let mut bytes = BytesMut::new();
        if ServerCodec::new(MAX_PACKET)
            .encode(packet.clone(), &mut bytes)
            .is_ok()
        {
            assert_eq!(read([Bytes::from(bytes).as_ref()]), (vec![packet], false));
        }
    }
}

/// The packets up to the first mistake, and whether there was one.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Packet>, bool) {
    let (mut codec, mut buffer) = (ServerCodec::new(MAX_PACKET), BytesMut::new());
    let mut packets = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(_) => return (packets, true),
            }
        }
    }
    (packets, false)
}
