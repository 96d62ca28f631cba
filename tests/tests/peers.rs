//! The gateway's drivers against stand-ins for devices that somebody else wrote.

use std::{path::Path, time::Duration};

use device_gateway::{
    config::{Config, DriverConfig},
    driver::{
        Driver, DriverError, Health, Observation, Order, Triggered, onvif::OnvifDriver,
        redfish::RedfishDriver,
    },
    evidence::{Cause, Elapsed, Sign, grade},
    inspect,
};
use hub_emulator::{Emulator, EmulatorConfig};
use iot_hub::reboot::{Grade, Mode, RequestId};
use iothubdm_tests::{Language, PATIENCE, ScriptProcess, eventually};
use tempfile::TempDir;
use uuid::Uuid;

const DEVICE: &str = "server-1";

/// Starts a peer; returns what it says once it serves.
async fn peer(script: &str, arguments: &[&str]) -> (ScriptProcess, String) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let started = ScriptProcess::start(Language::Python, "tests/peers", script, arguments, target);
    let mut peer = started.unwrap_or_else(|error| panic!("{error:#}"));
    let told = peer.prints("serves ").await;
    (peer, told)
}

/// A gateway's settings for one device with this driver.
async fn config(driver: &str) -> (Config, Emulator) {
    let hub = Emulator::start(EmulatorConfig::default())
        .await
        .expect("start the emulator");
    let connection = hub.device(DEVICE);
    let text = format!(
        "state_dir = \"state\"\n[[device]]\nid = \"{DEVICE}\"\nconnection_string = \"{connection}\"\n{driver}"
    );
    let config = Config::parse(&text, Path::new("/")).expect("the settings are right");
    (config, hub)
}

/// What `check` or `rehearse` found of the device.
fn of_device(findings: Vec<inspect::Finding>) -> (bool, String) {
    let mut findings = findings.into_iter();
    let found = findings.find(|finding| finding.subject == DEVICE);
    let found = found.expect("the device is looked at");
    (found.good, found.found)
}

fn order(mode: Mode) -> Order {
    Order {
        id: RequestId(Uuid::new_v4()),
        mode,
        force: false,
        dry_run: false,
        reason: "a test".to_owned(),
    }
}

/// OpenStack's emulator of Redfish, with a certificate of its own.
struct Redfish {
    _process: ScriptProcess,
    _folder: TempDir,
    settings: String,
}

impl Redfish {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let made =
            rcgen::generate_simple_self_signed(["bmc".to_owned()]).expect("make a certificate");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("write a file");
            path.display().to_string()
        };
        let certificate = file("certificate.pem", &made.cert.pem());
        let key = file("key.pem", &made.signing_key.serialize_pem());
        let state = folder.path().display().to_string();
        let arguments = [state.as_str(), &certificate, &key, "secret"];
        let (process, told) = peer("redfish.py", &arguments).await;
        let (port, print) = told.split_once(' ').expect("a port and a fingerprint");
        Self {
            settings: format!(
                "[device.redfish]\nurl = \"https://127.0.0.1:{port}\"\n\
                 certificate_sha256 = \"{print}\"\nuser = \"operator\"\n"
            ),
            _process: process,
            _folder: folder,
        }
    }
}

#[tokio::test]
async fn a_system_of_openstacks_redfish_emulator_is_seen_off_and_on_again() {
    let redfish = Redfish::start().await;
    let (config, _hub) = config(&format!("{}password = \"secret\"\n", redfish.settings)).await;
    let checked = of_device(inspect::check(&config).await);
    let offers = "answers; reboots graceful, forced; can prove RETURNED, has to prove RETURNED";
    assert_eq!(checked, (true, offers.to_owned()));
    let rehearsed = of_device(inspect::rehearse(&config, &[]).await);
    assert_eq!(rehearsed, (true, "would be rebooted".to_owned()));

    let DriverConfig::Redfish(settings) = &config.devices[0].driver else {
        panic!("{:?}", config.devices[0].driver);
    };
    let driver = RedfishDriver::new((**settings).clone()).expect("make the driver");
    for mode in [Mode::Graceful, Mode::Forced] {
        let baseline = driver.baseline().await.expect("it is on");
        let order = order(mode);
        assert_eq!(driver.trigger(&order).await, Ok(Triggered::Acknowledged));
        let seen = driver.observe(&baseline).await;
        let off = DriverError::Unreachable("its power is Off".to_owned());
        assert_eq!(seen, Err(off), "{mode}");
        let back = eventually("the system is back", PATIENCE, async || {
            driver.observe(&baseline).await.ok()
        })
        .await;
        assert_eq!(driver.health().await, Ok(Health::Healthy));
        // The engine remembers that it was away.
        let seen = Observation {
            was_absent: true,
            ..back
        };
        let cause = Cause {
            id: order.id,
            journal_marker: false,
        };
        let elapsed = Elapsed::exactly(Duration::from_secs(2));
        let sign = grade(&baseline, &seen, elapsed, cause);
        assert_eq!(sign, Sign::Rebooted(Grade::Returned));
    }
}

#[tokio::test]
async fn openstacks_redfish_emulator_is_not_told_anything_with_another_password() {
    let redfish = Redfish::start().await;
    let (config, _hub) = config(&format!("{}password = \"guess\"\n", redfish.settings)).await;
    let (good, found) = of_device(inspect::check(&config).await);
    assert!(!good && found.contains("HTTP status 401"), "{found}");
}

/// A device behind IPyCam, a virtual camera, with that password.
async fn camera(password: &str) -> (ScriptProcess, Config, Emulator) {
    let (process, port) = peer("onvif.py", &["admin", "secret"]).await;
    let (config, hub) = config(&format!(
        "[device.onvif]\nurl = \"http://127.0.0.1:{port}\"\nuser = \"admin\"\npassword = \"{password}\"\n"
    ))
    .await;
    (process, config, hub)
}

#[tokio::test]
async fn the_virtual_camera_ipycam_takes_our_token_and_its_no_is_heard() {
    let (_process, config, _hub) = camera("secret").await;
    let checked = of_device(inspect::check(&config).await);
    let offers = "answers; reboots graceful, forced; can prove RETURNED, has to prove RETURNED";
    assert_eq!(checked, (true, offers.to_owned()));
    let rehearsed = of_device(inspect::rehearse(&config, &[]).await);
    assert_eq!(rehearsed, (true, "would be rebooted".to_owned()));

    let DriverConfig::Onvif(settings) = &config.devices[0].driver else {
        panic!("{:?}", config.devices[0].driver);
    };
    let driver = OnvifDriver::new((**settings).clone()).expect("make the driver");
    assert_eq!(driver.health().await, Ok(Health::Healthy));
    let baseline = driver.baseline().await.expect("it answers");
    assert!(
        driver
            .observe(&baseline)
            .await
            .is_ok_and(|seen| seen.present)
    );
    // It knows no reboot, and leaves open whether that is for good.
    let given = driver.trigger(&order(Mode::Graceful)).await;
    let Err(DriverError::Failed { message, .. }) = &given else {
        panic!("{given:?}");
    };
    assert!(message.contains("Action not supported"), "{message}");
}

#[tokio::test]
async fn the_virtual_camera_ipycam_does_not_take_another_password() {
    let (_process, config, _hub) = camera("guess").await;
    let (good, found) = of_device(inspect::check(&config).await);
    assert!(!good && found.contains("Sender not authorized"), "{found}");
}
