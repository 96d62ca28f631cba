//! Credentials in, callers or errors out.

use super::*;
use crate::certificate::Certificate;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn peer(certificate: Option<Certificate>) -> Peer {
    Peer {
        address: "192.0.2.1:4711".parse().unwrap(),
        certificate: certificate.map(Arc::new),
        callers: Acquaintance::default(),
    }
}

fn certificate() -> Certificate {
    let params = rcgen::CertificateParams::new(vec!["ci.example".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    Certificate::read(params.self_signed(&key).unwrap().der()).unwrap()
}

fn access(open: bool) -> Access {
    let options = AccessOptions {
        tokens: vec![StaticToken::new("ci".into(), "a-long-enough-token")],
        jwt: None,
        policy: Policy {
            bindings: Vec::new(),
            open,
        },
    };
    Access::start(options, CancellationToken::new()).unwrap()
}

async fn who(access: &Access, peer: &Peer, shown: Shown<'_>) -> Result<String, AuthError> {
    let caller = access.authenticate(peer, shown, now()).await?;
    assert_eq!(caller.from, "192.0.2.1:4711");
    Ok(caller.who)
}

#[tokio::test]
async fn a_token_names_the_caller_before_its_certificate_does() {
    let access = access(false);
    let token = Shown::Token("a-long-enough-token");
    let both = peer(Some(certificate()));
    assert_eq!(who(&access, &both, token).await.as_deref(), Ok("token:ci"));
    let by_certificate = who(&access, &both, Shown::Nothing).await;
    assert_eq!(by_certificate.as_deref(), Ok("certificate:ci.example"));
}

#[tokio::test]
async fn a_bad_token_is_refused_whatever_else_is_shown() {
    for access in [access(false), access(true)] {
        for peer in [peer(None), peer(Some(certificate()))] {
            for token in ["", "a-long-enough-toke", "a-long-enough-token "] {
                let refused = who(&access, &peer, Shown::Token(token)).await;
                assert_eq!(refused, Err(AuthError::Unknown), "{token}");
            }
            let refused = who(&access, &peer, Shown::Garbled("twice")).await;
            assert_eq!(refused, Err(AuthError::Garbled("twice")));
        }
    }
}

#[tokio::test]
async fn without_credentials_only_an_open_service_knows_anybody() {
    let nobody = who(&access(false), &peer(None), Shown::Nothing).await;
    assert_eq!(nobody, Err(AuthError::Nothing));
    let anybody = who(&access(true), &peer(None), Shown::Nothing).await;
    assert_eq!(anybody.as_deref(), Ok("anonymous"));
}

#[tokio::test]
async fn a_certificate_that_expires_on_an_open_connection_is_refused() {
    let mut expired = certificate();
    expired.expiry = now();
    let refused = who(&access(false), &peer(Some(expired)), Shown::Nothing).await;
    assert_eq!(refused, Err(AuthError::CertificateExpired));
}

#[tokio::test]
async fn changed_rules_hold_at_once() {
    let access = access(false);
    let mut changes = access.changes();
    access.change(AccessOptions::default()).unwrap();
    changes.next().await;
    let refused = who(&access, &peer(None), Shown::Token("a-long-enough-token")).await;
    assert_eq!(refused, Err(AuthError::Unknown));
}
