//! Tokens that somebody else issues, and that end: fetched before they are missed, one fetch at a
//! time, and kept for as long as they are good while no new one is to be had.
//!
//! ```text
//!            fetched                  near its end, or refused by the hub
//!  nothing ───────────► good ───────────────────────────────────────────► to be renewed
//!     │                  ▲                                                     │
//!     │ failed           └───────────────────── fetched ───────────────────────┤
//!     ▼                                                                        │ failed
//!  nothing for a while                              the old one for a while ◄──┘ while it is good
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reqwest::header::HeaderValue;

use super::credential::{TOKEN_MARGIN, later, secret_header};
use crate::{attempt::Trouble, lock::lock};

/// How long after a failure nothing is fetched: many calls may be waiting for one token.
const PAUSE: Duration = Duration::from_secs(5);

/// How long after a token was replaced because the hub refused it no other is. A hub that refuses
/// every token must not make us ask for one with every call.
const REFUSAL_PAUSE: Duration = Duration::from_secs(60);

/// Who issues tokens.
pub(super) trait Source: fmt::Debug + Send + Sync {
    /// Asks for one, within a limit.
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, Trouble>>;
}

/// A token that was issued.
pub(super) struct Fetched {
    pub(super) token: String,
    pub(super) expiry: Timestamp,
}

/// Gives the header `Authorization` for a token that is good.
#[derive(Debug)]
pub(super) struct Bearer {
    source: Box<dyn Source>,
    renewal: Mutex<Renewal<HeaderValue>>,
    /// Whoever holds it is fetching.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

impl Bearer {
    pub(super) fn new(source: Box<dyn Source>) -> Self {
        Self {
            source,
            renewal: Mutex::default(),
            fetching: Arc::default(),
        }
    }

    /// The header; a token is fetched first where there is none that is good.
    pub(super) async fn header(self: &Arc<Self>) -> Result<HeaderValue, Trouble> {
        match self.step() {
            Step::Use(header) => return Ok(header),
            Step::Renew(header) => {
                self.renew_meanwhile();
                return Ok(header);
            }
            Step::Fail(trouble) => return Err(trouble),
            Step::Fetch => {}
        }
        let _fetching = self.fetching.lock().await;
        match self.step() {
            Step::Use(header) | Step::Renew(header) => Ok(header),
            Step::Fail(trouble) => Err(trouble),
            Step::Fetch => self.fetch().await,
        }
    }

    /// The hub refused this header: another one, if it may fare better.
    pub(super) async fn instead_of(self: &Arc<Self>, refused: &HeaderValue) -> Option<HeaderValue> {
        if !lock(&self.renewal).refused(refused, Timestamp::now()) {
            return None;
        }
        tracing::info!("the hub refused the token; asking for another one");
        let header = self.header().await.ok()?;
        (header != refused).then_some(header)
    }

    /// Fetches a token while the old one is used, unless somebody does so already.
    fn renew_meanwhile(self: &Arc<Self>) {
        let Ok(fetching) = self.fetching.clone().try_lock_owned() else {
            return;
        };
        let bearer = self.clone();
        tokio::spawn(async move {
            let _fetching = fetching;
            if let Err(trouble) = bearer.fetch().await {
                tracing::warn!(%trouble, "failed to renew the token for the hub; the old one stays");
            }
        });
    }

    /// Fetches a token; only for who holds `fetching`.
    async fn fetch(&self) -> Result<HeaderValue, Trouble> {
        let fetched = self.source.fetch().await;
        let now = Timestamp::now();
        let fetched = fetched.and_then(|Fetched { token, expiry }| {
            let header = secret_header(&format!("Bearer {token}"));
            match header {
                Some(header) if expiry > now => Ok((header, expiry)),
                Some(_) => Err(Trouble::HubDenied(
                    "the token that was issued has expired already".to_owned(),
                )),
                None => Err(Trouble::HubDenied(
                    "the token that was issued cannot be sent in a header".to_owned(),
                )),
            }
        });
        let mut renewal = lock(&self.renewal);
        match fetched {
            Ok((header, expiry)) => {
                tracing::info!(%expiry, "got a token for the hub");
                renewal.fetched(header.clone(), expiry, now);
                Ok(header)
            }
            Err(trouble) => {
                renewal.failed(trouble.clone(), now);
                Err(trouble)
            }
        }
    }

    fn step(&self) -> Step<HeaderValue> {
        lock(&self.renewal).step(Timestamp::now())
    }
}

/// What is done for somebody who needs a token.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step<T> {
    /// There is a good one.
    Use(T),
    /// There is a good one, and the next should be fetched meanwhile.
    Renew(T),
    /// One has to be fetched first.
    Fetch,
    /// There is none to be had at this moment.
    Fail(Trouble),
}

/// Knows when a token is due, without a clock.
#[derive(Debug)]
struct Renewal<T> {
    held: Option<Held<T>>,
    failure: Option<Failure>,
    /// When a token was last replaced because the hub refused it.
    replaced: Option<Timestamp>,
}

#[derive(Debug)]
struct Held<T> {
    token: T,
    renew: Timestamp,
    expiry: Timestamp,
    /// The hub refused it.
    refused: bool,
}

#[derive(Debug)]
struct Failure {
    trouble: Trouble,
    until: Timestamp,
}

impl<T: Clone + PartialEq> Renewal<T> {
    fn step(&self, now: Timestamp) -> Step<T> {
        let held = self.held.as_ref().filter(|held| now < held.expiry);
        let failure = self.failure.as_ref().filter(|failure| now < failure.until);
        match (held, failure) {
            (Some(held), _) if !held.refused && now < held.renew => Step::Use(held.token.clone()),
            // The hub may have been wrong about it, and there is nothing better.
            (Some(held), Some(_)) => Step::Use(held.token.clone()),
            (Some(held), None) if held.refused => Step::Fetch,
            (Some(held), None) => Step::Renew(held.token.clone()),
            (None, Some(failure)) => Step::Fail(failure.trouble.clone()),
            (None, None) => Step::Fetch,
        }
    }

    fn fetched(&mut self, token: T, expiry: Timestamp, now: Timestamp) {
        let life = Duration::try_from(expiry.duration_since(now)).unwrap_or_default();
        // An issuer may hand out the same token until its end.
        let margin = TOKEN_MARGIN.min(life / 2).min(life.saturating_sub(PAUSE));
        let renew = expiry.checked_sub(margin).unwrap_or(now);
        self.held = Some(Held {
            token,
            renew,
            expiry,
            refused: false,
        });
        self.failure = None;
    }

    fn failed(&mut self, trouble: Trouble, now: Timestamp) {
        let until = later(now, PAUSE);
        self.failure = Some(Failure { trouble, until });
    }

    /// The hub refused a token. Says whether there may be a better one.
    fn refused(&mut self, token: &T, now: Timestamp) -> bool {
        match &mut self.held {
            Some(held) if held.token == *token && !held.refused => {
                if self
                    .replaced
                    .is_some_and(|at| now < later(at, REFUSAL_PAUSE))
                {
                    return false;
                }
                self.replaced = Some(now);
                held.refused = true;
                true
            }
            // It was replaced, or somebody is about to.
            Some(_) | None => true,
        }
    }
}

impl<T> Default for Renewal<T> {
    fn default() -> Self {
        Self {
            held: None,
            failure: None,
            replaced: None,
        }
    }
}

#[cfg(test)]
mod tests;
