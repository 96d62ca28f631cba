//! How to reach the service: its address, whom to trust, and who calls.

use std::{fmt, fs, io, path::PathBuf, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    codegen::http::Uri,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{client::Client, error::Error};

/// A service that is there answers within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How often an idle connection is asked whether it lives, and how long it may take to say so: a
/// watch must not hang on a peer that vanished without a word.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach the service.
#[derive(Debug, Clone)]
pub struct Connector {
    address: String,
    authorities: Option<Vec<u8>>,
    identity: Option<Identity>,
    token: Option<Token>,
}

/// A bearer token, which says who calls.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// The token itself.
    Fixed(String),
    /// A file with nothing else in it, read again for every call: whoever renews the token there
    /// need not tell anybody.
    File(PathBuf),
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
struct Identity {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

impl Connector {
    /// The service at a URL such as `https://devices.example:50051` or `http://127.0.0.1:50051`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            authorities: None,
            identity: None,
            token: None,
        }
    }

    /// Trusts these authorities, as PEM, instead of those that the platform trusts.
    #[must_use]
    pub fn authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
        self
    }

    /// Shows this certificate, with those that lead to its authority; all as PEM.
    #[must_use]
    pub fn identity(mut self, certificates: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some(Identity {
            certificates: certificates.into(),
            key: key.into(),
        });
        self
    }

    /// Shows this token with every call. It is sent over TLS, or to this machine, and nowhere else.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Connects, so that a wrong address is found out before anything is asked.
    ///
    /// A connection that breaks later is made again by the next call or watch that needs it.
    pub async fn connect(self) -> Result<Client, Error> {
        let wrong = |rule| Error::Address {
            address: self.address.clone(),
            rule,
        };
        let endpoint = Endpoint::from_shared(self.address.clone())
            .map_err(|_| wrong("expected a URL such as http://127.0.0.1:50051"))?
            .connect_timeout(CONNECT_LIMIT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let uri = endpoint.uri().clone();
        let channel = match uri.scheme_str() {
            Some("http") if self.token.is_some() && !is_this_machine(&uri) => {
                return Err(wrong("a token is sent over https, or to this machine"));
            }
            Some("http") if self.identity.is_some() || self.authorities.is_some() => {
                return Err(wrong("certificates are for https"));
            }
            Some("http") => endpoint.connect().await,
            Some("https") => self.connect_secured(&endpoint).await?,
            Some(_) | None => {
                return Err(wrong("expected a URL such as http://127.0.0.1:50051"));
            }
        };
        match channel {
            Ok(channel) => Ok(Client::with_token(channel, self.token)),
            Err(error) => Err(Error::unreachable(&self.address, error)),
        }
    }

    async fn connect_secured(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Result<Channel, tonic::transport::Error>, Error> {
        let mut config = self.tls()?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        let dial = tower::service_fn(move |uri: Uri| dial(tls.clone(), uri));
        Ok(endpoint.connect_with_connector(dial).await)
    }

    fn tls(&self) -> Result<ClientConfig, Error> {
        let config = match &self.authorities {
            Some(pem) => ClientConfig::builder().with_root_certificates(roots(pem)?),
            None => platform_roots()?,
        };
        let Some(identity) = &self.identity else {
            return Ok(config.with_no_client_auth());
        };
        let what = "the certificate and its key";
        let certificates = CertificateDer::pem_slice_iter(&identity.certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::credentials(what, &error))?;
        let key = PrivateKeyDer::from_pem_slice(&identity.key)
            .map_err(|error| Error::credentials(what, &error))?;
        config
            .with_client_auth_cert(certificates, key)
            .map_err(|error| Error::credentials(what, &error))
    }
}

impl Token {
    /// The header that shows it.
    pub(crate) fn header(&self) -> Result<MetadataValue<Ascii>, Error> {
        let what = "the token";
        let text = match self {
            Self::Fixed(text) => text.clone(),
            Self::File(path) => {
                fs::read_to_string(path).map_err(|error| Error::credentials(what, &error))?
            }
        };
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", text.trim())
            .parse()
            .map_err(|error| Error::credentials(what, &error))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(_) => f.write_str("Fixed(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

type Trusting = rustls::ConfigBuilder<ClientConfig, WantsClientCert>;

fn platform_roots() -> Result<Trusting, Error> {
    ClientConfig::builder()
        .with_platform_verifier()
        .map_err(|error| Error::credentials("the platform's authorities", &error))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let what = "the authorities";
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| Error::credentials(what, &error))?;
        roots
            .add(certificate)
            .map_err(|error| Error::credentials(what, &error))?;
    }
    match roots.is_empty() {
        true => Err(Error::credentials(
            what,
            &io::Error::other("there are none"),
        )),
        false => Ok(roots),
    }
}

async fn dial(
    tls: TlsConnector,
    uri: Uri,
) -> io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(tls.connect(name, stream).await?))
}

fn is_this_machine(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn rule(connected: Result<Client, Error>) -> &'static str {
        let Err(Error::Address { rule, .. }) = connected else {
            panic!("the address is taken")
        };
        rule
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_meant_is_a_mistake_of_the_caller() {
        for address in ["127.0.0.1:50051", "", "http://a b", "ftp://127.0.0.1:1"] {
            let told = rule(Connector::new(address).connect().await);
            assert!(told.starts_with("expected a URL"), "{address}: {told}");
        }
    }

    #[tokio::test]
    async fn secrets_are_not_sent_where_others_can_read_them() {
        let token = Token::Fixed("a-secret".to_owned());
        assert!(!format!("{token:?}").contains("a-secret"));
        let connector = |address| Connector::new(address).token(token.clone());
        let told = rule(connector("http://192.0.2.1:50051").connect().await);
        assert_eq!(told, "a token is sent over https, or to this machine");
        for address in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
            let error = connector(address).connect().await.unwrap_err();
            assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        }
        let secured = Connector::new("http://127.0.0.1:1").authorities("x");
        assert_eq!(rule(secured.connect().await), "certificates are for https");
    }

    #[tokio::test]
    async fn certificates_that_are_none_are_told() {
        for connector in [
            Connector::new("https://127.0.0.1:1").authorities("no certificate"),
            Connector::new("https://127.0.0.1:1").identity("none", "none"),
        ] {
            let error = connector.connect().await.unwrap_err();
            assert!(matches!(error, Error::Credentials { .. }), "{error}");
        }
    }

    #[test]
    fn a_token_is_read_again_for_every_call() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::File(path.clone());
        assert!(matches!(token.header(), Err(Error::Credentials { .. })));
        for text in ["one", "two"] {
            fs::write(&path, format!("{text}\n")).unwrap();
            assert_eq!(token.header().unwrap(), format!("Bearer {text}"));
        }
    }
}
