//! Good tokens, and every kind of bad one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use rcgen::KeyPair;
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;

/// Who signs tokens, and the keys that go with it.
struct Issuer {
    key: KeyPair,
}

impl Issuer {
    fn new() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { key }
    }

    fn keys(&self) -> KeySet {
        KeySet::parse(self.key.public_key_pem().as_bytes()).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(&Header::new(Algorithm::ES256), claims)
    }

    fn sign_as(&self, header: &Header, claims: &Value) -> String {
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        encode(header, claims, &key).unwrap()
    }
}

fn rules() -> JwtRules {
    JwtRules {
        issuer: "https://login.example".into(),
        audiences: vec!["iothub-dm".into(), "api://iothub-dm".into()],
        algorithms: vec![Algorithm::ES256, Algorithm::RS256],
        leeway: Duration::from_secs(60),
        subject_claim: "sub".into(),
        groups_claim: "groups".into(),
    }
}

fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": "https://login.example", "aud": "iothub-dm", "sub": "alice", "exp": NOW + 3600,
        "groups": ["ops", "ops", "field"],
    });
    let Value::Object(changes) = changes else {
        unreachable!("changes are an object");
    };
    let all = claims.as_object_mut().unwrap();
    for (name, value) in changes {
        if value.is_null() {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
    }
    claims
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn check(issuer: &Issuer, token: &str) -> Result<Good, TokenError> {
    rules().check(token, &issuer.keys(), now())
}

#[test]
fn a_good_token_names_its_bearer() {
    let issuer = Issuer::new();
    let good = check(&issuer, &issuer.sign(&claims(json!({})))).unwrap();
    assert_eq!(good.subject.name, "alice");
    assert_eq!(good.subject.groups, ["field", "ops"]);
    assert_eq!(good.expiry.as_second(), NOW + 3660);
    let several = claims(json!({"aud": ["other", "api://iothub-dm"]}));
    assert!(check(&issuer, &issuer.sign(&several)).is_ok());
    let by_object = JwtRules {
        subject_claim: "oid".into(),
        ..rules()
    };
    let token = issuer.sign(&claims(json!({"oid": "o-1"})));
    let now = Timestamp::from_second(NOW).unwrap();
    let good = by_object.check(&token, &issuer.keys(), now).unwrap();
    assert_eq!(good.subject.name, "o-1");
}

#[test]
fn every_rule_is_checked() {
    use TokenError::{Audience, Early, Expired, Issuer as OtherIssuer, Malformed, Subject};
    let issuer = Issuer::new();
    for (changes, expected) in [
        (json!({"exp": NOW - 59}), None),
        (json!({"exp": NOW - 60}), Some(Expired)),
        (json!({"exp": null}), Some(Malformed)),
        (json!({"exp": "never"}), Some(Malformed)),
        (json!({"exp": 1e300}), Some(Malformed)),
        (json!({"exp": i64::MAX}), None),
        (json!({"nbf": NOW + 60}), None),
        (json!({"nbf": NOW + 61}), Some(Early)),
        (json!({"nbf": "now"}), Some(Malformed)),
        (json!({"iss": "https://login.example/"}), Some(OtherIssuer)),
        (json!({"iss": null}), Some(OtherIssuer)),
        (json!({"aud": "other"}), Some(Audience)),
        (json!({"aud": []}), Some(Audience)),
        (json!({"aud": null}), Some(Audience)),
        (json!({"sub": null}), Some(Subject)),
        (json!({"sub": ""}), Some(Subject)),
        (json!({"sub": 7}), Some(Subject)),
        (json!({"sub": "a\nb"}), Some(Subject)),
    ] {
        let token = issuer.sign(&claims(changes.clone()));
        assert_eq!(check(&issuer, &token).err(), expected, "{changes}");
    }
}

#[test]
fn a_token_of_another_key_is_refused() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let token = other.sign(&claims(json!({})));
    assert_eq!(check(&issuer, &token), Err(TokenError::Signature));
}

