//! A service behind TLS with credentials of every kind, and clients of every kind.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hub_emulator::{Emulator, EmulatorConfig};
use hyper_util::rt::TokioIo;
use iothubdm_proto::v1::device_management_client::DeviceManagementClient;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use mgmt_service::{Config, Reload};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use crate::world::settings;

/// The name that the service's certificate is for.
const NAME: &str = "service.example";

pub(crate) const ISSUER: &str = "https://login.example";
pub(crate) const AUDIENCE: &str = "api://iothub-dm";

/// A static token, long enough.
pub(crate) const STATIC: &str = "static-token-of-a-laptop";

/// Everything that `settings` may name, in a folder, and who signed it.
pub(crate) struct Secured {
    pub(crate) emulator: Emulator,
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) reload: Reload,
    pub(crate) authority: Authority,
    pub(crate) issuer: Issuer,
    shutdown: CancellationToken,
}

/// Signs certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Signs tokens.
pub(crate) struct Issuer {
    key: KeyPair,
    id: u64,
}

/// A certificate and its key, as PEM.
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) type Client = DeviceManagementClient<InterceptedService<Channel, Bearer>>;

/// Shows a token with every call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<tonic::metadata::Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn certify(&self, name: SanType) -> Certified {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        let key = KeyPair::generate().unwrap();
        Certified {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn certify_uri(&self, uri: &str) -> Certified {
        self.certify(SanType::URI(uri.try_into().unwrap()))
    }
}

impl Issuer {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            key: KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn secret(&self) -> EncodingKey {
        EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap()
    }

    pub(crate) fn public_pem(&self) -> String {
        use rcgen::PublicKeyData as _;
        assert!(!self.key.der_bytes().is_empty());
        self.key.public_key_pem()
    }

    fn key_id(&self) -> String {
        format!("key-{}", self.id)
    }

    /// The key set that goes with the tokens of some issuers.
    pub(crate) fn key_set(issuers: &[&Self]) -> String {
        let keys = issuers.iter().map(|issuer| {
            let secret = issuer.secret();
            let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&secret, Algorithm::ES256);
            let mut jwk = jwk.unwrap();
            jwk.common.key_id = Some(issuer.key_id());
            jwk
        });
        json!({ "keys": keys.collect::<Vec<_>>() }).to_string()
    }

    /// A token of somebody in these groups that is good for an hour, but for some changes.
    pub(crate) fn token(&self, subject: &str, groups: &[&str], changes: Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id());
        encode(&header, &claims(subject, groups, changes), &self.secret()).unwrap()
    }

    /// Tokens that must not be taken, each with its name.
    pub(crate) fn forgeries(&self) -> Vec<(&'static str, String)> {
        let claims = claims("mallory", &["admins"], json!({}));
        let body = BASE64.encode(claims.to_string());
        let unsigned = BASE64.encode(json!({"alg": "none", "typ": "JWT"}).to_string());
        let public = self.public_pem();
        let secret = EncodingKey::from_secret(public.as_bytes());
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(self.key_id());
        let now = Timestamp::now().as_second();
        let good = self.token("alice", &["admins"], json!({}));
        let signature = good.rsplit('.').next().unwrap();
        let changed = good.split('.').next().unwrap();
        vec![
            ("unsigned", format!("{unsigned}.{body}.")),
            (
                "public key as secret",
                encode(&header, &claims, &secret).unwrap(),
            ),
            (
                "another's signature",
                format!("{changed}.{body}.{signature}"),
            ),
            (
                "another key",
                Self::new().token("alice", &["admins"], json!({})),
            ),
            (
                "expired",
                self.token("alice", &["admins"], json!({"exp": now - 61})),
            ),
            (
                "too early",
                self.token("alice", &["admins"], json!({"nbf": now + 300})),
            ),
            (
                "another issuer",
                self.token("alice", &["admins"], json!({"iss": "https://evil.example"})),
            ),
            (
                "another audience",
                self.token("alice", &["admins"], json!({"aud": "api://other"})),
            ),
            (
                "no expiry",
                self.token("alice", &["admins"], json!({"exp": null})),
            ),
            ("no token", "abc".into()),
        ]
    }
}

fn claims(subject: &str, groups: &[&str], changes: Value) -> Value {
    let expiry = Timestamp::now().as_second() + 3600;
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "groups": groups, "exp": expiry,
    });
    let Value::Object(changes) = changes else {
        unreachable!("changes are an object");
    };
    claims.as_object_mut().unwrap().extend(changes);
    claims
}

/// The settings' TLS section, with callers' certificates.
pub(crate) const TLS: &str = "
    reload_interval = \"50ms\"
    [tls]
    cert_file = \"server.pem\"
    key_file = \"server.key\"
    client_ca_file = \"callers.pem\"
";

