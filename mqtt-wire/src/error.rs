//! Why a connection has to be closed.

use std::io;

/// What is wrong with a packet. After any of these the connection is to be closed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client speaks another version of MQTT; the number is the level it asks for, 3 for MQTT
    /// 3.1. A server may answer CONNACK 1 before it closes.
    #[error("client asks for protocol level {0}, only MQTT 3.1.1 (level 4) is spoken")]
    InvalidProtocolLevel(u8),
    /// The client takes part in a QoS 2 exchange.
    #[error("packet is of QoS 2, which is not served")]
    ExactlyOnce,
    /// The packet is larger than this codec takes.
    #[error("packet of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// The packet's size, header included.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The packet has a type that only a server sends, or none at all.
    #[error("packet of type {0} is none that a client sends")]
    UnexpectedType(u8),
    /// The packet breaks a rule of the standard.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// The packet's parts do not fit together.
    #[error("unreadable packet: {0}")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The packet to be written cannot be.
    #[error("unwritable packet: {0}")]
    Unwritable(&'static str),
    /// The connection itself failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    pub(crate) fn unreadable(error: rumqttc::mqttbytes::Error) -> Self {
        Self::Unreadable(Box::new(error))
    }
}
