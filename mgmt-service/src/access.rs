//! Who calls, and what it may do.
//!
//! ```text
//!   certificate ┐
//!   token ──────┴► identity ──► bindings ──► grants ──► decision about a call on a device
//! ```
//!
//! - [`who`]: identities, and how the settings name them; [`jwt`], [`keys`]: signed tokens.
//! - [`right`], [`scope`], [`policy`]: rights, devices, and the decision, all without clock or I/O.
//! - [`Access`]: the rules in use, which change while the service runs; [`Acquaintance`]: the caller behind a connection.
//!
//! A token that is shown has to be good: a bad one is refused even from a caller whose certificate
//! would do.

mod acquaintance;
pub mod jwt;
pub mod keys;
pub mod policy;
mod remote;
pub mod right;
pub mod scope;
pub mod who;

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::{acquaintance::Acquaintance, remote::KeyAddress};
use self::{
    jwt::{JwtRules, TokenError},
    keys::KeySet,
    policy::{Grants, Policy},
    remote::RemoteKeys,
    who::Identity,
};
use crate::listener::Peer;

/// Whom to let in, and to what.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AccessOptions {
    /// Tokens that are known by themselves.
    pub tokens: Vec<StaticToken>,
    /// Signed tokens.
    pub jwt: Option<JwtOptions>,
    /// Who may do what.
    pub policy: Policy,
}

/// A token that is known by itself. What is kept of it does not tell it.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticToken {
    /// What it is called in bindings and in the audit.
    pub name: String,
    /// The hash of the token.
    digest: [u8; 32],
}

/// Which signed tokens are good, and the keys to tell by.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtOptions {
    /// Which are good.
    pub rules: JwtRules,
    /// Where the keys are.
    pub keys: KeySource,
}

/// Where the keys for signed tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Here: what [`KeySet::parse`] reads.
    Here(Arc<[u8]>),
    /// At an address.
    At(KeyAddress),
}

/// What a caller shows besides its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// Nothing.
    Nothing,
    /// A token.
    Token(&'a str),
    /// Something that cannot be read.
    Garbled(&'static str),
}

/// A caller that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// Who it is.
    pub identity: Identity,
    /// The same in one word, for the audit.
    pub who: String,
    /// Its address.
    pub from: String,
    /// Until when its credentials are good; `None` for ever.
    pub expiry: Option<Timestamp>,
}

/// Why a caller is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It shows nothing.
    #[error("no credentials: send a bearer token, or connect with a certificate")]
    Nothing,
    /// What it shows cannot be read.
    #[error("{0}")]
    Garbled(&'static str),
    /// Its token is none of those known.
    #[error("the token is not known")]
    Unknown,
    /// Its token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Its certificate was good when it connected, and has expired since.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// The keys for signed tokens could not be read yet. The caller is not to blame.
    #[error("the keys for tokens cannot be read at this moment")]
    NoKeys,
}

impl StaticToken {
    /// Takes a token.
    pub fn new(name: String, token: &str) -> Self {
        Self {
            name,
            digest: digest(token),
        }
    }

    /// Says whether two are the same token, whatever they are called.
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The rules in use.
#[derive(Debug, Clone)]
pub struct Access {
    present: watch::Sender<Arc<Present>>,
    shutdown: CancellationToken,
}

/// Rules, ready for use.
#[derive(Debug)]
struct Present {
    options: AccessOptions,
    keys: Option<Keys>,
}

#[derive(Debug, Clone)]
enum Keys {
    Here(Arc<KeySet>),
    At(Arc<RemoteKeys>),
}

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("use the keys for tokens: {0}")]
pub struct AccessError(String);

impl Access {
    /// Begins with these rules. Keys that have an address are read in the background.
    pub fn start(options: AccessOptions, shutdown: CancellationToken) -> Result<Self, AccessError> {
        let present = Present::new(options, None, &shutdown)?;
        Ok(Self {
            present: watch::Sender::new(Arc::new(present)),
            shutdown,
        })
    }

    /// Takes up other rules. Keys whose address is the same stay.
    pub fn change(&self, options: AccessOptions) -> Result<(), AccessError> {
        let old = self.present.borrow().keys.clone();
        let present = Present::new(options, old, &self.shutdown)?;
        self.present.send_replace(Arc::new(present));
        Ok(())
    }

    /// Says whether everybody may do everything.
    pub(crate) fn is_open(&self) -> bool {
        self.present.borrow().options.policy.open
    }

