//! The keys that signed tokens are checked with.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::Value;

/// The most keys that are taken: a token without a key id is tried with all of them.
const MAX_KEYS: usize = 64;

/// The keys that signed tokens are checked with; each can only check, not sign.
#[derive(Debug, Clone)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    /// The one algorithm it is for; all of its family when absent.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// Why a text gives no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is neither of both.
    #[error("neither a JSON Web Key Set nor PEM public keys")]
    Format,
    /// It has no key that could check a signature.
    #[error("no public key for signatures among {0}")]
    NoKeys(usize),
    /// It has too many.
    #[error("{0} keys, which is more than 64")]
    TooMany(usize),
}

impl KeySet {
    /// Reads a JSON Web Key Set, or public keys as PEM. Keys of kinds that cannot check a signature
    /// are left out, symmetric ones above all: whoever can check with them could sign.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let text = str::from_utf8(bytes).map_err(|_| KeySetError::Format)?;
        let (found, keys): (usize, Vec<Key>) = if text.contains("-----BEGIN ") {
            let blocks = pem_blocks(text);
            (
                blocks.len(),
                blocks.iter().filter_map(|block| of_pem(block)).collect(),
            )
        } else {
            let set: Value = serde_json::from_str(text).map_err(|_| KeySetError::Format)?;
            let keys = set["keys"].as_array().ok_or(KeySetError::Format)?;
            // One key that is not understood does not spoil the others.
            let read = |key: &Value| of_jwk(&serde_json::from_value(key.clone()).ok()?);
            (keys.len(), keys.iter().filter_map(read).collect())
        };
        match keys.len() {
            0 => Err(KeySetError::NoKeys(found)),
            count if count > MAX_KEYS => Err(KeySetError::TooMany(count)),
            _ => Ok(Self { keys }),
        }
    }

    /// The keys that may have signed a token with this header.
    pub(super) fn of<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        let fits = move |key: &&Key| {
            let same_id = match (id, &key.id) {
                (Some(wanted), Some(id)) => wanted == id,
                // A key without an id may be any; a token without one may be signed by any.
                (None, _) | (Some(_), None) => true,
            };
            same_id
                && key.key.family() == algorithm.family()
                && key.algorithm.is_none_or(|only| only == algorithm)
        };
        self.keys.iter().filter(fits).map(|key| &key.key)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enums are open")]
fn of_jwk(jwk: &Jwk) -> Option<Key> {
    let algorithm = match jwk.common.key_algorithm {
        None => None,
        Some(named) => Some(named.to_string().parse().ok()?),
    };
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return None;
    }
    let curve = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(Algorithm::ES256),
            EllipticCurve::P384 => Some(Algorithm::ES384),
            // Nothing that is spoken here goes with another curve.
            _ => return None,
        },
        AlgorithmParameters::RSA(_) | AlgorithmParameters::OctetKeyPair(_) => None,
        // Symmetric, or of no known kind.
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    if algorithm.is_some_and(|algorithm: Algorithm| algorithm.family() != key.family()) {
        return None;
    }
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithm: algorithm.or(curve),
        key,
    })
}

/// Reads one public key, of whatever kind it is.
fn of_pem(block: &str) -> Option<Key> {
    let bytes = block.as_bytes();
    let key = DecodingKey::from_rsa_pem(bytes)
        .or_else(|_| DecodingKey::from_ec_pem(bytes))
        .or_else(|_| DecodingKey::from_ed_pem(bytes))
        .ok()
        .filter(|key| key.family() != AlgorithmFamily::Hmac)?;
    Some(Key {
        id: None,
        algorithm: None,
        key,
    })
}

