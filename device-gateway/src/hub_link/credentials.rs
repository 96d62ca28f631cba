//! What a device shows of itself on a new connection, and for how long that is good.

use std::time::Duration;

use iot_hub::{
    identity::{DeviceAuth, HubHost},
    sas::SasToken,
};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::{Link, LinkError, certificate::DeviceCertificate, dial::Stream, sign_in::Login};

/// The version of the hub's API that is spoken.
const API_VERSION: &str = "2021-04-12";

/// A certificate that ends soon is looked for a newer one so often, and no more.
const CERTIFICATE_PAUSE: Duration = Duration::from_secs(60);

impl Link {
    pub(super) async fn dial(&mut self) -> Result<Stream, LinkError> {
        let connection = self.connection.as_ref().ok_or(LinkError::Homeless)?;
        let host = connection.gateway.as_ref().unwrap_or(&connection.host);
        let host = host.clone();
        self.dial_to(&host).await
    }

    /// Opens a connection, and shows the certificate as it is in its files now.
    pub(super) async fn dial_to(&mut self, host: &HubHost) -> Result<Stream, LinkError> {
        if let Some(files) = &self.home.certificate {
            let read = DeviceCertificate::read(files, self.dialer.crypto(), (self.clock)());
            let read = Box::pin(read).await?;
            let known = self.certificate.as_ref().map(DeviceCertificate::thumbprint);
            if known.is_some_and(|known| known != read.thumbprint()) {
                tracing::info!(
                    thumbprint = read.thumbprint(),
                    "took up a renewed certificate"
                );
            }
            self.certificate = Some(read);
        }
        self.dialer
            .dial(host, self.way, self.certificate.as_ref())
            .await
            .map_err(|source| LinkError::Dial {
                host: host.address().to_owned(),
                source,
            })
    }

    /// The credentials of a new connection: a token that begins its life now.
    pub(super) fn login(&self) -> Result<Login, LinkError> {
        let connection = self.connection.as_ref().ok_or(LinkError::Homeless)?;
        let password = match &connection.auth {
            DeviceAuth::Key(key) => {
                let expiry = self.after(self.timing.token_life);
                SasToken::sign(&connection.scope(), key, None, expiry).to_string()
            }
            DeviceAuth::Token(token) => token.expose_secret().to_owned(),
            DeviceAuth::X509 => String::new(),
        };
        Ok(Login {
            client_id: connection.client_id(),
            user: connection.mqtt_user(API_VERSION).to_string(),
            password,
            keep_alive: self.keep_alive(),
            clean: false,
            will: None,
            max_packet: super::packets::MAX_PACKET,
        })
    }

    pub(super) fn keep_alive(&self) -> u16 {
        let seconds = self.timing.keep_alive.as_secs().max(1);
        u16::try_from(seconds).unwrap_or(u16::MAX)
    }

    /// When a connection that begins now has to be renewed: before its token or certificate ends;
    /// never where we cannot sign.
    pub(super) fn renewal(&self) -> Option<Instant> {
        let life = match &self.connection.as_ref()?.auth {
            DeviceAuth::Key(_) => self.timing.token_life.mul_f64(0.85),
            DeviceAuth::X509 => {
                let life = self.certificate.as_ref()?.life((self.clock)());
                life.mul_f64(0.85).max(CERTIFICATE_PAUSE)
            }
            DeviceAuth::Token(_) => return None,
        };
        Instant::now().checked_add(life)
    }

    /// So long from now, by the clock on the wall.
    pub(super) fn after(&self, life: Duration) -> Timestamp {
        let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX);
        (self.clock)()
            .saturating_add(life)
            .unwrap_or(Timestamp::MAX)
    }

    /// How long a renewal that is not to be had is put off.
    pub(super) fn renewal_pause(&self) -> Duration {
        match self.certificate {
            Some(_) => CERTIFICATE_PAUSE,
            None => self.timing.reconnect_min,
        }
    }
}