    /// Tells of each change of the rules.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.present.subscribe())
    }

    /// What a caller may do by the rules in use.
    pub fn grants(&self, identity: &Identity) -> Grants {
        let present = self.present.borrow().clone();
        present.options.policy.grants(identity)
    }

    /// Says whether somebody who was let in would still be known.
    pub(crate) fn knows(&self, identity: &Identity) -> bool {
        let present = self.present.borrow().clone();
        let options = &present.options;
        match identity {
            Identity::Anonymous => options.policy.open,
            // Its connection ends when those who sign certificates change.
            Identity::Certificate(_) => true,
            Identity::Token(token) => options.tokens.contains(token),
            Identity::Subject(subject) => {
                let issuer = options.jwt.as_ref().map(|jwt| jwt.rules.issuer.as_str());
                let own = subject
                    .claims
                    .get("iss")
                    .and_then(serde_json::Value::as_str);
                issuer.is_some() && own == issuer
            }
        }
    }

    /// Finds out who calls.
    pub async fn authenticate(
        &self,
        peer: &Peer,
        shown: Shown<'_>,
        now: Timestamp,
    ) -> Result<Caller, AuthError> {
        let present = self.present.borrow().clone();
        let (identity, expiry) = match (shown, &peer.certificate) {
            (Shown::Garbled(why), _) => return Err(AuthError::Garbled(why)),
            (Shown::Token(token), _) => present.bearer(token, now).await?,
            (Shown::Nothing, Some(certificate)) => {
                if certificate.expiry <= now {
                    return Err(AuthError::CertificateExpired);
                }
                let expiry = certificate.expiry;
                (Identity::Certificate(certificate.clone()), Some(expiry))
            }
            (Shown::Nothing, None) if present.options.policy.open => (Identity::Anonymous, None),
            (Shown::Nothing, None) => return Err(AuthError::Nothing),
        };
        Ok(Caller {
            who: identity.to_string(),
            identity,
            from: peer.address.to_string(),
            expiry,
        })
    }
}

/// Tells of each change of the rules.
#[derive(Debug, Clone)]
pub(crate) struct Changes(watch::Receiver<Arc<Present>>);

impl Changes {
    /// Says whether the rules have changed since this was said last.
    pub(crate) fn any(&mut self) -> bool {
        let changed = self.0.has_changed().unwrap_or(false);
        if changed {
            self.0.mark_unchanged();
        }
        changed
    }

    /// Waits for the next one; for ever if there cannot be any.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Present {
    fn new(
        options: AccessOptions,
        old: Option<Keys>,
        shutdown: &CancellationToken,
    ) -> Result<Self, AccessError> {
        let keys = match options.jwt.as_ref().map(|jwt| &jwt.keys) {
            None => None,
            Some(KeySource::Here(text)) => {
                let keys = KeySet::parse(text).map_err(|error| AccessError(error.to_string()))?;
                Some(Keys::Here(Arc::new(keys)))
            }
            Some(KeySource::At(address)) => Some(match old {
                Some(Keys::At(remote)) if remote.address() == address => Keys::At(remote),
                Some(Keys::At(_) | Keys::Here(_)) | None => {
                    let remote = RemoteKeys::start(address.clone(), shutdown.clone());
                    Keys::At(remote.map_err(AccessError)?)
                }
            }),
        };
        Ok(Self { options, keys })
    }

    /// Finds out whose a token is.
    async fn bearer(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<(Identity, Option<Timestamp>), AuthError> {
        let shown = digest(token);
        let known = &self.options.tokens;
        if let Some(known) = known
            .iter()
            .find(|known| bool::from(known.digest.ct_eq(&shown)))
        {
            return Ok((Identity::Token(known.clone()), None));
        }
        let (Some(jwt), Some(keys)) = (&self.options.jwt, &self.keys) else {
            return Err(AuthError::Unknown);
        };
        let good = match keys {
            Keys::Here(keys) => jwt.rules.check(token, keys, now)?,
            Keys::At(remote) => check_by_remote(&jwt.rules, remote, token, now).await?,
        };
        Ok((Identity::Subject(Arc::new(good.subject)), Some(good.expiry)))
    }
}

/// Checks a token, and once more with newer keys if those at hand do not include its own.
async fn check_by_remote(
    rules: &JwtRules,
    remote: &RemoteKeys,
    token: &str,
    now: Timestamp,
) -> Result<jwt::Good, AuthError> {
    if let Some(keys) = remote.present() {
        match rules.check(token, &keys, now) {
            Err(TokenError::UnknownKey) => {}
            checked => return Ok(checked?),
        }
    }
    remote.refetch().await;
    let keys = remote.present().ok_or(AuthError::NoKeys)?;
    Ok(rules.check(token, &keys, now)?)
}

#[cfg(test)]
mod tests;
