//! Devices that identify themselves by a certificate.

use std::path::PathBuf;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use hub_emulator::{Emulator, EmulatorConfig, Enrollee, Enrollment, SetupCredentials, StartError};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reqwest::Method;
use rumqttc::mqttbytes::v4::ConnectReturnCode;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::device::{Credentials, Device, TWIN_ANSWERS, dial_with, roots};
use crate::service::Service;

/// A certificate with its key, and what led to it.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Shown {
    fn thumbprint(&self, algorithm: &'static Algorithm) -> String {
        let hash = digest(algorithm, &self.chain[0]);
        hash.as_ref()
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect()
    }

    fn client(
        &self,
        emulator: &Emulator,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(roots(emulator))
            .with_client_auth_cert(self.chain.clone(), PrivateKeyDer::Pkcs8(key))
            .unwrap()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn self_signed(name: &str) -> Shown {
    let key = KeyPair::generate().unwrap();
    let certificate = params(name).self_signed(&key).unwrap();
    Shown {
        chain: vec![certificate.der().clone()],
        key,
    }
}

/// An authority with one below it that signs the devices' certificates.
struct Authority {
    pem: String,
    middle: Issuer<'static, KeyPair>,
    middle_certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut root = params("Factory");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = root.self_signed(&key).unwrap().pem();
        let root = Issuer::new(root, key);

        let key = KeyPair::generate().unwrap();
        let mut middle = params("Line 1");
        middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = middle.signed_by(&key, &root).unwrap();
        Self {
            pem,
            middle_certificate: certificate.der().clone(),
            middle: Issuer::new(middle, key),
        }
    }

    fn sign(&self, name: &str) -> Shown {
        self.sign_params(&params(name))
    }

    fn sign_params(&self, params: &CertificateParams) -> Shown {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.middle).unwrap();
        Shown {
            chain: vec![certificate.der().clone(), self.middle_certificate.clone()],
            key,
        }
    }
}

async fn register(emulator: &Emulator, id: &str, authentication: Value) {
    let identity = json!({"deviceId": id, "authentication": authentication});
    let path = format!("/devices/{id}");
    let answer = Service::owner(emulator)
        .call(Method::PUT, &path, Some(&identity), &[])
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

fn without_password(id: &str) -> Credentials {
    Credentials {
        client_id: id.to_owned(),
        username: format!("localhost/{id}/?api-version=2021-04-12"),
        password: String::new(),
        clean_session: false,
        keep_alive: 60,
        will: None,
    }
}

/// Connects as `id` with this certificate and no password.
async fn connect(
    emulator: &Emulator,
    id: &str,
    shown: &Shown,
    version: &'static SupportedProtocolVersion,
) -> Result<Device, ConnectReturnCode> {
    let config = shown.client(emulator, version);
    let stream = dial_with(emulator.mqtt_port(), "localhost", config).await;
    Device::connect_over(Box::new(stream), &without_password(id)).await
}

#[tokio::test]
async fn a_registered_thumbprint_opens_its_devices_door_and_no_other() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let (first, second, stranger) = (self_signed("a"), self_signed("b"), self_signed("a"));
    let with_colons: Vec<String> = first
        .thumbprint(&SHA1_FOR_LEGACY_USE_ONLY)
        .as_bytes()
        .chunks(2)
        .map(|digits| String::from_utf8_lossy(digits).to_lowercase())
        .collect();
    let thumbprints = json!({
        "primaryThumbprint": with_colons.join(":"),
        "secondaryThumbprint": second.thumbprint(&SHA256),
    });
    let authentication = json!({"type": "selfSigned", "x509Thumbprint": &thumbprints});
    register(&emulator, "d1", authentication).await;
    let twin = emulator.twin("d1");
    assert_eq!(twin["authenticationType"], "selfSigned");
    assert_eq!(twin["x509Thumbprint"], thumbprints);
    let _ = emulator.device("signs-tokens");

    for version in [&TLS12, &TLS13] {
        for shown in [&first, &second] {
            let mut device = connect(&emulator, "d1", shown, version).await.unwrap();
            device.subscribe(TWIN_ANSWERS).await;
            device.twin().await;
        }
        for (id, shown) in [
            ("d1", &stranger),
            ("signs-tokens", &first),
            ("nobody", &first),
        ] {
            let refused = connect(&emulator, id, shown, version).await.err();
            assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized), "{id}");
        }
    }
    let none = Device::connect_with(&emulator, &without_password("d1")).await;
    assert_eq!(none.err(), Some(ConnectReturnCode::NotAuthorized));
}

