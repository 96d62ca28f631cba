//! TLS connections to the hub.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::config::HubConfig;

/// Opens TLS connections; all devices share one, and with it the resumption of sessions.
#[derive(Clone)]
pub(crate) struct Dialer {
    connector: TlsConnector,
    port: u16,
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
        let config = match &hub.ca_file {
            Some(path) => {
                let unusable = |message: String| TlsSetupError::Authority {
                    path: path.clone(),
                    message,
                };
                let mut roots = RootCertStore::empty();
                let certificates = CertificateDer::pem_file_iter(path)
                    .map_err(|error| unusable(error.to_string()))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                    roots
                        .add(certificate)
                        .map_err(|error| unusable(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(unusable("there is none".to_owned()));
                }
                ClientConfig::builder()
                    .with_root_certificates(roots)
                    .with_no_client_auth()
            }
            None => ClientConfig::with_platform_verifier().map_err(TlsSetupError::System)?,
        };
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            port: hub.mqtt_port,
        })
    }

    /// Connects to a host.
    pub(super) async fn dial(&self, host: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((host, self.port)).await?;
        // Every packet is small and waited for.
        stream.set_nodelay(true)?;
        self.connector.connect(name, stream).await
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
