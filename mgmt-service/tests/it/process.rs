//! The program itself: its arguments, its files, its signals.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use hub_emulator::{Emulator, EmulatorConfig};
use iothubdm_proto::v1::ListRebootsRequest;
use serde_json::Value;
use tempfile::TempDir;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::world::{channel, connect, settings, within};

/// A folder with settings for a hub that runs.
struct Site {
    folder: TempDir,
    emulator: Emulator,
    config: PathBuf,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
        let config = folder.path().join("service.toml");
        fs::write(&config, settings(&emulator, folder.path(), "")).unwrap();
        Self {
            folder,
            emulator,
            config,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mgmt-service"));
        command.arg("--config").arg(&self.config);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Checks that the hub's key is in none of what was printed.
    fn is_silent_about_the_key(&self, printed: &str) {
        let secret = self.emulator.service_connection_string();
        let key = secret.split("SharedAccessKey=").nth(1).unwrap();
        assert!(!printed.contains(key), "the key is in {printed}");
    }
}

async fn run(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output());
    within(output).await.unwrap().unwrap()
}

#[tokio::test]
async fn settings_are_checked_without_serving() {
    let site = Site::new().await;
    let mut command = site.program();
    command.arg("--check-config");
    let output = run(command).await;
    assert!(output.status.success(), "{output:?}");
    assert!(!site.path("mgmt-service.db").exists());

    fs::write(&site.config, "lisen = 1\n[hub]\nhttps_port = 0\n").unwrap();
    let output = run(site.program()).await;
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    for part in [
        "3 mistakes",
        "lisen = 1",
        "hub.https_port = 0",
        "hub.connection_string",
    ] {
        assert!(told.contains(part), "{part} not in {told}");
    }
}

#[tokio::test]
async fn it_says_where_it_serves_and_ends_well_when_told() {
    let site = Site::new().await;
    let ready = site.path("ready.json");
    let mut command = site.program();
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
        "--ready-file",
    ]);
    // In the place of systemd.
    let notified = UnixDatagram::bind(site.path("notify")).unwrap();
    notified.set_nonblocking(true).unwrap();
    command.env("NOTIFY_SOCKET", site.path("notify"));
    let child = command.arg(&ready).spawn().unwrap();
    let how = serving(&ready).await;
    let address = how["address"].as_str().unwrap().parse().unwrap();
    let list = ListRebootsRequest {
        parent: "devices/-".into(),
        ..ListRebootsRequest::default()
    };
    connect(address).await.list_reboots(list).await.unwrap();
    serves(address).await;
    let pid = child.id().to_string();
    send("-TERM", &pid);
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = within(ended).await.unwrap().unwrap();
    let logs = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{logs}");
    for line in logs.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["level"], "INFO", "{line}");
    }
    site.is_silent_about_the_key(&logs);
    for expected in ["READY=1\n", "STOPPING=1\n"] {
        let mut message = [0; 64];
        let length = notified.recv(&mut message).unwrap();
        assert_eq!(str::from_utf8(&message[..length]).unwrap(), expected);
    }
}

#[tokio::test]
async fn the_settings_in_force_are_printed_with_their_origins() {
    let site = Site::new().await;
    let mut command = site.program();
    command.env("MGMT_SERVICE__TIMING__BOOKMARK_INTERVAL", "3s");
    command.env("MGMT_SERVICE__LISTEN", "127.0.0.1:1");
    command.args(["--listen", "127.0.0.1:2", "--set", "timing.last_look=7s"]);
    command.arg("--print-config").stdout(Stdio::piped());
    let output = run(command).await;
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    for (start, origin) in [
        ("listen = \"127.0.0.1:2\"", "# --listen"),
        (
            "bookmark_interval = \"3s\"",
            "# MGMT_SERVICE__TIMING__BOOKMARK_INTERVAL",
        ),
        ("last_look = \"7s\"", "# --set"),
        ("units = 1", "# default"),
        ("events_per_attempt = 10", "service.toml"),
        ("connection_string = \"(hidden)\"", "service.toml"),
    ] {
        let line = printed.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("{start} not in {printed}"));
        assert!(line.ends_with(origin), "{line}");
    }
    site.is_silent_about_the_key(&printed);

    let mut command = site.program();
    command.env("MGMT_SERVICE__HUB__PORT", "1");
    command.arg("--check-config");
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("MGMT_SERVICE__HUB__PORT"), "{told}");
}

