//! Shared access signatures: tokens that prove possession of a key, until a time, for a resource.
//!
//! A token is `SharedAccessSignature sr=<resource>&sig=<signature>&se=<expiry>[&skn=<policy>]`,
//! fields in any order. The signature is HMAC-SHA256 over `<resource>\n<expiry>` *as they stand in
//! the token*. SDKs encode the resource differently (`%2F`, `%2f`, or not at all), so a token keeps
//! it as received and only compares it decoded.

mod key;

use std::{fmt, str::FromStr, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;

pub use self::key::{KeyError, SharedKey};
use crate::percent;

/// The scheme that opens every token.
const SCHEME: &str = "SharedAccessSignature";

/// How long after its expiry a hub still accepts a token, for clients whose clock is late.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A token, as made by us or as received.
#[derive(Clone, PartialEq, Eq)]
pub struct SasToken {
    /// The resource exactly as it stands in the token: the signature covers this text.
    sr: String,
    /// The resource, decoded.
    resource: String,
    signature: Vec<u8>,
    /// The expiry exactly as it stands in the token: the signature covers this text.
    se: String,
    expiry: Timestamp,
    policy: Option<String>,
}

impl SasToken {
    /// Makes a token for `resource` (not encoded) that is good until `expiry`, which is cut to
    /// whole seconds.
    ///
    /// Name the `policy` when the key belongs to one, and none when it is a device's or module's
    /// own.
    pub fn sign(resource: &str, key: &SharedKey, policy: Option<&str>, expiry: Timestamp) -> Self {
        let sr = percent::encode(resource).to_string();
        let seconds = expiry.as_second().max(0);
        let se = seconds.to_string();
        Self {
            signature: key.sign(&string_to_sign(&sr, &se)).to_vec(),
            sr,
            resource: resource.to_owned(),
            se,
            expiry: Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX),
            policy: policy.map(str::to_owned),
        }
    }

    /// Checks that one of `keys` signed this token and that it has not expired, [`CLOCK_SKEW`]
    /// allowed.
    ///
    /// This says nothing about what the token is for; see [`SasToken::covers`].
    pub fn verify(&self, keys: &[&SharedKey], now: Timestamp) -> Result<(), SasError> {
        let signed = string_to_sign(&self.sr, &self.se);
        if !keys.iter().any(|key| key.verify(&signed, &self.signature)) {
            return Err(SasError::WrongSignature);
        }
        let end = self
            .expiry
            .checked_add(CLOCK_SKEW)
            .unwrap_or(Timestamp::MAX);
        if now >= end {
            return Err(SasError::Expired {
                expiry: self.expiry,
            });
        }
        Ok(())
    }

    /// The resource that the token is for, decoded.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The policy whose key signed the token; none for a device's or module's own key.
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// When the token ends. An expiry later than a [`Timestamp`] can hold is the latest one.
    pub fn expiry(&self) -> Timestamp {
        self.expiry
    }

    /// Whether the token's resource is `scope` or contains it, by whole path segments: `h/devices`
    /// covers `h/devices/d1`, and `h/devices/d1` does not cover `h/devices/d10`. The host is
    /// compared without regard to case.
    pub fn covers(&self, scope: &str) -> bool {
        let mut wanted = scope.split('/');
        let mut granted = self.resource.trim_end_matches('/').split('/');
        let same_host = match (granted.next(), wanted.next()) {
            (Some(granted), Some(wanted)) => {
                !granted.is_empty() && granted.eq_ignore_ascii_case(wanted)
            }
            _ => false,
        };
        same_host && granted.all(|segment| wanted.next() == Some(segment))
    }
}

fn string_to_sign(sr: &str, se: &str) -> String {
    format!("{sr}\n{se}")
}

/// The token's text, for an `Authorization` header or an MQTT password.
impl fmt::Display for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = STANDARD.encode(&self.signature);
        write!(
            f,
            "{SCHEME} sr={}&sig={}&se={}",
            self.sr,
            percent::encode(&signature),
            self.se
        )?;
        match &self.policy {
            Some(policy) => write!(f, "&skn={}", percent::encode(policy)),
            None => Ok(()),
        }
    }
}

/// Leaves out the signature, which is a credential until the token ends.
impl fmt::Debug for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasToken")
            .field("resource", &self.resource)
            .field("policy", &self.policy)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

impl FromStr for SasToken {
    type Err = SasParseError;

    fn from_str(text: &str) -> Result<Self, SasParseError> {
        let mut parts = text.split_whitespace();
        let (Some(SCHEME), Some(fields), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SasParseError::Scheme);
        };
        let fields = Fields::read(fields)?;
        let sr = fields.sr.ok_or(SasParseError::Missing("sr"))?;
        let sig = fields.sig.ok_or(SasParseError::Missing("sig"))?;
        let se = fields.se.ok_or(SasParseError::Missing("se"))?;

        let resource = percent::decode(sr).ok_or(SasParseError::Malformed("sr"))?;
        let signature = percent::decode(sig)
            .and_then(|sig| STANDARD.decode(sig).ok())
            .ok_or(SasParseError::Malformed("sig"))?;
        let expiry = expiry(se).ok_or(SasParseError::Malformed("se"))?;
        let policy = match fields.skn {
            None | Some("") => None,
            Some(skn) => Some(percent::decode(skn).ok_or(SasParseError::Malformed("skn"))?),
        };
        Ok(Self {
            sr: sr.to_owned(),
            resource,
            signature,
            se: se.to_owned(),
            expiry,
            policy,
        })
    }
}

#[derive(Default)]
struct Fields<'a> {
    sr: Option<&'a str>,
    sig: Option<&'a str>,
    se: Option<&'a str>,
    skn: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, SasParseError> {
        let mut fields = Self::default();
        for pair in text.split('&') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let (field, name) = match name.to_ascii_lowercase().as_str() {
                "sr" => (&mut fields.sr, "sr"),
                "sig" => (&mut fields.sig, "sig"),
                "se" => (&mut fields.se, "se"),
                "skn" => (&mut fields.skn, "skn"),
                _ => continue,
            };
            if field.replace(value).is_some() {
                return Err(SasParseError::Duplicate(name));
            }
        }
        Ok(fields)
    }
}

/// Reads decimal seconds since 1970; a time beyond the calendar's end is the calendar's end.
fn expiry(se: &str) -> Option<Timestamp> {
    if se.is_empty() || !se.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = se.parse().unwrap_or(i64::MAX);
    Some(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SasParseError {
    /// It does not consist of the scheme and one word of fields.
    #[error("expected `SharedAccessSignature` and its fields, separated by a space")]
    Scheme,
    /// A field is missing.
    #[error("token has no field `{0}`")]
    Missing(&'static str),
    /// A field stands there twice.
    #[error("token has two fields `{0}`")]
    Duplicate(&'static str),
    /// A field cannot be read.
    #[error("token's field `{0}` is malformed")]
    Malformed(&'static str),
}

/// Why a well-formed token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SasError {
    /// None of the keys made this signature.
    #[error("signature matches no key")]
    WrongSignature,
    /// The token has ended.
    #[error("token expired at {expiry}")]
    Expired {
        /// When it ended, the skew not counted.
        expiry: Timestamp,
    },
}

#[cfg(test)]
mod tests;
