//! MQTT 3.1.1 packets for the server's side of a connection, strictly checked, and what a client takes
//! in of them; and the TLS below, for either side.
//!
//! ```text
//! bytes ─► [ header ] ─► [ connect, topics, ids ] ─► Packet ─► server
//!           type, flags,    what the packets'                    │
//!           size, QoS 2     reader lets pass                     │
//! bytes ◄───────────────── [ publish, others ] ◄──── Packet ◄────┘
//! ```
//!
//! # Where to look
//!
//! - [`ServerCodec`]: reads what a client sends and writes what a server sends, for `tokio_util`'s
//!   `Framed`.
//! - [`FromServer`]: what a client may hear of a server.
//! - [`Filter`]: a subscription, and which topics it matches.
//! - [`bytes_inside`]: MQTT inside a WebSocket's messages, for either end.
//! - [`tls`]: TLS that has no room set aside while nothing comes or goes.
//! - [`Error`]: why a connection has to be closed.
//!
//! # Invariants
//!
//! - No bytes make the codec panic, and none make it hold much more memory than was received.
//! - A packet that comes out is one that the standard allows a client to send to a server without
//!   QoS 2; what does not come out is an error, after which the connection is to be closed.
//! - The packets' types are those of `rumqttc`; no other crate needs to name it to be a server.

mod codec;
mod connect;
mod error;
mod filter;
mod from_server;
mod header;
mod messages;
mod publish;
mod text;
pub mod tls;

pub use rumqttc::mqttbytes::{
    QoS,
    v4::{
        ConnAck, Connect, ConnectReturnCode, LastWill, Login, Packet, PubAck, Publish, SubAck,
        Subscribe, SubscribeFilter, SubscribeReasonCode, UnsubAck, Unsubscribe,
    },
};

pub use self::{
    codec::ServerCodec,
    error::Error,
    filter::{Filter, FilterError},
    from_server::{FromServer, NotFromServer},
    messages::{Content, bytes_inside},
};