#[test]
fn a_token_with_a_changed_claim_is_refused() {
    let issuer = Issuer::new();
    let token = issuer.sign(&claims(json!({})));
    let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("a token has three parts");
    };
    let admin = BASE64.encode(claims(json!({"sub": "admin"})).to_string());
    let forged = format!("{header}.{admin}.{signature}");
    assert_eq!(check(&issuer, &forged), Err(TokenError::Signature));
}

#[test]
fn an_unsigned_token_is_refused() {
    let issuer = Issuer::new();
    let body = BASE64.encode(claims(json!({})).to_string());
    for algorithm in ["none", "None", "NONE", ""] {
        let header = BASE64.encode(json!({"alg": algorithm, "typ": "JWT"}).to_string());
        for signature in ["", "AAAA"] {
            let token = format!("{header}.{body}.{signature}");
            assert_eq!(
                check(&issuer, &token),
                Err(TokenError::Malformed),
                "{token}"
            );
        }
    }
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let issuer = Issuer::new();
    let public = issuer.key.public_key_pem();
    for secret in [public.as_bytes(), issuer.key.public_key_raw()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let key = EncodingKey::from_secret(secret);
            let token = encode(&Header::new(algorithm), &claims(json!({})), &key).unwrap();
            assert_eq!(check(&issuer, &token), Err(TokenError::Algorithm));
            // Were it allowed by mistake, there would still be no key for it.
            let careless = JwtRules {
                algorithms: vec![algorithm, Algorithm::ES256],
                ..rules()
            };
            let now = Timestamp::from_second(NOW).unwrap();
            let result = careless.check(&token, &issuer.keys(), now);
            assert_eq!(result, Err(TokenError::UnknownKey));
        }
    }
}

#[test]
fn an_algorithm_that_is_not_allowed_is_refused() {
    let issuer = Issuer::new();
    let only_rsa = JwtRules {
        algorithms: vec![Algorithm::RS256],
        ..rules()
    };
    let token = issuer.sign(&claims(json!({})));
    let now = Timestamp::from_second(NOW).unwrap();
    let result = only_rsa.check(&token, &issuer.keys(), now);
    assert_eq!(result, Err(TokenError::Algorithm));
}

#[test]
fn what_a_header_asks_for_is_not_done() {
    let issuer = Issuer::new();
    let critical = Header {
        crit: Some(vec!["exp".into()]),
        ..Header::new(Algorithm::ES256)
    };
    let token = issuer.sign_as(&critical, &claims(json!({})));
    assert_eq!(check(&issuer, &token), Err(TokenError::Malformed));
    // A header that brings its own key, or says where to fetch one.
    let other = Issuer::new();
    let foreign = Header {
        jku: Some("https://evil.example/keys".into()),
        x5u: Some("https://evil.example/chain".into()),
        kid: Some("../../dev/null".into()),
        ..Header::new(Algorithm::ES256)
    };
    let token = other.sign_as(&foreign, &claims(json!({})));
    assert_eq!(check(&issuer, &token), Err(TokenError::Signature));
}

#[test]
fn a_key_id_that_is_not_known_is_told_apart() {
    let issuer = Issuer::new();
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(
        &EncodingKey::from_ec_pem(issuer.key.serialize_pem().as_bytes()).unwrap(),
        Algorithm::ES256,
    );
    let mut jwk = jwk.unwrap();
    jwk.common.key_id = Some("one".into());
    let keys = KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
    let now = Timestamp::from_second(NOW).unwrap();
    let check = |id: Option<&str>| {
        let header = Header {
            kid: id.map(str::to_owned),
            ..Header::new(Algorithm::ES256)
        };
        let token = issuer.sign_as(&header, &claims(json!({})));
        rules().check(&token, &keys, now).err()
    };
    assert_eq!(check(Some("one")), None);
    assert_eq!(check(None), None);
    assert_eq!(check(Some("two")), Some(TokenError::UnknownKey));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}|[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,9}") {
        prop_assert!(check(&Issuer::new(), &text).is_err());
    }

    #[test]
    fn no_claims_make_it_panic(exp in any::<f64>(), nbf in any::<i64>()) {
        let issuer = Issuer::new();
        let _ = check(&issuer, &issuer.sign(&claims(json!({"exp": exp, "nbf": nbf}))));
    }
}
