//! The client against servers on loopback: how it signs in, whom it trusts, what it never sends.

use std::sync::Arc;

use hub_emulator::{Emulator, EmulatorConfig};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use super::*;
use crate::driver::http::{
    CertificatePrint,
    test_server::{Asked, Reply, TestServer},
};

fn user() -> User {
    User {
        name: "admin".into(),
        password: "secret".into(),
    }
}

fn digest(strong: bool) -> Auth {
    Auth::Digest {
        user: user(),
        strong,
    }
}

fn client(url: &str, trust: Trust, auth: Auth) -> HttpClient {
    HttpClient::new(Endpoint {
        url: url.parse().unwrap(),
        trust,
        auth,
        socket: None,
        timeout: Duration::from_secs(20),
    })
    .unwrap()
}

const GET: Request<'_> = Request {
    method: "GET",
    path: "/state?all=1",
    headers: &[],
    body: None,
};

/// What a device that asks for these gets to see, in the order of the requests.
async fn seen(asks: &'static [&'static str], auth: Auth) -> (u16, Vec<Asked>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let server = TestServer::start(move |asked| {
        log.lock().unwrap().push(asked.clone());
        if asked.headers.contains_key("authorization") {
            return Some(Reply::new(200, "yes"));
        }
        let refusal = Reply::new(401, "who?");
        Some(
            asks.iter()
                .fold(refusal, |reply, ask| reply.header("www-authenticate", ask)),
        )
    })
    .await;
    let status = client(&server.url(), Trust::System, auth).send(GET).await;
    let seen = seen.lock().unwrap().clone();
    (status.unwrap().status, seen)
}

const BASIC: &str = r#"Basic realm="r""#;
const MD5: &str = r#"Digest realm="r", nonce="n", qop="auth""#;
const SHA: &str = r#"Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256"#;

#[tokio::test]
async fn basic_and_bearer_are_sent_at_once() {
    let (status, seen_) = seen(&[], Auth::Basic(user())).await;
    assert_eq!((status, seen_.len()), (200, 1));
    assert_eq!(seen_[0].headers["authorization"], "Basic YWRtaW46c2VjcmV0");
    assert_eq!(
        (&*seen_[0].method, &*seen_[0].path),
        ("GET", "/state?all=1")
    );
    let (_, seen_) = seen(&[], Auth::Bearer("t0ken".into())).await;
    assert_eq!(seen_[0].headers["authorization"], "Bearer t0ken");
}

#[tokio::test]
async fn a_digest_takes_the_best_algorithm_and_goes_on_with_its_nonce() {
    let (status, seen_) = seen(&[BASIC, MD5, SHA], digest(false)).await;
    assert_eq!((status, seen_.len()), (200, 2));
    let proof = &seen_[1].headers["authorization"];
    assert!(proof.starts_with("Digest "), "{proof}");
    assert!(
        proof.contains("SHA-256") && proof.contains("/state?all=1"),
        "{proof}"
    );

    let server = TestServer::start(|asked| {
        Some(match asked.headers.get("authorization") {
            Some(proof) => Reply::new(200, proof),
            None => Reply::new(401, "").header("www-authenticate", SHA),
        })
    })
    .await;
    let client = client(&server.url(), Trust::System, digest(true));
    for count in ["nc=00000001", "nc=00000002"] {
        let answer = client.send(GET).await.unwrap();
        let proof = String::from_utf8(answer.body).unwrap();
        assert!(proof.contains(count), "{proof}");
    }
}

#[tokio::test]
async fn a_password_is_never_sent_nor_proved_more_weakly_than_asked() {
    for (asks, strong) in [
        (&[BASIC] as &[_], false),
        (&[BASIC, MD5], true),
        (&[], false),
    ] {
        let (status, seen) = seen(asks, digest(strong)).await;
        assert_eq!((status, seen.len()), (401, 1), "{asks:?}");
        assert!(!seen[0].headers.contains_key("authorization"));
    }
    let (status, _) = seen(&[MD5], digest(false)).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let server =
        TestServer::start(|_| Some(Reply::new(401, "no").header("www-authenticate", SHA))).await;
    let answer = client(&server.url(), Trust::System, digest(true))
        .send(GET)
        .await;
    assert_eq!(answer.unwrap().status, 401);
}

