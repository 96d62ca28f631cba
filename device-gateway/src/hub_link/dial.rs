//! TLS connections to the hub: straight or by a proxy, bare or with a WebSocket inside.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use iot_hub::identity::HubHost;
use jiff::Timestamp;
use mqtt_wire::tls::ClientStream;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::ConfigVerifierExt;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    certificate::{CertificateError, DeviceCertificate},
    tunnel, websocket,
};
use crate::config::{CertificateFiles, HubConfig, ProvisioningConfig, Transport};

/// What MQTT's bytes travel in.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection that nobody has signed in on.
pub(crate) type Stream = Box<dyn ByteStream>;

/// What is inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Mqtt,
    WebSockets,
}

/// Opens TLS connections. All devices without a certificate share one configuration, and with it the
/// resumption of sessions.
#[derive(Clone)]
pub(crate) struct Dialer {
    tls: Arc<ClientConfig>,
    /// Tells the authorities that are trusted from others.
    authorities: Option<[u8; 32]>,
    hub: Arc<HubConfig>,
}

/// Why no TLS connection can ever be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The certificate authority's file cannot be used.
    #[error("read the certificates in {path}: {message}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// The system's certificate store cannot be used.
    #[error("use the system's certificates")]
    System(#[source] rustls::Error),
}

impl Dialer {
    /// Trusts the configured authority, or those of the system.
    pub(crate) fn new(hub: &HubConfig) -> Result<Self, TlsSetupError> {
        let authorities = hub.ca_file.as_deref().map(read_authorities).transpose()?;
        Ok(Self {
            authorities: authorities.as_ref().map(|pem| Sha256::digest(pem).into()),
            tls: Arc::new(trusting(
                hub.ca_file.as_deref().zip(authorities.as_deref()),
            )?),
            hub: Arc::new(hub.clone()),
        })
    }

    /// Whether both trust the same authorities, which may have been replaced in their file.
    pub(crate) fn trusts_as(&self, other: &Self) -> bool {
        self.authorities == other.authorities
    }

    /// Who tells devices which hub is theirs.
    pub(super) fn provisioning(&self) -> Option<&ProvisioningConfig> {
        self.hub.provisioning.as_ref()
    }

    /// What keys are used with.
    pub(super) fn crypto(&self) -> &CryptoProvider {
        self.tls.crypto_provider()
    }

    /// The way to try first.
    pub(super) fn first_way(&self) -> Way {
        match self.hub.transport {
            Transport::Mqtt | Transport::Auto => Way::Mqtt,
            Transport::WebSockets => Way::WebSockets,
        }
    }

    /// The way to try after one that led nowhere: another one only where that is allowed.
    pub(super) fn way_after(&self, failed: Way) -> Way {
        match (self.hub.transport, failed) {
            (Transport::Auto, Way::Mqtt) => Way::WebSockets,
            (Transport::Auto, Way::WebSockets) => Way::Mqtt,
            (Transport::Mqtt | Transport::WebSockets, failed) => failed,
        }
    }

    /// Connects to a host by the way to try first, and hangs up.
    pub(crate) async fn reach(&self, host: &HubHost) -> io::Result<()> {
        self.dial(host, self.first_way(), None).await.map(drop)
    }

    /// Reads a certificate and its key as for a connection.
    pub(crate) async fn try_certificate(
        &self,
        files: &CertificateFiles,
    ) -> Result<(), CertificateError> {
        let read = DeviceCertificate::read(files, self.crypto(), Timestamp::now());
        read.await.map(drop)
    }

    /// Connects to a host, and shows a certificate if there is one.
    pub(super) async fn dial(
        &self,
        host: &HubHost,
        way: Way,
        certificate: Option<&DeviceCertificate>,
    ) -> io::Result<Stream> {
        let address = host.address();
        let port = match way {
            Way::Mqtt => host.port().unwrap_or(self.hub.mqtt_port),
            Way::WebSockets => self.hub.websocket_port,
        };
        let name = ServerName::try_from(address.to_owned()).map_err(io::Error::other)?;
        let socket = match self.hub.proxy_to(address) {
            Some(proxy) => Box::pin(tunnel::open(proxy, address, port)).await?,
            None => TcpStream::connect((address, port)).await?,
        };
        // Every packet is small and waited for.
        socket.set_nodelay(true)?;
        let tls = self.tls_with(certificate);
        let stream = Box::pin(ClientStream::connect(tls, name, socket)).await?;
        Ok(match way {
            Way::Mqtt => Box::new(stream),
            Way::WebSockets => Box::pin(websocket::open(stream, address)).await?,
        })
    }

    /// Whoever has a certificate has a configuration of its own, that no session of another device
    /// is resumed with. The authorities stay shared.
    fn tls_with(&self, certificate: Option<&DeviceCertificate>) -> Arc<ClientConfig> {
        let Some(certificate) = certificate else {
            return Arc::clone(&self.tls);
        };
        let mut config = ClientConfig::clone(&self.tls);
        config.client_auth_cert_resolver = certificate.resolver();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

/// Trusts that authority, or those of the system.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsSetupError> {
    let authorities = ca_file.map(read_authorities).transpose()?;
    trusting(ca_file.zip(authorities.as_deref()))
}

fn read_authorities(path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    fs::read(path).map_err(|error| TlsSetupError::Authority {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

/// Trusts the authorities that are in that file, or those of the system.
fn trusting(authorities: Option<(&Path, &[u8])>) -> Result<ClientConfig, TlsSetupError> {
    let Some((path, pem)) = authorities else {
        return ClientConfig::with_platform_verifier().map_err(TlsSetupError::System);
    };
    let unusable = |message: String| TlsSetupError::Authority {
        path: path.to_owned(),
        message,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is none".to_owned()));
    }
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("hub", &self.hub)
            .finish_non_exhaustive()
    }
}
