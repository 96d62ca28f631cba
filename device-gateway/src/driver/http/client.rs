//! An HTTP client for one device. With the answers' status as the only exception, what is known of HTTP
//! outside of this file is text.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http_auth::{DigestClient, PasswordParams, parse_challenges};
use reqwest::{
    Certificate, Client, RequestBuilder, Response, Url,
    header::{self, HeaderMap},
    redirect, retry,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::trust::Trust;
use crate::causes::{chain, is_turned_away};

/// The largest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;

/// The status of an answer that asks for credentials.
const UNAUTHORIZED: u16 = 401;

/// The digest algorithms, best first.
const ALGORITHMS: [&str; 2] = ["SHA-256", "MD5"];

/// How the gateway signs in at a device.
#[derive(Debug, Clone)]
pub enum Auth {
    /// It does not.
    None,
    /// User and password, in the clear.
    Basic(User),
    /// A proof of knowing the password, as of RFC 7616. The password is never sent, whatever the
    /// device asks for.
    Digest {
        /// Who signs in.
        user: User,
        /// Only with SHA-256.
        strong: bool,
    },
    /// A token.
    Bearer(SecretString),
}

/// A user of a device.
#[derive(Debug, Clone)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: SecretString,
}

/// The address of a device, and how it is trusted and signed in at.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `http://` or `https://`, a host and perhaps a port.
    pub url: Url,
    /// By which certificate it proves who it is.
    pub trust: Trust,
    /// How to sign in.
    pub auth: Auth,
    /// The socket to reach it by, whatever its address.
    pub socket: Option<PathBuf>,
    /// How long a request may take.
    pub timeout: Duration,
}

/// No client can be made.
#[derive(Debug, thiserror::Error)]
#[error("set up the HTTP client: {0}")]
pub struct ClientError(String);

/// A client for one device.
#[derive(Debug)]
pub(crate) struct HttpClient {
    client: Client,
    endpoint: Endpoint,
    /// What the device last asked for. It counts how often its nonce was used.
    challenge: Mutex<Option<DigestClient>>,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// With the query; begins with a slash.
    pub(crate) path: &'a str,
    /// What else goes with it.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// A body and its type.
    pub(crate) body: Option<(&'a str, &'a str)>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    headers: HeaderMap,
}

impl Answer {
    /// A header of that name, if it is a text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Silence {
    /// The request certainly did not arrive.
    #[error("{0}")]
    NotSent(String),
    /// It may have arrived.
    #[error("{0}")]
    Cut(String),
    /// It certainly did not, for the device's machine took no connection.
    #[error("{0}")]
    TurnedAway(String),
    /// It may have arrived, and then the device's machine ended the connection.
    #[error("{0}")]
    HungUp(String),
    /// It did, and what came back is more than anybody reads.
    #[error("the answer has more than {MAX_ANSWER} bytes")]
    Endless,
}

impl Silence {
    fn of(error: reqwest::Error) -> Self {
        let words = chain(&error);
        match (error.is_connect(), is_turned_away(&error)) {
            (true, true) => Self::TurnedAway(words),
            (true, false) => Self::NotSent(words),
            (false, true) => Self::HungUp(words),
            (false, false) if error.is_builder() => Self::NotSent(words),
            (false, false) => Self::Cut(words),
        }
    }
}

impl Endpoint {
    /// Reads an address: a scheme, a host and perhaps a port.
    pub fn address(text: &str) -> Option<Url> {
        let url: Url = text.parse().ok()?;
        let plain = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let known = matches!(url.scheme(), "http" | "https") && url.has_host();
        (plain && known).then_some(url)
    }

    /// Says whether a client for it can be made: only its authorities may be no certificates.
    pub fn check(&self) -> Result<(), ClientError> {
        HttpClient::new(self.clone()).map(drop)
    }
}

impl HttpClient {
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, ClientError> {
        let builder = Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(endpoint.timeout)
            .timeout(endpoint.timeout)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            // A device that reboots takes its connections with it, and a request on a dead one would
            // look as if it had been cut.
            .pool_max_idle_per_host(0);
        let failed = |error: reqwest::Error| ClientError(chain(&error));
        let builder = match &endpoint.trust {
            Trust::Pinned(print) => {
                let config = print.client_config();
                let config = config.map_err(|error| ClientError(error.to_string()))?;
                builder.tls_backend_preconfigured(config)
            }
            Trust::Authorities(pem) => {
                builder.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(failed)?)
            }
            // The system's roots are large, and nobody uses them here.
            Trust::System if endpoint.url.scheme() == "http" => builder.tls_certs_only([]),
            Trust::System => builder,
        };
        let builder = match &endpoint.socket {
            Some(path) => builder.unix_socket(path.clone()),
            None => builder,
        };
        Ok(Self {
            client: builder.build().map_err(failed)?,
            endpoint,
            challenge: Mutex::default(),
        })
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Answer, Silence> {
        read(self.ask(request).await?).await
    }

