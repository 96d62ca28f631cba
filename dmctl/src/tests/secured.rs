//! Over TLS: whom dmctl trusts, and how it says who calls.

use std::{fs, path::Path, sync::Arc};

use iothubdm_proto::v1::Device;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{Ran, run};
use crate::fake::{Fake, Script};

/// An authority, with what it has signed in a folder.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self(issuer)
    }

    fn certify(&self, name: &str, folder: &Path) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Listens in front of a service with TLS and asks every caller for a certificate.
async fn securing_proxy(url: &str, folder: &Path) -> String {
    let service = url.trim_start_matches("http://").to_owned();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap())
        .unwrap();
    let callers = WebPkiClientVerifier::builder(Arc::new(roots)).build();
    let certificate = CertificateDer::from_pem_file(folder.join("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("localhost.key")).unwrap();
    // By this version a caller is told at once that it is not let in.
    let mut config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_client_cert_verifier(callers.unwrap())
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            if let Ok(mut near) = acceptor.accept(near).await {
                let mut far = TcpStream::connect(&service).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
            }
        }
    });
    format!("https://localhost:{port}")
}

/// Runs `dmctl devices pump-1` against a secured service with these arguments, in which `@` stands
/// for a folder with certificates and a token.
async fn dmctl(arguments: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    for name in ["localhost", "caller"] {
        authority.certify(name, folder.path());
    }
    fs::write(folder.path().join("token"), "a-token\n").unwrap();
    let script = Script {
        devices: vec![Device {
            name: "devices/pump-1".to_owned(),
            ..Device::default()
        }],
        ..Script::default()
    };
    let (fake, url) = Fake::serve(script).await;
    let url = securing_proxy(&url, folder.path()).await;
    let path = folder.path().to_str().unwrap();
    let line = format!("devices pump-1 {arguments}").replace('@', path);
    run(line.trim(), &url, fake, std::future::pending()).await
}

#[tokio::test]
async fn certificates_and_a_token_say_who_calls() {
    let ran = dmctl(
        "--ca-file @/ca.pem --cert-file @/caller.pem --key-file @/caller.key --token-file @/token",
    )
    .await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let shown = ran.fake.asked(|asked| asked.authorization.clone());
    assert_eq!(shown, [Some("Bearer a-token".to_owned())]);
}

#[tokio::test]
async fn a_service_that_is_not_trusted_is_told_nothing() {
    let ran = dmctl("--token-file @/token").await;
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(ran.err.contains("certificate"), "{}", ran.err);
    assert!(ran.fake.asked(|asked| asked.authorization.is_empty()));
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_not_let_in() {
    let ran = dmctl("--ca-file @/ca.pem --token-file @/token").await;
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(ran.fake.asked(|asked| asked.authorization.is_empty()));
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let ran = dmctl("--ca-file @/nothing.pem").await;
    assert!(ran.err.contains("nothing.pem: No such file"), "{}", ran.err);
    let ran = dmctl("--ca-file @/ca.pem --cert-file @/caller.pem --key-file @/token").await;
    assert_eq!(ran.code, 64, "{}", ran.err);
}
