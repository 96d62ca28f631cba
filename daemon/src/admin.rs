//! A small HTTP server for whoever runs the program: metrics, health, and the log's filter.
//!
//! | path | |
//! | --- | --- |
//! | `GET /metrics` | metrics in the text format of OpenMetrics, which Prometheus reads |
//! | `GET /healthz` | 200 while the program lives |
//! | `GET /readyz` | 200 while it can do its work, else 503 with the reason |
//! | `GET` any other | what the program has beside, as JSON; to this machine only |
//! | `GET /log` | the log's filter |
//! | `PUT /log` | takes another filter as the body; from this machine only |
//!
//! Nothing here needs credentials, so it belongs on loopback or on a network that only monitoring
//! reaches.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::logs::LogControl;

/// How many connections there may be: a scraper and a few probes need one each.
const CONNECTIONS: usize = 32;

/// How long a connection may last; scrapers make a new one without a word.
const CONNECTION_LIMIT: Duration = Duration::from_secs(600);

/// How long a client may take to send a request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// The longest filter of a log that is taken.
const MAX_BODY: usize = 4096;

/// The pause after a connection could not be accepted, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a program tells whoever runs it.
pub trait Pages: Send + Sync {
    /// Its metrics, in the text format of OpenMetrics.
    fn metrics(&self) -> String;

    /// Why it cannot do its work at present, if that is so.
    fn trouble(&self) -> Option<String>;

    /// Another page, as JSON, for this machine only.
    fn document(&self, path: &str) -> Option<String> {
        let _ = path;
        None
    }
}

/// Serves until the shutdown. Without `log` there is no `/log`.
pub async fn serve(
    listener: TcpListener,
    pages: Arc<dyn Pages>,
    log: Option<LogControl>,
    shutdown: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            // Whoever comes too much is hung up on.
            Ok(_) if connections.len() >= CONNECTIONS => {}
            Ok((stream, peer)) => {
                let (pages, log) = (Arc::clone(&pages), log.clone());
                connections.spawn(timeout(CONNECTION_LIMIT, talk(stream, peer, pages, log)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics and health");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, peer: SocketAddr, pages: Arc<dyn Pages>, log: Option<LogControl>) {
    let answer = service_fn(move |request| {
        let (pages, log) = (Arc::clone(&pages), log.clone());
        async move { Ok::<_, std::convert::Infallible>(route(request, peer, &*pages, log).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a connection for metrics and health ended badly");
    }
}

async fn route(
    request: Request<Incoming>,
    peer: SocketAddr,
    pages: &dyn Pages,
    log: Option<LogControl>,
) -> Response<String> {
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match (request.uri().path(), log) {
        ("/metrics", _) if get => page(StatusCode::OK, METRICS, pages.metrics()),
        ("/healthz", _) if get => text(StatusCode::OK, "alive"),
        ("/readyz", _) if get => match pages.trouble() {
            None => text(StatusCode::OK, "ready"),
            Some(trouble) => text(StatusCode::SERVICE_UNAVAILABLE, &trouble),
        },
        ("/log", Some(log)) if get => text(StatusCode::OK, &log.filter().to_string()),
        ("/log", Some(log)) if request.method() == Method::PUT => {
            set_filter(request, peer, &log).await
        }
        ("/log", Some(_)) => not_allowed("GET, HEAD, PUT"),
        ("/metrics" | "/healthz" | "/readyz", _) => not_allowed("GET, HEAD"),
        (path, _) if get && let Some(document) = document(path, peer, pages) => {
            page(StatusCode::OK, JSON, document)
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz, /readyz and /log",
        ),
    }
}

fn document(path: &str, peer: SocketAddr, pages: &dyn Pages) -> Option<String> {
    let near = peer.ip().to_canonical().is_loopback();
    near.then(|| pages.document(path)).flatten()
}

async fn set_filter(
    request: Request<Incoming>,
    peer: SocketAddr,
    log: &LogControl,
) -> Response<String> {
    if !peer.ip().to_canonical().is_loopback() {
        return text(
            StatusCode::FORBIDDEN,
            "the log's filter is set from this machine only",
        );
    }
    let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "expected a filter");
    };
    let body = body.to_bytes();
    match str::from_utf8(&body).unwrap_or_default().parse() {
        Ok(filter) => {
            log.set_filter(filter);
            text(StatusCode::OK, &log.filter().to_string())
        }
        Err(error) => text(StatusCode::BAD_REQUEST, &format!("{error}")),
    }
}

fn not_allowed(allowed: &'static str) -> Response<String> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, allowed);
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

fn text(status: StatusCode, text: &str) -> Response<String> {
    page(status, TEXT, format!("{text}\n"))
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Mutex};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[derive(Default)]
    struct Fake {
        trouble: Mutex<Option<String>>,
    }

    impl Pages for Fake {
        fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }

        fn trouble(&self) -> Option<String> {
            self.trouble.lock().unwrap().clone()
        }
    }

    /// Sends bytes and returns all that comes back.
    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        // A server that has read enough may close while we still send.
        let _ = read.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        exchange(address, &head).await
    }

    async fn start(pages: Arc<Fake>) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, pages, None, shutdown.clone()));
        (address, shutdown)
    }

    #[tokio::test]
    async fn readiness_is_told_with_its_reason_and_life_apart_from_it() {
        let pages = Arc::new(Fake::default());
        let (address, _shutdown) = start(Arc::clone(&pages)).await;
        assert!(
            ask(address, "GET", "/readyz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        *pages.trouble.lock().unwrap() = Some("the hub is gone".to_owned());
        let answer = ask(address, "GET", "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nthe hub is gone\n"), "{answer}");
        assert!(
            ask(address, "GET", "/healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
    }

    #[tokio::test]
    async fn paths_and_methods_are_checked() {
        let (address, shutdown) = start(Arc::default()).await;
        let answer = ask(address, "GET", "/metrics").await;
        assert!(
            answer.contains("content-type: application/openmetrics-text"),
            "{answer}"
        );
        assert!(answer.ends_with("# EOF\n"), "{answer}");
        for (method, path, status) in [
            ("HEAD", "/metrics", "200"),
            ("POST", "/metrics", "405"),
            ("PUT", "/log", "404"),
            ("GET", "/", "404"),
            ("GET", "/metrics/", "404"),
        ] {
            let answer = ask(address, method, path).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{method} {path}: {answer}"
            );
        }
        shutdown.cancel();
    }

    #[tokio::test]
    async fn nonsense_ends_the_connection_and_nothing_else() {
        let (address, _shutdown) = start(Arc::default()).await;
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(1_000_000));
        for nonsense in ["\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", &long] {
            let answer = exchange(address, nonsense).await;
            assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert!(
            ask(address, "GET", "/healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
    }
}
