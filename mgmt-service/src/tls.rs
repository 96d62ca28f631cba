//! TLS for the service's listener: what the settings say, as something that can accept a handshake.
//!
//! A new certificate, key or set of client authorities is a new [`Tls`]; connections that are open
//! keep theirs. Sessions are resumed within one [`Tls`] only, so nobody gets in by a session from
//! before a change.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio_util::sync::CancellationToken;

/// The versions spoken.
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// What clients are offered to speak: gRPC is HTTP/2.
const PROTOCOLS: &[&[u8]] = &[b"h2"];

/// How the listener proves who it is, and asks its callers to.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsOptions {
    /// The certificate, and those that lead to its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: Arc<PrivateKeyDer<'static>>,
    /// Who may sign callers' certificates; without, callers are not asked for one.
    pub clients: Option<Clients>,
}

/// Who may sign callers' certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// The authorities.
    pub authorities: Vec<CertificateDer<'static>>,
    /// A caller without a certificate is refused in the handshake. Otherwise it has to have a token.
    pub required: bool,
}

/// TLS as it is spoken with new connections.
#[derive(Debug, Clone)]
pub struct Tls {
    /// For rustls.
    pub(crate) config: Arc<ServerConfig>,
    /// Ends when the authorities of callers' certificates change: connections that were accepted by
    /// others end with it.
    pub(crate) callers_checked: CancellationToken,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text is no PEM, or has nothing of the kind in it.
    #[error("{0}")]
    Pem(#[from] pem::Error),
    /// rustls does not take it: a key that is not the certificate's, for example.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The authorities are none.
    #[error("{0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

impl Tls {
    /// Makes it from the settings.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        Ok(Self {
            config: Arc::new(options.server_config()?),
            callers_checked: CancellationToken::new(),
        })
    }

    /// Makes that of new settings. Connections whose callers were checked otherwise are ended.
    pub fn renew(&self, old: &TlsOptions, new: &TlsOptions) -> Result<Self, TlsError> {
        let config = Arc::new(new.server_config()?);
        let same_callers = old.clients == new.clients;
        let callers_checked = if same_callers {
            self.callers_checked.clone()
        } else {
            self.callers_checked.cancel();
            CancellationToken::new()
        };
        Ok(Self {
            config,
            callers_checked,
        })
    }
}

impl TlsOptions {
    fn server_config(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(VERSIONS)?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(clients.verifier(provider)?),
        };
        let mut config = builder.with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

impl Clients {
    fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            roots.add(authority.clone())?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if self.required {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        Ok(builder.build()?)
    }
}

/// Reads the certificates of a PEM file.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(pem::Error::NoItemsFound.into());
    }
    Ok(certificates)
}

/// Reads the first private key of a PEM file.
pub(crate) fn private_key(text: &[u8]) -> Result<Arc<PrivateKeyDer<'static>>, TlsError> {
    Ok(Arc::new(PrivateKeyDer::from_pem_slice(text)?))
}
