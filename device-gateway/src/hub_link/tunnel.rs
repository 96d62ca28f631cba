//! The way through an HTTP proxy.

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use hyper_util::{client::legacy::connect::proxy::Tunnel, rt::TokioIo};
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;
use tower::{Service as _, service_fn};

use crate::config::Proxy;

/// Asks a proxy for a connection to a host, whose name the proxy looks up.
pub(super) async fn open(proxy: &Proxy, host: &str, port: u16) -> io::Result<TcpStream> {
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let target = uri("https", &host, port)?;
    let connect = service_fn(|proxy: Uri| async move {
        let host = proxy.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = proxy.port_u16().unwrap_or_default();
        TcpStream::connect((host, port)).await.map(TokioIo::new)
    });
    let mut tunnel = Tunnel::new(uri("http", &proxy.host, proxy.port)?, connect);
    if let Some(login) = &proxy.login {
        let login = format!("Basic {}", STANDARD.encode(login.expose_secret()));
        let login = HeaderValue::try_from(login).map_err(io::Error::other)?;
        tunnel = tunnel.with_auth(login);
    }
    match tunnel.call(target).await {
        Ok(socket) => Ok(socket.into_inner()),
        Err(error) => Err(io::Error::other(ProxyFailed {
            proxy: format!("{}:{}", proxy.host, proxy.port),
            source: Box::new(error),
        })),
    }
}

fn uri(scheme: &str, host: &str, port: u16) -> io::Result<Uri> {
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(format!("{host}:{port}"))
        .path_and_query("/");
    uri.build().map_err(io::Error::other)
}

/// A proxy leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("go through the proxy {proxy}")]
struct ProxyFailed {
    proxy: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}
