//! Signed tokens (JWT, RFC 7519): whether one is good, and whom it names.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::{Map, Value};

use super::{
    keys::KeySet,
    who::{Subject, texts_of},
};

/// The longest subject.
const MAX_SUBJECT_CHARS: usize = 256;

/// The algorithms that can be allowed. Those with a shared secret are not among them: a public key
/// would be taken for the secret.
pub const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Which tokens are good.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtRules {
    /// Who has to have issued them.
    pub issuer: String,
    /// For whom they have to be: any of these.
    pub audiences: Vec<String>,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// The claim that names the bearer.
    pub subject_claim: String,
    /// The claim that lists the bearer's groups.
    pub groups_claim: String,
}

/// A good token: whom it names, and until when.
#[derive(Debug, Clone, PartialEq)]
pub struct Good {
    /// Whom it names.
    pub subject: Subject,
    /// When it stops being good, leeway included.
    pub expiry: Timestamp,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no signed token.
    #[error("the token is malformed")]
    Malformed,
    /// It is signed in a way that is not allowed.
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    /// No key is known that could have signed it; a newer set of keys may have one.
    #[error("the token's key is not known")]
    UnknownKey,
    /// None of the keys signed it.
    #[error("the token's signature is wrong")]
    Signature,
    /// Somebody else issued it.
    #[error("the token's issuer is another one")]
    Issuer,
    /// It is meant for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It is no longer good.
    #[error("the token has expired")]
    Expired,
    /// It is not good yet.
    #[error("the token is not valid yet")]
    Early,
    /// It does not name its bearer in a usable way.
    #[error("the token names no subject")]
    Subject,
}

impl JwtRules {
    /// Checks a token.
    pub fn check(&self, token: &str, keys: &KeySet, now: Timestamp) -> Result<Good, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        // Nothing that could be critical is understood here.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        if !self.algorithms.contains(&header.alg) {
            return Err(TokenError::Algorithm);
        }
        let mut validation = Validation::new(header.alg);
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&self.audiences);
        // Time is an argument here.
        validation.validate_exp = false;
        let mut result = Err(TokenError::UnknownKey);
        for key in keys.of(header.kid.as_deref(), header.alg) {
            match decode::<Map<String, Value>>(token, key, &validation) {
                Ok(token) => return self.read(token.claims, now),
                Err(error) => result = Err(wrong(error.kind())),
            }
            if result != Err(TokenError::Signature) {
                break;
            }
        }
        result
    }

    fn read(&self, claims: Map<String, Value>, now: Timestamp) -> Result<Good, TokenError> {
        let leeway = i64::try_from(self.leeway.as_secs()).unwrap_or(i64::MAX);
        let expiry = seconds(claims.get("exp"))?.ok_or(TokenError::Malformed)?;
        let expiry = expiry.saturating_add(leeway);
        if expiry <= now.as_second() {
            return Err(TokenError::Expired);
        }
        if let Some(begin) = seconds(claims.get("nbf"))?
            && begin > now.as_second().saturating_add(leeway)
        {
            return Err(TokenError::Early);
        }
        let name = claims.get(&self.subject_claim).and_then(Value::as_str);
        let name = name.filter(|name| {
            !name.is_empty()
                && name.chars().count() <= MAX_SUBJECT_CHARS
                && !name.chars().any(char::is_control)
        });
        let name = name.ok_or(TokenError::Subject)?.to_owned();
        let groups: BTreeSet<_> = texts_of(&claims, &self.groups_claim).into_iter().collect();
        Ok(Good {
            subject: Subject {
                name,
                groups: groups.into_iter().collect(),
                claims,
            },
            expiry: Timestamp::from_second(expiry).unwrap_or(Timestamp::MAX),
        })
    }
}

/// A time in a token: a number of seconds, of which a part is dropped.
fn seconds(claim: Option<&Value>) -> Result<Option<i64>, TokenError> {
    let Some(claim) = claim else { return Ok(None) };
    let number = claim.as_i64().or_else(|| {
        let number = claim.as_f64()?;
        // Far beyond any date, and exactly representable.
        (number.abs() < 1e15).then_some(number as i64)
    });
    number.map(Some).ok_or(TokenError::Malformed)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is open")]
fn wrong(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenError::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenError::Audience,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        // All the rest means that the token is not one.
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
pub(crate) mod tests;
