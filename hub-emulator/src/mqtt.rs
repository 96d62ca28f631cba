//! The devices' front door: MQTT 3.1.1 over TLS, or over a [WebSocket](crate::websocket).
//!
//! ```text
//! TLS ───────┬─► CONNECT (admission) ─► CONNACK ─► packets (connection) ─► switchboard
//! WebSocket ─┘                                         ▲                        │
//!                                                      └────── messages ◄───────┘
//! ```
//!
//! A CONNECT that names an id scope instead of a hub is for the provisioning service, which shares
//! the door ([`registration`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{SinkExt as _, StreamExt as _};
use mqtt_wire::{ConnAck, ConnectReturnCode, Error, Packet, ServerCodec};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::codec::Framed;

use self::admission::{Admission, Rejection};
use self::connection::Connection;
use self::registration::Registering;
use crate::certificate::DeviceCertificate;
use crate::config::ClientLimits;
use crate::door::Door;
use crate::switchboard::{CloseReason, LinkReceiver, Switchboard};

mod admission;
mod connection;
mod publish;
mod registration;

/// The largest packet: a message of 256 KiB with its topic, which counts towards them, and some
/// bytes around it.
pub(crate) const MAX_PACKET: usize = 256 * 1024 + 1024;

/// What is set aside for each direction of a connection. A device that is idle needs no more, and
/// there may be ten thousand; whoever sends more makes it grow.
const BUFFER: usize = 512;

/// What MQTT's bytes travel in.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> ByteStream for T {}

type Packets = Framed<Box<dyn ByteStream>, ServerCodec>;

/// Serves devices.
pub(crate) async fn serve(door: Door) {
    door.serve(
        |meters| &mut meters.mqtt_connections,
        |stream, switchboard| {
            let certificate = DeviceCertificate::of(stream.state());
            serve_connection(Box::new(stream), certificate, switchboard)
        },
    )
    .await;
}

/// Serves one device, whatever its bytes come in.
///
/// A task is as large as the largest of all that it ever waits for, and there may be ten thousand
/// that wait for the next packet: what it takes to let a device in has a place of its own, which is
/// gone by then.
pub(crate) async fn serve_connection(
    stream: Box<dyn ByteStream>,
    certificate: Option<DeviceCertificate>,
    switchboard: Arc<Switchboard>,
) {
    let connection = Box::pin(let_in(stream, certificate, switchboard)).await;
    if let Some((connection, close)) = connection {
        connection.run(close).await;
    }
}

/// Lets a device in, or turns it away. Serves whoever is there to register.
async fn let_in(
    stream: Box<dyn ByteStream>,
    certificate: Option<DeviceCertificate>,
    switchboard: Arc<Switchboard>,
) -> Option<(Box<Connection>, oneshot::Receiver<CloseReason>)> {
    let mut packets = Framed::with_capacity(stream, ServerCodec::new(MAX_PACKET), BUFFER);
    *packets.write_buffer_mut() = BytesMut::with_capacity(BUFFER);
    let ClientLimits {
        connect: limit,
        write: write_limit,
        ..
    } = switchboard.config.limits;
    let connect = match timeout(limit, packets.next()).await {
        Ok(Some(Ok(Packet::Connect(connect)))) => connect,
        Ok(Some(Ok(packet))) => {
            tracing::debug!(?packet, "the first packet is no CONNECT");
            return None;
        }
        Ok(Some(Err(error))) => {
            tracing::debug!(%error, "no CONNECT came");
            if let Error::InvalidProtocolLevel(_) = error {
                refuse(
                    &mut packets,
                    write_limit,
                    ConnectReturnCode::RefusedProtocolVersion,
                )
                .await;
            }
            return None;
        }
        Ok(None) | Err(_) => return None,
    };
    let passed = admission::pass(&switchboard).await;
    if let (Ok(()), Some(user)) = (&passed, registration::user(&connect, &switchboard)) {
        match registration::admit(&switchboard, &connect, &user, certificate.as_ref()) {
            Ok(admitted) => {
                let registering = Registering {
                    packets,
                    switchboard,
                    admitted,
                    subscribed: false,
                };
                registering.run().await;
            }
            Err(code) => refuse(&mut packets, write_limit, code).await,
        }
        return None;
    }
    let admission = match passed {
        Ok(()) => admission::admit(&switchboard, &connect, certificate.as_ref()),
        Err(rejection) => Admission::Rejected(rejection),
    };
    match admission {
        Admission::Admitted(admitted, LinkReceiver { messages, close }) => {
            let connection = Connection::new(packets, switchboard, admitted, messages);
            return Some((Box::new(connection), close));
        }
        Admission::Rejected(Rejection::Code(code)) => refuse(&mut packets, write_limit, code).await,
        Admission::Rejected(Rejection::Close) => {}
    }
    None
}

/// Says why, and closes.
async fn refuse(packets: &mut Packets, limit: Duration, code: ConnectReturnCode) {
    let refusal = Packet::ConnAck(ConnAck::new(code, false));
    let sent = timeout(limit, async {
        packets.send(refusal).await?;
        packets.close().await
    });
    if let Ok(Err(error)) = sent.await {
        tracing::debug!(%error, "the refusal did not reach the client");
    }
}
