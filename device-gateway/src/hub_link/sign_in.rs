//! The first packets of a connection: who we are, and whether that is accepted.

use rumqttc::{Connect, ConnectReturnCode, Packet, mqttbytes::v4::Codec};
use tokio_util::codec::Framed;

use futures_util::{SinkExt as _, StreamExt as _};

use super::{
    LinkError,
    dial::Stream,
    session::{MAX_PACKET, protocol},
};

/// A connection that is signed in on.
pub(super) type Packets = Framed<Stream, Codec>;

/// Who signs in.
pub(super) struct Login {
    pub(super) client_id: String,
    pub(super) user: String,
    pub(super) password: String,
    /// For how long the connection may be silent, in seconds.
    pub(super) keep_alive: u16,
    /// Nothing is kept of it once it ends.
    pub(super) clean: bool,
}

/// Signs in.
pub(super) async fn sign_in(stream: Stream, login: Login) -> Result<Packets, LinkError> {
    let codec = Codec {
        max_incoming_size: MAX_PACKET,
        max_outgoing_size: MAX_PACKET,
    };
    let mut packets = Framed::new(stream, codec);
    let mut connect = Connect::new(login.client_id);
    connect.keep_alive = login.keep_alive;
    connect.clean_session = login.clean;
    connect.set_login(login.user, login.password);
    packets
        .send(Packet::Connect(connect))
        .await
        .map_err(protocol)?;
    match packets.next().await {
        Some(Ok(Packet::ConnAck(ack))) => match ack.code {
            ConnectReturnCode::Success => Ok(packets),
            code @ (ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::BadClientId
            | ConnectReturnCode::ServiceUnavailable
            | ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized) => Err(LinkError::Refused(code)),
        },
        Some(Ok(_)) => Err(LinkError::Protocol("expected CONNACK".to_owned())),
        Some(Err(error)) => Err(protocol(error)),
        None => Err(LinkError::Closed),
    }
}
