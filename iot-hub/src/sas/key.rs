//! A symmetric key and what it signs.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The symmetric key of a device, a module or a policy.
#[derive(Clone)]
pub struct SharedKey(Vec<u8>);

impl SharedKey {
    /// The fewest bytes that a hub accepts as a key.
    pub const MIN_BYTES: usize = 16;
    /// The most bytes that a hub accepts as a key.
    pub const MAX_BYTES: usize = 64;

    /// Takes a key's bytes; a hub accepts 16 to 64 of them.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, KeyError> {
        if !(Self::MIN_BYTES..=Self::MAX_BYTES).contains(&bytes.len()) {
            return Err(KeyError::Length(bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// The key as connection strings and identities carry it. Secret: this is not for logs.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.0)
    }

    /// The key of one device in a group enrolment, of which this is the group's key.
    pub fn derive(&self, registration_id: &str) -> Self {
        Self(self.sign(registration_id).to_vec())
    }

    pub(super) fn sign(&self, text: &str) -> [u8; 32] {
        self.mac(text).finalize().into_bytes().into()
    }

    /// Compares in a time that does not depend on where the signatures differ.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> bool {
        self.mac(text).verify_slice(signature).is_ok()
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(text.as_bytes());
        mac
    }
}

impl FromStr for SharedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(STANDARD.decode(text).map_err(|_| KeyError::Base64)?)
    }
}

impl PartialEq for SharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SharedKey {}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

/// Why a text is no key. The text itself is left out: it may be a good key with a typing mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not base64.
    #[error("key is not base64")]
    Base64,
    /// It has too few or too many bytes.
    #[error("key has {0} bytes, expected 16 to 64")]
    Length(usize),
}