#[tokio::test]
async fn only_the_pinned_authority_is_trusted() {
    let hub = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let other = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let url = format!("https://localhost:{}", hub.https_port());
    let ca = |hub: &Emulator| Trust::Authorities(hub.ca_pem().as_bytes().to_vec());
    let trusted = client(&url, ca(&hub), Auth::None).send(GET).await;
    assert!(trusted.is_ok(), "{trusted:?}");
    for ca in [ca(&other), Trust::System] {
        let refused = client(&url, ca, Auth::None).send(GET).await;
        assert!(matches!(refused, Err(Silence::NotSent(_))), "{refused:?}");
    }
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = Endpoint {
        url: url.parse().unwrap(),
        trust: Trust::Authorities(broken.to_vec()),
        auth: Auth::None,
        socket: None,
        timeout: Duration::from_secs(1),
    };
    assert!(broken.check().is_err());
}

#[tokio::test]
async fn only_the_pinned_certificate_is_trusted() {
    let made = rcgen::generate_simple_self_signed(["bmc".to_owned()]).unwrap();
    let print = CertificatePrint::of(made.cert.der());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = TestServer::start_tls(config, |_| Some(Reply::new(200, "yes"))).await;
    let pinned = |print| client(&server.url(), Trust::Pinned(print), Auth::None);
    assert_eq!(pinned(print).send(GET).await.unwrap().status, 200);
    let other = CertificatePrint::of(&CertificateDer::from(vec![1]));
    for trust in [Trust::Pinned(other), Trust::System] {
        let refused = client(&server.url(), trust, Auth::None).send(GET).await;
        assert!(matches!(refused, Err(Silence::NotSent(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn nobody_is_followed_elsewhere_and_no_answer_is_endless() {
    let server = TestServer::start(|asked| {
        Some(if asked.path == "/long" {
            Reply::new(200, "x".repeat(MAX_ANSWER + 1))
        } else {
            Reply::new(302, "").header("location", "/long")
        })
    })
    .await;
    let client = client(&server.url(), Trust::System, Auth::None);
    assert_eq!(client.send(GET).await.unwrap().status, 302);
    // Nor where the device's own words lead.
    let other = TestServer::start(|_| Some(Reply::new(200, "yes"))).await;
    let there = other.url();
    for path in [
        &there,
        &there.replace("http:", ""),
        &there.replace("http:/", "\\"),
    ] {
        let sent = client.send(Request { path, ..GET }).await;
        assert!(matches!(sent, Err(Silence::NotSent(_))), "{path}: {sent:?}");
    }
    let long = Request {
        path: "/long",
        ..GET
    };
    assert_eq!(client.send(long).await.err(), Some(Silence::Endless));
}

#[tokio::test]
async fn what_certainly_did_not_leave_is_told_from_what_may_have() {
    let server = TestServer::start(|_| None).await;
    let url = server.url();
    let reached = client(&url, Trust::System, Auth::None);
    assert!(matches!(reached.send(GET).await, Err(Silence::Cut(_))));
    // Nobody listens on a port that was bound and is not.
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let silence = client(&url, Trust::System, Auth::None).send(GET).await;
    assert!(
        matches!(silence, Err(Silence::TurnedAway(_))),
        "{silence:?}"
    );
}

#[test]
fn an_address_of_the_devices_own_is_asked_where_the_device_is() {
    for (address, path) in [
        ("/redfish/v1/T/1", Some("/redfish/v1/T/1")),
        (
            "https://inside:8443/redfish/v1/T/1",
            Some("/redfish/v1/T/1"),
        ),
        ("https://inside", None),
        ("T/1", None),
        ("", None),
    ] {
        assert_eq!(path_of(address).as_deref(), path, "{address}");
    }
}
