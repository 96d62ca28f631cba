//! MQTT 3.1.1 packets, strictly checked.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Codec;
pub use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Login, Packet, PubAck, Publish, SubAck,
    Subscribe, SubscribeFilter, SubscribeReasonCode, UnsubAck, Unsubscribe,
};
pub use rumqttc::mqttbytes::{Error, QoS};
use tokio_util::codec::{Decoder, Encoder};

/// Reads and writes packets at the server's end of a connection.
#[derive(Debug)]
pub struct ServerCodec(Codec);

impl ServerCodec {
    /// A codec that refuses packets of more than so many bytes, in both directions.
    pub fn new(max_packet: usize) -> Self {
        Self(Codec {
            max_incoming_size: max_packet,
            max_outgoing_size: max_packet,
        })
    }
}

impl Decoder for ServerCodec {
    type Item = Packet;
    type Error = Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Packet>, Error> {
        self.0.decode(bytes)
    }
}

impl Encoder<Packet> for ServerCodec {
    type Error = Error;

    fn encode(&mut self, packet: Packet, bytes: &mut BytesMut) -> Result<(), Error> {
        self.0.encode(packet, bytes)
    }
}
