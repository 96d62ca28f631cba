//! The first packets of a connection: who we are, and whether that is accepted.

use rumqttc::{Connect, ConnectReturnCode, Packet};

use super::{LinkError, dial::Stream, packets::Packets};

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
    let mut packets = Packets::new(stream);
    let mut connect = Connect::new(login.client_id);
    connect.keep_alive = login.keep_alive;
    connect.clean_session = login.clean;
    connect.set_login(login.user, login.password);
    packets.send(Packet::Connect(connect)).await?;
    let Packet::ConnAck(ack) = packets.next().await? else {
        return Err(LinkError::Protocol("expected CONNACK".to_owned()));
    };
    match ack.code {
        ConnectReturnCode::Success => Ok(packets),
        code @ (ConnectReturnCode::RefusedProtocolVersion
        | ConnectReturnCode::BadClientId
        | ConnectReturnCode::ServiceUnavailable
        | ConnectReturnCode::BadUserNamePassword
        | ConnectReturnCode::NotAuthorized) => Err(LinkError::Refused(code)),
    }
}