    /// Sends a request and reads the beginning of the answer, without its body.
    pub(crate) async fn begin(&self, request: Request<'_>) -> Result<Answer, Silence> {
        let mut response = self.ask(request).await?;
        Ok(Answer {
            status: response.status().as_u16(),
            body: Vec::new(),
            headers: std::mem::take(response.headers_mut()),
        })
    }

    /// Sends a request. It is carried out once at most: a device that asks for credentials has not
    /// done so, and is asked once more with them.
    async fn ask(&self, request: Request<'_>) -> Result<Response, Silence> {
        let first = self.send_once(request).await?;
        if first.status().as_u16() == UNAUTHORIZED && self.take_challenge(&first) {
            drop(first);
            return self.send_once(request).await;
        }
        Ok(first)
    }

    async fn send_once(&self, request: Request<'_>) -> Result<Response, Silence> {
        let url = self.endpoint.url.join(request.path);
        let url = url.map_err(|error| Silence::NotSent(error.to_string()))?;
        // A path may come from the device, and what signs in there goes to nobody else.
        if url.origin() != self.endpoint.url.origin() {
            let elsewhere = format!("{} leads elsewhere", request.path);
            return Err(Silence::NotSent(elsewhere));
        }
        let method = request.method.as_bytes();
        let method = reqwest::Method::from_bytes(method)
            .map_err(|error| Silence::NotSent(error.to_string()))?;
        let mut builder = self.client.request(method, url);
        for (name, value) in request.headers {
            builder = builder.header(*name, *value);
        }
        if let Some((body, kind)) = request.body {
            builder = builder
                .header(header::CONTENT_TYPE, kind)
                .body(body.to_owned());
        }
        let sent = self.sign(builder, request)?.send().await;
        sent.map_err(Silence::of)
    }

    fn sign(
        &self,
        builder: RequestBuilder,
        request: Request<'_>,
    ) -> Result<RequestBuilder, Silence> {
        Ok(match &self.endpoint.auth {
            Auth::None => builder,
            Auth::Basic(user) => {
                builder.basic_auth(&user.name, Some(user.password.expose_secret()))
            }
            Auth::Bearer(token) => builder.bearer_auth(token.expose_secret()),
            Auth::Digest { user, .. } => {
                let mut challenge = self
                    .challenge
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                match &mut *challenge {
                    Some(challenge) => {
                        let proof = challenge.respond(&PasswordParams {
                            username: &user.name,
                            password: user.password.expose_secret(),
                            uri: request.path,
                            method: request.method,
                            body: Some(request.body.map_or("", |(body, _)| body).as_bytes()),
                        });
                        builder.header(header::AUTHORIZATION, proof.map_err(Silence::NotSent)?)
                    }
                    None => builder,
                }
            }
        })
    }

    /// Takes in what a device asks for. Says whether it can be given.
    fn take_challenge(&self, answer: &Response) -> bool {
        let Auth::Digest { strong, .. } = &self.endpoint.auth else {
            return false;
        };
        let asked: Vec<_> = answer
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .filter_map(|value| parse_challenges(value).ok())
            .flatten()
            .filter(|challenge| challenge.scheme.eq_ignore_ascii_case("digest"))
            .collect();
        let algorithms = &ALGORITHMS[..if *strong { 1 } else { ALGORITHMS.len() }];
        let best = algorithms.iter().find_map(|algorithm| {
            let named = asked.iter().find(|challenge| {
                let named = challenge
                    .params
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case("algorithm"));
                // MD5 is meant when none is named.
                named
                    .map_or("MD5".to_owned(), |(_, value)| value.to_unescaped())
                    .eq_ignore_ascii_case(algorithm)
            })?;
            DigestClient::try_from(named).ok()
        });
        let found = best.is_some();
        *self
            .challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = best;
        found
    }
}

/// The path of an address that a device gives. It is asked of the device where the settings say that it
/// is, whatever it calls itself.
pub(crate) fn path_of(address: &str) -> Option<String> {
    let path = match address.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => address,
    };
    path.starts_with('/').then(|| path.to_owned())
}

async fn read(mut response: Response) -> Result<Answer, Silence> {
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(Silence::of)? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err(Silence::Endless);
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer {
        status,
        body,
        headers,
    })
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
