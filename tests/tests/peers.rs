//! The gateway's drivers against stand-ins for devices that somebody else wrote.

use std::{
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use device_gateway::{
    config::{Config, DriverConfig},
    driver::{
        Baseline, Driver, DriverError, Health, Observation, Order, Triggered, http::HttpDriver,
        onvif::OnvifDriver, redfish::RedfishDriver,
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

/// What was seen, two seconds after the baseline, proves of that order.
fn sign(baseline: &Baseline, seen: &Observation, order: &Order) -> Sign {
    let cause = Cause {
        id: order.id,
        journal_marker: false,
    };
    grade(
        baseline,
        seen,
        Elapsed::exactly(Duration::from_secs(2)),
        cause,
    )
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
        let off = DriverError::Absent("its power is Off".to_owned());
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
        let sign = sign(&baseline, &seen, &order);
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

/// Podman's service with one container, in a folder of its own.
struct Podman {
    folder: TempDir,
    service: Child,
}

impl Podman {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let podman = |arguments: &[&str]| podman(folder.path(), arguments);
        let image = folder.path().join("image/bin");
        std::fs::create_dir_all(&image).expect("make the image's folder");
        std::fs::copy("/bin/busybox", image.join("busybox")).expect("copy busybox");
        let archive = folder.path().join("image.tar").display().to_string();
        let tree = folder.path().join("image").display().to_string();
        succeeds(Command::new("tar").args(["-C", &tree, "-cf", &archive, "."]));
        succeeds(&mut podman(&["import", "--quiet", &archive, "web"]));
        // Limits of its own: the engine's may be beyond what its user may have.
        let limits = ["--ulimit", "nofile=256:256", "--ulimit", "nproc=64:64"];
        succeeds(
            podman(&["run", "--detach", "--name", DEVICE, "--network", "none"])
                .args(limits)
                .args(["web", "/bin/busybox", "sleep", "1000000"]),
        );
        let socket = folder.path().join("podman.sock");
        let address = format!("unix://{}", socket.display());
        let service = podman(&["system", "service", "--time", "0", &address])
            .spawn()
            .expect("start the service");
        eventually("the socket", PATIENCE, async || {
            UnixStream::connect(&socket).ok()
        })
        .await;
        Self { folder, service }
    }

    fn settings(&self, container: &str) -> String {
        let socket = self.folder.path().join("podman.sock");
        format!(
            "[device.container]\nname = \"{container}\"\nsocket = \"{}\"\ngrace = \"1s\"\n",
            socket.display()
        )
    }

    fn does(&self, arguments: &[&str]) {
        succeeds(&mut podman(self.folder.path(), arguments));
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let remove = ["rm", "--all", "--force", "--time", "0"];
        let _ = podman(self.folder.path(), &remove).status();
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

/// Podman with all that it keeps in that folder.
fn podman(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("podman");
    for (option, below) in [
        ("--root", "store"),
        ("--runroot", "run"),
        ("--tmpdir", "tmp"),
    ] {
        command.arg(option).arg(folder.join(below));
    }
    command
        .args(["--storage-driver", "vfs", "--events-backend", "file"])
        .args(["--cgroup-manager", "cgroupfs", "--runtime", "runc"])
        .args(arguments);
    command
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

#[tokio::test]
#[ignore = "starts a container, which not every machine lets its user do: cargo xtask containers"]
async fn a_container_of_podman_is_in_another_boot_only_after_its_restart() {
    let podman = Podman::start().await;
    let (config, _hub) = config(&podman.settings(DEVICE)).await;
    let checked = of_device(inspect::check(&config).await);
    let offers =
        "answers; reboots graceful, forced; can prove BOOT_CHANGED, has to prove BOOT_CHANGED";
    assert_eq!(checked, (true, offers.to_owned()));

    let DriverConfig::Http(settings) = &config.devices[0].driver else {
        panic!("{:?}", config.devices[0].driver);
    };
    let driver = HttpDriver::new(settings.endpoint.clone(), settings.plan.clone());
    let driver = driver.expect("make the driver");
    // It has no check of its health.
    assert_eq!(driver.health().await, Ok(Health::Unknown));
    for mode in [Mode::Graceful, Mode::Forced] {
        let baseline = driver.baseline().await.expect("it runs");
        let order = order(mode);
        let shows = async || {
            let seen = driver.observe(&baseline).await.expect("the engine answers");
            sign(&baseline, &seen, &order)
        };
        assert_eq!(
            shows().await,
            Sign::SameBoot,
            "{mode}: nothing was done yet"
        );
        assert_eq!(driver.trigger(&order).await, Ok(Triggered::Acknowledged));
        assert_eq!(shows().await, Sign::Rebooted(Grade::BootChanged), "{mode}");
    }

    let baseline = driver.baseline().await.expect("it runs");
    podman.does(&["stop", "--time", "0", DEVICE]);
    let seen = driver.observe(&baseline).await;
    let stopped = DriverError::Absent("it does not run".to_owned());
    assert_eq!(seen, Err(stopped));
}

#[tokio::test]
#[ignore = "starts a container, which not every machine lets its user do: cargo xtask containers"]
async fn a_container_that_podman_does_not_have_is_not_rebooted() {
    let podman = Podman::start().await;
    let (config, _hub) = config(&podman.settings("another")).await;
    let (good, found) = of_device(inspect::check(&config).await);
    assert!(!good && found.contains("no such container"), "{found}");
}