fn device_ca(text: &str) -> (TempDir, EmulatorConfig, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("factory.pem");
    std::fs::write(&path, text).unwrap();
    let config = EmulatorConfig {
        device_ca_files: vec![path.clone()],
        ..EmulatorConfig::default()
    };
    (folder, config, path)
}

#[tokio::test]
async fn an_authoritys_signature_opens_the_door_of_the_device_it_names() {
    let (factory, rival) = (Authority::new(), Authority::new());
    let (_folder, config, _) = device_ca(&factory.pem);
    let emulator = Emulator::start(config).await.unwrap();
    register(&emulator, "d1", json!({"type": "certificateAuthority"})).await;
    register(&emulator, "d2", json!({"type": "certificateAuthority"})).await;

    let good = factory.sign("d1");
    connect(&emulator, "d1", &good, &TLS12).await.unwrap();
    connect(&emulator, "d1", &good, &TLS13).await.unwrap();

    let mut expired = params("d1");
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut incomplete = factory.sign("d1");
    incomplete.chain.truncate(1);
    for (id, shown) in [
        ("d2", &good),
        ("d1", &factory.sign("D1")),
        ("d1", &rival.sign("d1")),
        ("d1", &self_signed("d1")),
        ("d1", &factory.sign_params(&expired)),
        ("d1", &incomplete),
    ] {
        let refused = connect(&emulator, id, shown, &TLS13).await.err();
        assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized), "{id}");
    }
}

#[tokio::test]
async fn a_certificate_registers_its_device_and_then_opens_the_hubs_door() {
    let factory = Authority::new();
    let (_folder, config, _) = device_ca(&factory.pem);
    let emulator = Emulator::start(config).await.unwrap();
    let own = self_signed("whatever");
    let thumbprints = SetupCredentials::Thumbprints {
        primary: own.thumbprint(&SHA1_FOR_LEGACY_USE_ONLY),
        secondary: None,
    };
    let device = Enrollee::Device("d1".parse().unwrap());
    emulator.enroll(Enrollment::new(device, thumbprints));
    let group = Enrollee::Group("factory".to_owned());
    let authority = SetupCredentials::CertificateAuthority;
    emulator.enroll(Enrollment::new(group, authority));

    let knock = async |id: &str, shown: &Shown| {
        let stream = dial_with(
            emulator.mqtt_port(),
            "localhost",
            shown.client(&emulator, &TLS13),
        )
        .await;
        let credentials = Credentials {
            username: format!("0ne00000000/registrations/{id}/api-version=2019-03-31"),
            ..without_password(id)
        };
        Device::connect_over(Box::new(stream), &credentials).await
    };
    for (id, shown) in [("d1", &own), ("d2", &factory.sign("d2"))] {
        let mut device = knock(id, shown).await.unwrap();
        let answer = crate::provisioning::register(&mut device, id).await;
        assert_eq!(answer["registrationState"]["deviceId"], id);
        connect(&emulator, id, shown, &TLS13).await.unwrap();
    }
    for (id, shown) in [
        ("d1", &factory.sign("d1")),
        ("d3", &factory.sign("d2")),
        ("d3", &self_signed("d3")),
    ] {
        let refused = knock(id, shown).await.err();
        assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized), "{id}");
    }
}

#[tokio::test]
async fn a_token_goes_before_a_certificate() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let credentials = Credentials::new(&emulator.device("d1"));
    let config = self_signed("whoever").client(&emulator, &TLS13);
    let stream = dial_with(emulator.mqtt_port(), "localhost", config).await;
    let connected = Device::connect_over(Box::new(stream), &credentials).await;
    assert!(connected.is_ok());
}

#[tokio::test]
async fn a_file_without_authorities_is_an_error_that_names_it() {
    for text in [
        "",
        "nothing",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let (_folder, config, path) = device_ca(text);
        match Emulator::start(config).await {
            Err(error @ StartError::DeviceCa(_)) => {
                assert!(
                    error.to_string().contains(path.to_str().unwrap()),
                    "{error}"
                );
            }
            other => panic!("expected an error, got {other:?}"),
        }
    }
}
