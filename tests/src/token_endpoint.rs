//! A fake of Microsoft Entra ID's token endpoints, on loopback.
//!
//! It hands out whatever text it was told to issue, to whoever asks, and remembers what it was asked
//! with. It checks nothing: not the directory, not the application, not the signature of a federated
//! token, not the scope; and its tokens mean nothing. That requests are as Microsoft documents them is
//! for the tests to say that read [`TokenEndpoint::asked`]. The directories are served over TLS, as the
//! credentials insist on; the endpoint of a platform's own identity is not, as on the platforms.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use reqwest::Url;
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
        BufReader,
    },
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A fake of Microsoft Entra ID's token endpoints. It ends when it is dropped.
#[derive(Debug)]
pub struct TokenEndpoint {
    directories: SocketAddr,
    platform: SocketAddr,
    ca_pem: String,
    state: Arc<Mutex<State>>,
    tasks: [JoinHandle<()>; 2],
}

/// What it was asked once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The path.
    pub path: String,
    /// The parameters, of the path or the body.
    pub parameters: BTreeMap<String, String>,
    /// The header in which a platform's programs show that they are its own.
    pub identity_header: Option<String>,
}

#[derive(Debug)]
struct State {
    answer: Answer,
    asked: Vec<Asked>,
}

#[derive(Debug, Clone)]
enum Answer {
    Token { token: String, life: Duration },
    Refusal { code: u32 },
}

impl TokenEndpoint {
    /// Starts one that issues `token`.
    pub async fn start(token: &str, life: Duration) -> Self {
        let key = KeyPair::generate().expect("make a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("name an address");
        let certificate = params.self_signed(&key).expect("sign a certificate");
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private.into())
            .expect("use the certificate");
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let answer = Answer::Token {
            token: token.to_owned(),
            life,
        };
        let asked = Vec::new();
        let state = Arc::new(Mutex::new(State { answer, asked }));
        let (secured, directories) = listen().await;
        let (plain, platform) = listen().await;
        let (one, other) = (state.clone(), state.clone());
        let tasks = [
            tokio::spawn(async move {
                while let Ok((stream, _)) = secured.accept().await {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        // A client that goes away costs its own request.
                        let _ = serve(stream, &one).await;
                    }
                }
            }),
            tokio::spawn(async move {
                while let Ok((stream, _)) = plain.accept().await {
                    let _ = serve(stream, &other).await;
                }
            }),
        ];
        Self {
            directories,
            platform,
            ca_pem: certificate.pem(),
            state,
            tasks,
        }
    }

    /// From now on this token is issued.
    pub fn issue(&self, token: &str, life: Duration) {
        let token = token.to_owned();
        self.lock().answer = Answer::Token { token, life };
    }

    /// From now on nothing is issued; the answer has this error code, and quotes what it was asked.
    pub fn refuse(&self, code: u32) {
        self.lock().answer = Answer::Refusal { code };
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// Where the directories are.
    pub fn authority(&self) -> String {
        format!("https://{}", self.directories)
    }

    /// Where a platform serves its programs.
    pub fn identity_endpoint(&self) -> String {
        format!("http://{}/msi/token", self.platform)
    }

    /// The certificate to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = listener.local_addr().expect("learn the address");
    (listener, address)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request, and closes the connection.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    state: &Mutex<State>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let header = |wanted: &str| {
        let headers = lines.iter().filter_map(|line| line.split_once(": "));
        let mut found = headers.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.to_owned())
    };
    let length = header("content-length").and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let target = lines.first().and_then(|line| line.split(' ').nth(1));
    let asked = asked(target.unwrap_or("/"), &body, header("x-identity-header"));
    let (status, text) = {
        let mut state = lock(state);
        let answer = answer(&state.answer, &asked);
        state.asked.push(asked);
        answer
    };
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

fn asked(target: &str, body: &str, identity_header: Option<String>) -> Asked {
    // The form of a body is that of a query.
    let separator = if target.contains('?') { "&" } else { "?" };
    let url = format!("http://fake{target}{separator}{body}");
    let url = Url::parse(&url).expect("a request's target");
    let parameters = url.query_pairs().into_owned();
    Asked {
        path: url.path().to_owned(),
        parameters: parameters.filter(|(name, _)| !name.is_empty()).collect(),
        identity_header,
    }
}

fn answer(answer: &Answer, asked: &Asked) -> (u16, String) {
    match answer {
        Answer::Token { token, life } => {
            let expires_on =
                Timestamp::now().as_second() + i64::try_from(life.as_secs()).unwrap_or(0);
            let body = json!({
                "token_type": "Bearer",
                "access_token": token,
                "expires_in": life.as_secs(),
                "ext_expires_in": life.as_secs(),
                "expires_on": expires_on.to_string(),
                "resource": "https://iothubs.azure.net",
            });
            (200, body.to_string())
        }
        Answer::Refusal { code } => {
            let description = format!("AADSTS{code}: refused {asked:?}");
            let body = json!({
                "error": "invalid_client",
                "error_description": description,
                "error_codes": [code],
            });
            (401, body.to_string())
        }
    }
}