#[tokio::test]
async fn the_log_changes_at_a_hangup() {
    let site = Site::new().await;
    let text = fs::read_to_string(&site.config).unwrap();
    let filtered = move |filter: &str| format!("{text}\n[log]\nfilter = \"{filter}\"");
    fs::write(&site.config, filtered("error")).unwrap();
    let ready = site.path("ready.json");
    let mut command = site.program();
    command.args(["--listen", "127.0.0.1:0", "--ready-file"]);
    let mut child = command.arg(&ready).spawn().unwrap();
    serving(&ready).await;
    let pid = child.id().to_string();
    let log = child.stderr.take().unwrap();
    let seen = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(log).lines().map(Result::unwrap);
        // A mistake changes nothing; it is the first line of all, for there are no other errors.
        fs::write(&site.config, filtered("loud=x")).unwrap();
        send("-HUP", &pid);
        let line = lines.next().unwrap();
        assert!(line.contains("kept the settings"), "{line}");
        fs::write(&site.config, filtered("info")).unwrap();
        send("-HUP", &pid);
        lines.find(|line| line.contains("another filter")).unwrap();
        send("-TERM", &pid);
        assert!(child.wait().unwrap().success());
    });
    within(seen).await.unwrap();
}

/// Waits for the ready file, and reads it.
async fn serving(ready: &Path) -> Value {
    within(async {
        loop {
            if let Ok(text) = fs::read(ready) {
                return serde_json::from_slice(&text).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Waits until the service has reached its hub.
async fn serves(address: SocketAddr) {
    let mut health = HealthClient::new(channel(address).await);
    let request = HealthCheckRequest::default();
    let mut watch = health.watch(request).await.unwrap().into_inner();
    within(async {
        while watch.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    })
    .await;
}

fn send(signal: &str, pid: &str) {
    let sent = Command::new("kill").args([signal, pid]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn metrics_and_the_log_are_served_where_told() {
    let site = Site::new().await;
    let ready = site.path("ready.json");
    let mut command = site.program();
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--set",
        "metrics.listen=127.0.0.1:0",
    ]);
    let mut child = command.arg("--ready-file").arg(&ready).spawn().unwrap();
    let how = serving(&ready).await;
    let base = format!("http://{}", how["metrics"].as_str().unwrap());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |path: &str| {
        let answer = http.get(format!("{base}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await.0, 200);
    within(async {
        while get("/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let (status, metrics) = get("/metrics").await;
    assert_eq!(status, 200);
    for name in [
        "mgmt_service_build_info{version=",
        "process_cpu_seconds_total ",
        "mgmt_service_ready 1",
    ] {
        assert!(metrics.contains(name), "{name} not in {metrics}");
    }

    let put = async |filter: &'static str| {
        let answer = http.put(format!("{base}/log")).body(filter).send().await;
        answer.unwrap().status().as_u16()
    };
    assert_eq!(get("/log").await.1, "info\n");
    assert_eq!(put("mgmt_service=loud").await, 400);
    assert_eq!(put("warn,mgmt_service=debug").await, 200);
    assert_eq!(get("/log").await.1, "warn,mgmt_service=debug\n");
    send("-TERM", &child.id().to_string());
    let ended = tokio::task::spawn_blocking(move || child.wait());
    assert!(within(ended).await.unwrap().unwrap().success());
}
