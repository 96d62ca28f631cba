//! Which host key is a device's, and what the gateway signs in with.

use std::{fmt, fs, io, path::PathBuf, str::FromStr, sync::Arc};

use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey, decode_secret_key};
use secrecy::SecretString;

/// A host key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey(PublicKey);

impl FromStr for HostKey {
    type Err = String;

    /// Reads a line as in OpenSSH's `*.pub` files.
    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut key = PublicKey::from_openssh(line.trim()).map_err(|error| error.to_string())?;
        key.set_comment("");
        if key.algorithm().is_rsa() {
            return Err("RSA is not offered".to_owned());
        }
        Ok(Self(key))
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = self.0.algorithm();
        write!(f, "{algorithm} {}", self.0.fingerprint(HashAlg::Sha256))
    }
}

/// Whose host key is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// This one alone.
    Pinned(HostKey),
    /// The one in this file; or, as long as there is none, the first that is seen, which is written
    /// there.
    FirstUse(PathBuf),
}

impl Trust {
    /// The key that has to be shown; nothing before the first use.
    pub(super) fn expected(&self) -> io::Result<Option<HostKey>> {
        match self {
            Self::Pinned(key) => Ok(Some(key.clone())),
            Self::FirstUse(path) => match fs::read_to_string(path) {
                Ok(line) => line.parse().map(Some).map_err(io::Error::other),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Keeps the first key that was seen.
    pub(super) fn learn(&self, key: &HostKey) -> io::Result<()> {
        let Self::FirstUse(path) = self else {
            return Ok(());
        };
        let line = key.0.to_openssh().map_err(io::Error::other)?;
        daemon::files::write_whole(path, format!("{line}\n").as_bytes())
    }
}

impl HostKey {
    pub(super) fn of(key: &PublicKey) -> Self {
        let mut key = key.clone();
        key.set_comment("");
        Self(key)
    }

    /// The algorithm that the device has to prove itself with, so that it shows this key of several.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }
}

/// What the gateway signs in with.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A private key.
    Key(ClientKey),
    /// A password.
    Password(SecretString),
}

/// A private key.
#[derive(Clone)]
pub struct ClientKey(Arc<PrivateKey>);

impl FromStr for ClientKey {
    type Err = String;

    /// Reads a private key without a passphrase.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = decode_secret_key(text, None).map_err(|error| error.to_string())?;
        if key.algorithm().is_rsa() {
            return Err("RSA is not offered".to_owned());
        }
        Ok(Self(Arc::new(key)))
    }
}

impl ClientKey {
    pub(super) fn key(&self) -> Arc<PrivateKey> {
        self.0.clone()
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientKey").finish_non_exhaustive()
    }
}
