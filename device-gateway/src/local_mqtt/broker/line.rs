//! One connection to a broker.

use std::{fmt, io, sync::Arc, time::Duration};

use mqtt_wire::{
    ConnectReturnCode, FromServer, LastWill, Packet, PubAck, Publish, QoS, Subscribe,
    SubscribeFilter, SubscribeReasonCode,
};
use rustls::{ClientConfig, pki_types::ServerName};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    net::TcpStream,
    time::{self, Instant},
};
use tokio_rustls::TlsConnector;

use super::Outgoing;
use crate::{
    config::BrokerConfig,
    hub_link::{LinkError, Login, Packets, Stream, TlsSetupError, client_config, sign_in},
};

/// How often the broker hears from us; it gives up after one and a half times that.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long the broker may take for anything.
const LIMIT: Duration = Duration::from_secs(10);

/// The largest packet that is taken of a broker. It is to let no larger one through: one that waits in
/// the session of the telemetry would end every line.
const MAX_PACKET: usize = 4 * 1024 * 1024;

/// How to reach a broker.
#[derive(Clone)]
pub(crate) struct BrokerSettings {
    host: String,
    port: u16,
    user: String,
    password: SecretString,
    /// What the gateway's client ids begin with.
    client_id: String,
    /// Who is trusted to be the broker; without it there is no TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl BrokerSettings {
    /// Reads the authority's certificates.
    pub(crate) fn new(config: &BrokerConfig) -> Result<Self, TlsSetupError> {
        let tls = || client_config(config.ca_file.as_deref()).map(Arc::new);
        Ok(Self {
            host: config.host.clone(),
            port: config.port,
            user: config.user.clone(),
            password: config.password.clone(),
            client_id: config.client_id.clone(),
            tls: config.tls.then(tls).transpose()?,
        })
    }

    /// Where the gateway says whether it is there: below no device's topics.
    pub(super) fn status_topic(&self) -> String {
        format!("dm-gateway/{}/status", self.client_id)
    }

    /// Signs in as somebody whom no gateway that runs is, and hangs up.
    pub(crate) async fn try_once(&self) -> Result<(), LineError> {
        Line::open(self, Sign::In("-check")).await.map(drop)
    }
}

impl fmt::Debug for BrokerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Why a connection ended or was not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("connect")]
    Connect(#[source] io::Error),
    #[error("the broker refused the user name or the password")]
    Credentials,
    #[error("the broker refused the session ({0:?})")]
    Refused(ConnectReturnCode),
    #[error("the broker hung up")]
    Closed,
    #[error("nothing was heard of the broker in time")]
    Silent,
    #[error("speak MQTT: {0}")]
    Protocol(String),
    #[error("the broker sent a packet that has no place here")]
    Unexpected,
    #[error("the broker says more than it vouches for")]
    Flood,
    #[error("a message cannot be kept now; it comes again")]
    NotKept,
}

impl From<LinkError> for LineError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Refused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => Self::Credentials,
            LinkError::Refused(code) => Self::Refused(code),
            LinkError::Closed => Self::Closed,
            LinkError::Protocol(message) => Self::Protocol(message),
            LinkError::Dial { .. }
            | LinkError::Slow(..)
            | LinkError::Unanswered(..)
            | LinkError::RefusedCertificate(_)
            | LinkError::Certificate(_)
            | LinkError::Registration { .. }
            | LinkError::Homeless
            | LinkError::Subscription => Self::Protocol(error.to_string()),
        }
    }
}