/// Three roles by group, each over `pump-*`, and an admin over everything by a static token.
pub(crate) const ACCESS: &str = "
    [access.jwt]
    issuer = \"https://login.example\"
    audience = \"api://iothub-dm\"
    algorithms = [\"ES256\"]
    jwks_file = \"keys.pem\"
    [[access.static_token]]
    name = \"laptop\"
    file = \"laptop.token\"
    [[access.binding]]
    who = \"token:laptop\"
    role = \"admin\"
    [[access.binding]]
    who = \"group:viewers\"
    role = \"viewer\"
    devices = \"pump-*\"
    [[access.binding]]
    who = [\"group:operators\", \"certificate:spiffe://example.com/rollout\"]
    role = \"operator\"
    devices = \"pump-*\"
    [[access.binding]]
    who = \"group:admins\"
    role = \"admin\"
    devices = \"pump-*\"
    [[access.binding]]
    who = \"group:north\"
    role = \"operator\"
    tags = { site = \"north\" }
";

impl Secured {
    /// Starts with the usual rules.
    pub(crate) async fn start() -> Self {
        Self::with(TLS, ACCESS).await
    }

    pub(crate) async fn with(tls: &str, access: &str) -> Self {
        let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("callers");
        let issuer = Issuer::new();
        write_server(&authority, folder.path());
        for (name, text) in [
            ("callers.pem", authority.pem()),
            ("keys.pem", issuer.public_pem()),
            ("laptop.token", STATIC.to_owned()),
            (
                "service.toml",
                format!("{tls}{access}{}", settings(&emulator, folder.path(), "")),
            ),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let path = folder.path().to_owned();
        let read = move || {
            let text = fs::read_to_string(path.join("service.toml")).unwrap();
            Config::parse(&text, &path, Some("127.0.0.1:0".parse().unwrap()))
        };
        let config = read().unwrap();
        let listener = TcpListener::bind(config.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let reload = Reload::new(read);
        let shutdown = CancellationToken::new();
        let instruments = config.instruments();
        let service = mgmt_service::serve_observed(
            listener,
            config,
            instruments,
            reload.clone(),
            shutdown.clone(),
        );
        tokio::spawn(service);
        Self {
            emulator,
            folder,
            address,
            reload,
            authority,
            issuer,
            shutdown,
        }
    }

    /// Writes one of the files that the settings name, whole.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    /// Gives the service a new certificate of this authority.
    pub(crate) fn renew(&self, authority: &Authority) {
        write_server(authority, self.folder.path());
    }

    /// Changes a part of the settings.
    pub(crate) fn change(&self, old: &str, new: &str) {
        let path = self.folder.path().join("service.toml");
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(old), "{old}");
        self.write("service.toml", &text.replace(old, new));
        self.reload.now();
    }

    /// A client that shows a token.
    pub(crate) async fn bearer(&self, token: &str) -> Client {
        self.client(None, Some(token)).await.unwrap()
    }

    /// A client that shows a certificate, a token, both or neither.
    pub(crate) async fn client(
        &self,
        certified: Option<&Certified>,
        token: Option<&str>,
    ) -> Result<Client, tonic::transport::Error> {
        let channel = self.channel(&self.authority, certified).await?;
        let value = token.map(|token| format!("Bearer {token}").parse().unwrap());
        Ok(DeviceManagementClient::with_interceptor(
            channel,
            Bearer(value),
        ))
    }

    /// A connection to a service that this authority vouches for.
    pub(crate) async fn channel(
        &self,
        authority: &Authority,
        certified: Option<&Certified>,
    ) -> Result<Channel, tonic::transport::Error> {
        let config = client_config(authority, certified);
        let address = self.address;
        let connect = service_fn(move |_: Uri| {
            let config = config.clone();
            async move { shake_hands(config, address).await.map(TokioIo::new) }
        });
        // The origin says nothing about TLS: the connector sees to that.
        let endpoint = Endpoint::from_static("http://service.example");
        endpoint.connect_with_connector(connect).await
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn write_server(authority: &Authority, folder: &Path) {
    let server = authority.certify(SanType::DnsName(NAME.try_into().unwrap()));
    fs::write(folder.join("server.pem"), server.certificate).unwrap();
    fs::write(folder.join("server.key"), server.key).unwrap();
}

pub(crate) fn client_config(authority: &Authority, certified: Option<&Certified>) -> ClientConfig {
    client_config_of(rustls::DEFAULT_VERSIONS, authority, certified)
}

pub(crate) fn client_config_of(
    versions: &[&'static rustls::SupportedProtocolVersion],
    authority: &Authority,
    certified: Option<&Certified>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let pem = authority.pem();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_protocol_versions(versions);
    let builder = builder.with_root_certificates(roots);
    let mut config = match certified {
        None => builder.with_no_client_auth(),
        Some(certified) => {
            let chain = CertificateDer::from_pem_slice(certified.certificate.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes());
            let built = builder.with_client_auth_cert(vec![chain.unwrap()], key.unwrap());
            built.unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

pub(crate) async fn shake_hands(
    config: ClientConfig,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(NAME).unwrap();
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    connector.connect(name, stream).await
}
