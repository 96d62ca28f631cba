//! Who a device is: by a certificate, or by what the provisioning service says.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use hub_emulator::{
    DeviceSetup, Emulator, EmulatorConfig, Enrollee, Enrollment, Fault, Operation,
    ProvisioningSetup, SetupCredentials, Times,
};
use iot_hub::sas::SharedKey;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    device::Script,
    hub::Service,
    world::{DEVICE, ID, World, within},
};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn key() -> SharedKey {
    KEY.parse().unwrap()
}

fn by_key(enrollee: Enrollee) -> Enrollment {
    let credentials = SetupCredentials::Keys {
        primary: Some(key()),
        secondary: None,
    };
    Enrollment::new(enrollee, credentials)
}

fn device() -> Enrollee {
    Enrollee::Device(DEVICE.parse().unwrap())
}

/// A device that has a certificate of its own making.
pub(crate) struct Own {
    certificate: String,
    key: String,
    pub(crate) thumbprints: SetupCredentials,
}

impl Own {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let hash = Sha256::digest(certificate.der());
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            thumbprints: SetupCredentials::Thumbprints {
                primary: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
                secondary: None,
            },
        }
    }

    pub(crate) fn put(&self, folder: &Path) {
        fs::write(folder.join("device.pem"), &self.certificate).unwrap();
        let path = folder.join("device.key");
        fs::write(&path, &self.key).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

pub(crate) const CERTIFICATE: &str =
    "[device.certificate]\nfile = \"device.pem\"\nkey_file = \"device.key\"\n";

/// A hub with a provisioning service, at which nobody waits long.
fn quick() -> EmulatorConfig {
    EmulatorConfig {
        provisioning: ProvisioningSetup {
            retry_after: Duration::ZERO,
            ..ProvisioningSetup::default()
        },
        ..EmulatorConfig::default()
    }
}

/// The sections that make a device register with this emulator.
fn registering(service: &Emulator, device: &str) -> String {
    format!(
        "[device.provisioning]\n{device}\n\
         [provisioning]\nhost = \"localhost:{}\"\nid_scope = \"{}\"\n",
        service.mqtt_port(),
        service.id_scope(),
    )
}

fn start(world: &mut World, sections: &str) {
    let hub = format!("mqtt_port = {}", world.hub.mqtt_port());
    let config = world.config_with(&hub, "", sections);
    world.start_with(config);
}

/// A hub that knows the device by these.
pub(crate) fn knowing(credentials: SetupCredentials) -> EmulatorConfig {
    EmulatorConfig {
        devices: vec![DeviceSetup {
            credentials,
            ..DeviceSetup::new(DEVICE.parse().unwrap())
        }],
        ..EmulatorConfig::default()
    }
}

#[tokio::test]
async fn a_device_with_a_certificate_is_rebooted_and_a_renewed_one_is_taken_up() {
    let (first, second) = (Own::new(), Own::new());
    let mut world = World::prepare("", knowing(second.thumbprints.clone())).await;
    first.put(world.state_dir());
    let hub = format!("mqtt_port = {}", world.hub.mqtt_port());
    let identity =
        format!("connection_string = \"HostName=localhost;DeviceId={DEVICE};x509=true\"");
    world.start_with(world.config_with(&hub, &identity, CERTIFICATE));
    within(world.hub.counted(|counters| counters.connects.total >= 3)).await;
    assert!(
        !world.hub.is_connected(DEVICE),
        "its certificate is not registered"
    );
    second.put(world.state_dir());
    world.connected().await;
    world.reboot().await;
    world.state("SUCCEEDED").await;
}

#[tokio::test]
async fn a_device_registers_with_a_key_and_is_known_without_the_service_after_that() {
    let service = Emulator::start(quick()).await.unwrap();
    let mut world = World::prepare("", knowing(by_key(device()).credentials)).await;
    trust(&world, &service);
    service.enroll(Enrollment {
        hub: Some(address(&world.hub)),
        ..by_key(device())
    });
    let sections = registering(&service, &format!("key = \"{KEY}\""));
    start(&mut world, &sections);
    world.connected().await;
    world.stop_gateway().await;
    assert_eq!(service.counters().registrations.total, 2);

    service.faults().pause();
    start(&mut world, &sections);
    world.connected().await;
    world.reboot().await;
    world.state("SUCCEEDED").await;
}

#[tokio::test]
async fn a_groups_key_registers_its_devices() {
    let mut world = World::prepare("", quick()).await;
    world.hub.enroll(by_key(Enrollee::Group("site".to_owned())));
    let service = registering(&world.hub, "") + &format!("group_key = \"{KEY}\"\n");
    start(&mut world, &service);
    world.connected().await;
}

#[tokio::test]
async fn a_certificate_registers_its_device() {
    let own = Own::new();
    let mut world = World::prepare("", quick()).await;
    let enrollment = Enrollment::new(device(), own.thumbprints.clone());
    world.hub.enroll(Enrollment {
        device: Some("renamed".parse().unwrap()),
        ..enrollment
    });
    own.put(world.state_dir());
    let sections = registering(&world.hub, "") + CERTIFICATE;
    start(&mut world, &sections);
    within(world.hub.callable("renamed")).await;
}

#[tokio::test]
async fn a_device_that_its_hub_refuses_asks_for_another() {
    let mut world = World::prepare("", quick()).await;
    world.hub.enroll(by_key(device()));
    let sections = registering(&world.hub, &format!("key = \"{KEY}\""));
    start(&mut world, &sections);
    world.connected().await;
    world.service.delete(DEVICE).await;
    world.connected().await;
    assert_eq!(world.hub.counters().registrations.total, 4);
}

#[tokio::test]
async fn a_service_that_is_busy_is_asked_when_it_says() {
    let mut world = World::prepare("", quick()).await;
    world.hub.enroll(by_key(device()));
    let busy = Fault::Answer {
        operation: Some(Operation::Registration),
        device: None,
        status: 429,
        retry_after: Some(Duration::from_secs(2)),
    };
    let fault = world.hub.faults().inject(busy, Times::Next(1));
    let sections = registering(&world.hub, &format!("key = \"{KEY}\""));
    start(&mut world, &sections);
    within(world.hub.faults().fired(fault, 1)).await;
    let told = std::time::Instant::now();
    world.connected().await;
    assert!(
        told.elapsed() > Duration::from_millis(1500),
        "{:?}",
        told.elapsed()
    );
}

/// A device at a hub of its own, which the world's hub will be after.
async fn before_moving() -> (Emulator, World) {
    let first = Emulator::start(knowing(by_key(device()).credentials));
    let first = first.await.unwrap();
    let mut world = World::prepare("failover_after = \"200ms\"", quick()).await;
    trust(&world, &first);
    world.hub.enroll(Enrollment {
        hub: Some(address(&first)),
        ..by_key(device())
    });
    let sections = registering(&world.hub, &format!("key = \"{KEY}\""));
    world.device.follow(Script::Waits);
    start(&mut world, &sections);
    within(first.callable(DEVICE)).await;
    (first, world)
}

async fn move_from(first: Emulator, world: &World) {
    world.hub.enroll(by_key(device()));
    first.shutdown().await;
    world.connected().await;
}

#[tokio::test]
async fn an_open_attempt_moves_with_its_device_to_another_hub() {
    let (first, world) = before_moving().await;
    let asked = Service::of(&first);
    let asked = asked.call(DEVICE, "reboot", json!({ "requestId": ID }));
    assert_eq!(within(asked).await.0, 202);
    within(world.device.ordered()).await;
    move_from(first, &world).await;
    let reported = world.state("REBOOTING").await;
    assert_eq!(reported["requestId"], ID);
    world.device.boot(Some(ID.parse().unwrap()));
    world.state("SUCCEEDED").await;
    assert_eq!(world.device.orders().len(), 1);
}

#[tokio::test]
async fn what_one_hub_asked_is_not_answered_to_another() {
    let (first, world) = before_moving().await;
    let device = DEVICE.parse().unwrap();
    first
        .faults()
        .inject(Fault::WithholdAcks { device }, Times::Always);
    let asked = Service::of(&first);
    let asked = asked.call(DEVICE, "reboot", json!({ "requestId": ID }));
    assert_eq!(within(asked).await.0, 202);
    // Both hubs give their first call the same number.
    let waiting = world.call("capabilities", json!(null));
    let ((status, payload), ()) = tokio::join!(waiting, move_from(first, &world));
    assert_eq!(status, 200, "{payload}");
    assert_eq!(payload["bestGrade"], 5, "{payload}");
}

/// The gateway trusts this emulator beside the world's.
fn trust(world: &World, other: &Emulator) {
    let both = format!("{}{}", world.hub.ca_pem(), other.ca_pem());
    fs::write(world.state_dir().join("ca.pem"), both).unwrap();
}

/// As a hub that an enrolment names.
fn address(hub: &Emulator) -> iot_hub::identity::HubHost {
    format!("localhost:{}", hub.mqtt_port()).parse().unwrap()
}