/// As whom a line signs in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sign {
    /// As somebody of whom nothing is kept, with that end of its name.
    In(&'static str),
    /// The same, and the broker tells everybody when the gateway is gone.
    InWithWill,
    /// As somebody for whom messages are kept, with that end of its name.
    InForGood(&'static str),
}

/// What came, or what is due.
#[derive(Debug)]
pub(super) enum Heard {
    Message(Publish),
    /// All that the broker said before a ping is received.
    Pong,
    /// It is time to ping.
    Nothing,
}

/// A connection that is signed in.
pub(super) struct Line {
    packets: Packets,
    last_id: u16,
    /// When the broker has to hear of us.
    ping_due: Instant,
    /// Until when it has to answer.
    pong_due: Option<Instant>,
}

impl Line {
    /// Connects and signs in. What a session that is kept subscribed to is kept, too.
    pub(super) async fn open(settings: &BrokerSettings, sign: Sign) -> Result<Self, LineError> {
        let suffix = match sign {
            Sign::In(suffix) | Sign::InForGood(suffix) => suffix,
            Sign::InWithWill => "",
        };
        let status = settings.status_topic();
        let will = || LastWill::new(status, "offline", QoS::AtLeastOnce, true);
        let login = Login {
            client_id: format!("{}{suffix}", settings.client_id),
            user: settings.user.clone(),
            password: settings.password.expose_secret().to_owned(),
            keep_alive: u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX),
            clean: !matches!(sign, Sign::InForGood(_)),
            will: matches!(sign, Sign::InWithWill).then(will),
            max_packet: MAX_PACKET,
        };
        let opened = async {
            let stream = dial(settings).await.map_err(LineError::Connect)?;
            sign_in(stream, login).await.map_err(LineError::from)
        };
        let packets = time::timeout(LIMIT, opened)
            .await
            .map_err(|_| LineError::Silent)?;
        Ok(Self {
            packets: packets?,
            last_id: 0,
            ping_due: Instant::now() + KEEP_ALIVE,
            pong_due: None,
        })
    }

    /// Asks for what matches any of those, with QoS 1.
    pub(super) async fn subscribe(&mut self, filters: Vec<String>) -> Result<(), LineError> {
        let filters = filters
            .into_iter()
            .map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = self.next_id();
        self.send(Packet::Subscribe(subscribe)).await
    }

    /// Sends a message with QoS 1. There is no word of its arrival at the device.
    pub(super) async fn publish(&mut self, message: Outgoing) -> Result<(), LineError> {
        let Outgoing {
            topic,
            payload,
            retain,
        } = message;
        let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, payload);
        publish.retain = retain;
        publish.pkid = self.next_id();
        self.send(Packet::Publish(publish)).await
    }

    /// Says that a message need not come again.
    pub(super) async fn acknowledge(&mut self, publish: &Publish) -> Result<(), LineError> {
        match publish.qos {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => self.send(Packet::PubAck(PubAck::new(publish.pkid))).await,
            // Nothing was subscribed to with it.
            QoS::ExactlyOnce => Err(LineError::Unexpected),
        }
    }

    /// Asks the broker whether it is there, unless it is being asked. Says whether it is asked anew.
    pub(super) async fn ping(&mut self) -> Result<bool, LineError> {
        if self.pong_due.is_some() {
            return Ok(false);
        }
        self.pong_due = Some(Instant::now() + LIMIT);
        self.send(Packet::PingReq).await?;
        Ok(true)
    }

    /// What comes next. Nothing is lost when this is not waited for to its end.
    pub(super) async fn next(&mut self) -> Result<Heard, LineError> {
        loop {
            let packet = tokio::select! {
                packet = self.packets.next() => packet?,
                () = time::sleep_until(self.pong_due.unwrap_or(self.ping_due)) => {
                    return match self.pong_due {
                        Some(_) => Err(LineError::Silent),
                        None => Ok(Heard::Nothing),
                    };
                }
            };
            match packet {
                FromServer::Publish(publish) => return Ok(Heard::Message(publish)),
                FromServer::PingResp => {
                    self.pong_due = None;
                    return Ok(Heard::Pong);
                }
                FromServer::SubAck(ack) => {
                    if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                        tracing::error!("the broker does not let the gateway listen to a device");
                    }
                }
                FromServer::PubAck(_) => {}
                FromServer::ConnAck(_) | FromServer::UnsubAck(_) => {
                    return Err(LineError::Unexpected);
                }
            }
        }
    }

    async fn send(&mut self, packet: Packet) -> Result<(), LineError> {
        self.ping_due = Instant::now() + KEEP_ALIVE;
        match time::timeout(LIMIT, self.packets.send(packet)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(LineError::Silent),
        }
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

async fn dial(settings: &BrokerSettings) -> io::Result<Stream> {
    let socket = TcpStream::connect((settings.host.as_str(), settings.port)).await?;
    socket.set_nodelay(true)?;
    let Some(tls) = &settings.tls else {
        return Ok(Box::new(socket));
    };
    let name = ServerName::try_from(settings.host.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(tls.clone())
        .connect(name, socket)
        .await?;
    Ok(Box::new(stream))
}