/// Cuts a file into its public keys.
fn pem_blocks(text: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN ";
    let blocks = text.split(BEGIN).skip(1);
    blocks
        .filter(|block| block.contains("PUBLIC KEY-----"))
        .map(|block| format!("{BEGIN}{block}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{KeyPair, PublicKeyData as _};
    use serde_json::json;

    use super::*;

    const RSA: &str = "sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXboIRROSBigeC5yjU1hGzHHyXss8UDprecbAYxknTcQkhslANGRUZmdTOQ5qTRsLAt6BTYuyvVRdhS8exSZEy_c4gs_7svlJJQ4H9_NxsiIoLwAEk7-Q3UXERGYw_75IDrGA84-lA_-Ct4eTlXHBIY2EaV7t7LjJaynVJCpkv4LKjTTAumiGUIuQhrNhZLuF_RJLqHpM2kgWFLU7-VTdL1VbC2tejvcI2BlMkEpk1BzBZI0KQB0GaDWFLN-aEAw3vRw";

    fn count(text: &str) -> Result<usize, KeySetError> {
        KeySet::parse(text.as_bytes()).map(|set| set.keys.len())
    }

    #[test]
    fn only_keys_that_can_check_a_signature_are_taken() {
        let rsa = json!({"kty": "RSA", "kid": "a", "use": "sig", "n": RSA, "e": "AQAB"});
        let set = json!({"keys": [
            rsa,
            {"kty": "RSA", "kid": "b", "use": "enc", "n": RSA, "e": "AQAB"},
            {"kty": "RSA", "kid": "c", "alg": "ES256", "n": RSA, "e": "AQAB"},
            {"kty": "oct", "kid": "d", "k": "AAECAwQFBgcICQoLDA0ODw"},
            {"kty": "quantum", "kid": "e"},
            7,
        ]});
        let set = KeySet::parse(set.to_string().as_bytes()).unwrap();
        assert_eq!(set.keys.len(), 1);
        assert_eq!(set.of(Some("a"), Algorithm::RS256).count(), 1);
        assert_eq!(set.of(None, Algorithm::PS512).count(), 1);
        assert_eq!(set.of(Some("b"), Algorithm::RS256).count(), 0);
        assert_eq!(set.of(Some("a"), Algorithm::HS256).count(), 0);
        assert_eq!(set.of(Some("a"), Algorithm::ES256).count(), 0);
        let only = json!({"keys": [{"kty": "oct", "k": "AAECAwQFBgcICQoLDA0ODw"}]});
        assert_eq!(count(&only.to_string()), Err(KeySetError::NoKeys(1)));
    }

    #[test]
    fn a_file_may_hold_several_pem_keys() {
        let pem = |algorithm| KeyPair::generate_for(algorithm).unwrap().public_key_pem();
        let file = [
            pem(&rcgen::PKCS_ECDSA_P256_SHA256),
            pem(&rcgen::PKCS_ED25519),
        ]
        .join("");
        let set = KeySet::parse(file.as_bytes()).unwrap();
        assert_eq!(set.keys.len(), 2);
        assert_eq!(set.of(Some("any"), Algorithm::ES256).count(), 1);
        assert_eq!(set.of(None, Algorithm::EdDSA).count(), 1);
        assert_eq!(set.of(None, Algorithm::RS256).count(), 0);
        let key = KeyPair::generate().unwrap();
        assert_eq!(count(&key.serialize_pem()), Err(KeySetError::NoKeys(0)));
        assert!(!key.der_bytes().is_empty());
    }

    #[test]
    fn what_is_no_key_set_is_told() {
        for text in ["", "[]", "{}", "keys", "{\"keys\": 1}"] {
            assert_eq!(count(text), Err(KeySetError::Format), "{text}");
        }
        let key = json!({"kty": "RSA", "n": RSA, "e": "AQAB"});
        let many = json!({"keys": vec![key; 65]});
        assert_eq!(count(&many.to_string()), Err(KeySetError::TooMany(65)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            n in "[A-Za-z0-9_=-]{0,40}",
            kty in "RSA|EC|OKP|oct|",
        ) {
            let _ = KeySet::parse(&bytes);
            let key = json!({"kty": kty, "n": n, "e": n, "x": n, "y": n, "crv": "P-256", "k": n});
            let _ = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes());
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{n}\n-----END PUBLIC KEY-----\n");
            let _ = KeySet::parse(pem.as_bytes());
        }
    }
}
