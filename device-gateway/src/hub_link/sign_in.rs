//! The first packets of a connection: who we are, and whether that is accepted.

use mqtt_wire::FromServer;
use rumqttc::{
    ConnectReturnCode, Packet,
    mqttbytes::v4::{Connect, LastWill},
};

use super::{LinkError, dial::Stream, packets::Packets};

/// Who signs in.
pub(crate) struct Login {
    pub(crate) client_id: String,
    pub(crate) user: String,
    pub(crate) password: String,
    /// For how long the connection may be silent, in seconds.
    pub(crate) keep_alive: u16,
    /// Nothing is kept of it once it ends.
    pub(crate) clean: bool,
    /// What the server says for us once we are gone.
    pub(crate) will: Option<LastWill>,
    /// The largest packet that is taken of the server.
    pub(crate) max_packet: usize,
}

/// Signs in.
pub(crate) async fn sign_in(stream: Stream, login: Login) -> Result<Packets, LinkError> {
    let mut packets = Packets::new(stream, login.max_packet);
    let mut connect = Connect::new(login.client_id);
    connect.keep_alive = login.keep_alive;
    connect.clean_session = login.clean;
    connect.last_will = login.will;
    connect.set_login(login.user, login.password);
    packets.send(Packet::Connect(connect)).await?;
    let FromServer::ConnAck(ack) = packets.next().await? else {
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
