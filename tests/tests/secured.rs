//! The program behind TLS with tokens for its callers, and the Rust client before it: what SIGHUP
//! changes holds at once, for open watches too.

use std::{fs, time::Duration};

use iothubdm_client::{Client, Connector, Error, RebootRequest, Token, Update, Watch};
use iothubdm_proto::v1::OfflinePolicy;
use iothubdm_tests::{PATIENCE, World, eventually};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::time::timeout;
use tonic::Code;

const DEVICE: &str = "pump-1";
const OLD: &str = "token-that-is-taken-away";
const NEW: &str = "token-that-takes-its-place";

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("make a key");
    CertifiedIssuer::self_signed(params, key).expect("make an authority")
}

/// A certificate for a name or an address, and its key.
fn certify(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let params = CertificateParams::new([name.to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("make a key");
    let certificate = params.signed_by(&key, authority).expect("sign");
    (certificate.pem(), key.serialize_pem())
}

async fn connect(world: &World, ca: &str, token: &str) -> Result<Client, Error> {
    Connector::new(format!("https://{}", world.service_address()))
        .authorities(ca)
        .token(Token::Fixed(token.to_owned()))
        .connect()
        .await
}

async fn next(watch: &mut Watch) -> Option<Result<Update, Error>> {
    let next = timeout(PATIENCE, watch.next()).await;
    next.expect("the watch says something")
}

#[tokio::test]
async fn after_a_hangup_a_new_certificate_is_shown_and_a_token_taken_away_opens_nothing() {
    let authority = authority();
    let ca = authority.pem();
    let (certificate, key) = certify(&authority, "elsewhere.example");
    let world = World::builder()
        // Nothing but the hangup changes anything.
        .environment("MGMT_SERVICE__RELOAD_INTERVAL", "1day")
        .file("server.pem", &certificate)
        .file("server.key", &key)
        .file("caller.token", OLD)
        .service_settings(
            "[tls]\n\
             cert_file = \"server.pem\"\n\
             key_file = \"server.key\"\n\
             [access]\n\
             [[access.static_token]]\n\
             name = \"caller\"\n\
             file = \"caller.token\"\n\
             [[access.binding]]\n\
             who = \"token:caller\"\n\
             role = \"operator\"\n",
        )
        .bare_device(DEVICE)
        .start_without_waiting()
        .await;
    let write = |name: &str, text: &str| {
        fs::write(world.folder().join(name), text).expect("write a file");
    };
    let stranger = connect(&world, &ca, OLD).await;
    assert!(stranger.is_err(), "the certificate is for another name");

    let address = world.service_address().ip().to_string();
    let (certificate, key) = certify(&authority, &address);
    write("server.pem", &certificate);
    write("server.key", &key);
    world.service().hang_up();
    let client = eventually("the new certificate is shown", PATIENCE, async || {
        connect(&world, &ca, OLD).await.ok()
    })
    .await;
    let request = RebootRequest {
        device: format!("devices/{DEVICE}"),
        offline_policy: OfflinePolicy::Queue.into(),
        ..RebootRequest::default()
    };
    let attempt = client.reboot(request).await.expect("an operator may");
    let mut watch = client.watch(&attempt.name);
    let first = next(&mut watch).await.expect("a snapshot");
    assert!(matches!(first, Ok(Update::Event(_))), "{first:?}");

    write("caller.token", NEW);
    world.service().hang_up();
    let ended = loop {
        match next(&mut watch).await {
            Some(Ok(Update::Event(_))) => {}
            other => break other,
        }
    };
    match ended {
        Some(Err(Error::Refused(refusal))) => assert_eq!(refusal.code, Code::Unauthenticated),
        // The stream ended, and the next one is refused.
        Some(Ok(Update::Interrupted { .. })) => match next(&mut watch).await {
            Some(Err(Error::Refused(refusal))) => assert_eq!(refusal.code, Code::Unauthenticated),
            other => panic!("it goes on with {other:?}"),
        },
        other => panic!("it ends with {other:?}"),
    }
    match client.get_reboot(&attempt.name).await {
        Err(Error::Refused(refusal)) => assert_eq!(refusal.code, Code::Unauthenticated),
        other => panic!("the old token still opens: {other:?}"),
    }
    let client = connect(&world, &ca, NEW).await.expect("connect");
    let seen = timeout(Duration::from_secs(30), client.get_reboot(&attempt.name));
    let seen = seen.await.expect("an answer").expect("the new token opens");
    assert_eq!(seen.name, attempt.name);
}
