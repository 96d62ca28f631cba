//! HTTP clients. With [`crate::hub`], the only place that knows of HTTP.

use std::{error::Error, net::IpAddr, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Url, redirect, retry};

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long a document may take in all.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// The largest document that is read.
const MAX_DOCUMENT: usize = 256 * 1024;

/// A client that goes only where it is told to, and sends nothing twice by itself. `ca` is PEM, and
/// replaces the platform's roots.
pub(crate) fn client(ca: Option<&[u8]>) -> reqwest::Result<ClientBuilder> {
    let builder = Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_LIMIT)
        .redirect(redirect::Policy::none())
        .retry(retry::never());
    match ca {
        None => Ok(builder),
        Some(pem) => Ok(builder.tls_certs_only(Certificate::from_pem_bundle(pem)?)),
    }
}

/// Says what is wrong with the address of a document that others are judged by.
pub(crate) fn check_url(text: &str) -> Result<(), &'static str> {
    let expected = "an https:// address, or an http:// one on this machine";
    let url = Url::parse(text).map_err(|_| expected)?;
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(()),
        "http" if here => Ok(()),
        _ => Err(expected),
    }
}

/// A document on the web that is read again and again.
#[derive(Debug)]
pub(crate) struct Document {
    client: Client,
    url: String,
}

impl Document {
    /// Makes a client for it.
    pub(crate) fn new(url: &str, ca: Option<&[u8]>) -> Result<Self, String> {
        let client = client(ca).and_then(ClientBuilder::build);
        Ok(Self {
            client: client.map_err(|error| chain(&error))?,
            url: url.to_owned(),
        })
    }

    /// Reads it.
    pub(crate) async fn fetch(&self) -> Result<Vec<u8>, String> {
        let request = self.client.get(&self.url).timeout(FETCH_LIMIT).send();
        let mut response = request.await.map_err(|error| chain(&error))?;
        if response.status() != 200 {
            return Err(format!("the answer is {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| chain(&error))? {
            if body.len() + part.len() > MAX_DOCUMENT {
                return Err(format!("the document has more than {MAX_DOCUMENT} bytes"));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

/// An error with its causes; reqwest's own text says little.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fetched_over_tls_or_from_this_machine() {
        for (url, good) in [
            ("https://login.example/keys", true),
            ("http://127.0.0.1:8080/keys", true),
            ("http://localhost/keys", true),
            ("http://[::1]/keys", true),
            ("http://login.example/keys", false),
            ("http://127.0.0.1.evil.example/keys", false),
            ("file:///etc/keys", false),
            ("keys", false),
            ("", false),
        ] {
            assert_eq!(check_url(url).is_ok(), good, "{url}");
        }
    }
}
