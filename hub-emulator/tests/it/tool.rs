//! The program: its ready file, its certificate, its end.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hub_emulator::{Emulator, EmulatorConfig, StartError};
use serde_json::Value;

use crate::device::DEADLINE;
use crate::service::Service;

/// Ends the program when a test fails.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn start(arguments: &[&str]) -> Running {
    let program = Command::new(env!("CARGO_BIN_EXE_hub-emulator"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Running(program.unwrap())
}

/// The file appears whole, so its existence is all there is to wait for.
pub(crate) fn read_when_there(path: &Path) -> Value {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match std::fs::read(path) {
            Ok(text) => return serde_json::from_slice(&text).unwrap(),
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

#[test]
fn the_ready_file_says_how_to_connect_and_a_signal_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (ready_file, ca_file) = (path("ready.json"), path("ca.pem"));
    let mut running = start(&[
        "--https-port",
        "0",
        "--mqtt-port",
        "0",
        "--devices",
        "2",
        "--device",
        "lamp",
        "--ready-file",
        ready_file.to_str().unwrap(),
        "--ca-file",
        ca_file.to_str().unwrap(),
    ]);
    let ready = read_when_there(&ready_file);
    assert_eq!(ready["hostName"], "localhost");
    assert_eq!(
        (ready.get("adminPort"), ready.get("adminUrl")),
        (None, None)
    );
    assert_eq!(ready["caFile"], ca_file.to_str().unwrap());
    assert!(
        std::fs::read_to_string(&ca_file)
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    for name in ["ownerConnectionString", "serviceConnectionString"] {
        assert!(
            ready[name]
                .as_str()
                .unwrap()
                .starts_with("HostName=localhost;"),
            "{name}"
        );
    }
    let devices: Vec<_> = ready["devices"].as_object().unwrap().keys().collect();
    assert_eq!(devices, ["device-1", "device-2", "lamp"]);
    for name in ["httpsPort", "mqttPort"] {
        let port = u16::try_from(ready[name].as_u64().unwrap()).unwrap();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    let pid = running.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(running.0.wait().unwrap().success());
}

#[tokio::test]
async fn the_admin_page_is_where_the_ready_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let ready_file = folder.path().join("ready.json");
    let ready_path = ready_file.to_str().unwrap();
    let ports = ["--https-port", "0", "--mqtt-port", "0", "--admin-port", "0"];
    let _running = start(&[&ports[..], &["--ready-file", ready_path]].concat());
    let ready = read_when_there(&ready_file);
    let url = ready["adminUrl"].as_str().unwrap();
    assert_eq!(url, format!("http://127.0.0.1:{}/", ready["adminPort"]));
    let overview = reqwest::get(format!("{url}api")).await.unwrap();
    let overview: Value = overview.json().await.unwrap();
    assert_eq!(overview["httpsPort"], ready["httpsPort"]);
}

#[tokio::test]
async fn a_hub_is_set_up_as_its_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/example.toml");
    let arguments = [
        "--config",
        example,
        "--https-port",
        "0",
        "--mqtt-port",
        "0",
        "--ready-file",
        &path("ready.json"),
        "--state",
        &path("state"),
    ];
    let mut running = start(&arguments);
    let ready = read_when_there(Path::new(&path("ready.json")));
    let device = |id: &str| ready["devices"][id].as_str().unwrap().to_owned();
    let key = "cHVtcC0xJ3MgcHJpbWFyeSBrZXksIDMyIGJ5dGVzISE=";
    assert_eq!(
        device("pump-1"),
        format!("HostName=localhost;DeviceId=pump-1;SharedAccessKey={key}")
    );
    assert!(device("pump-1/filter").contains(";ModuleId=filter;"));
    assert!(device("camera-1").ends_with(";x509=true"));
    let service = Service::of_ready_file(&ready);
    let twin = service.get("/twins/pump-1").await.json();
    assert_eq!(twin["tags"]["site"], "north");
    assert_eq!(twin["properties"]["desired"]["interval"], 30);
    assert_eq!(twin["properties"]["reported"]["firmware"], "1.4.2");
    assert_eq!(
        service.get("/devices/gate-1").await.json()["status"],
        "disabled"
    );
    let camera = service.get("/devices/camera-1").await.json();
    assert_eq!(camera["authentication"]["type"], "selfSigned");
    assert_eq!(service.invoke("pump-1", "m", Value::Null).await.status, 429);
    let change = serde_json::json!({"tags": {"site": "south"}});
    assert_eq!(service.patch("/twins/pump-1", &change).await.status, 200);

    // What a state knows already, the file does not take back.
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    std::fs::remove_file(path("ready.json")).unwrap();
    let _running = start(&arguments);
    let ready = read_when_there(Path::new(&path("ready.json")));
    let service = Service::of_ready_file(&ready);
    let twin = service.get("/twins/pump-1").await.json();
    assert_eq!(twin["tags"]["site"], "south");
}

#[test]
fn settings_that_are_wrong_are_told_all_at_once_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.toml");
    std::fs::write(&file, "hots = 1\n[[device]]\nid = \"a b\"").unwrap();
    let mut running = start(&["--config", file.to_str().unwrap(), "--units", "2"]);
    let mut stderr = String::new();
    std::io::Read::read_to_string(running.0.stderr.as_mut().unwrap(), &mut stderr).unwrap();
    assert!(!running.0.wait().unwrap().success());
    for told in ["3 mistakes", "hots", "device[0].id", "units (--units)"] {
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
}

#[test]
fn a_taken_port_is_an_error_that_names_the_flag_and_no_old_ready_file_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let ready_file = folder.path().join("ready.json");
    std::fs::write(&ready_file, "{}").unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut running = start(&[
        "--https-port",
        "0",
        "--mqtt-port",
        &port,
        "--ready-file",
        ready_file.to_str().unwrap(),
    ]);
    let mut stderr = String::new();
    std::io::Read::read_to_string(running.0.stderr.as_mut().unwrap(), &mut stderr).unwrap();
    assert!(!running.0.wait().unwrap().success());
    assert!(
        stderr.contains("--mqtt-port") && stderr.contains(&port),
        "{stderr}"
    );
    assert!(!ready_file.exists());
}

#[tokio::test]
async fn many_start_side_by_side_and_are_strangers_to_each_other() {
    let starts = (0..5).map(|_| Emulator::start(EmulatorConfig::default()));
    let all = futures_util::future::try_join_all(starts);
    let emulators = tokio::time::timeout(DEADLINE, all).await.unwrap().unwrap();
    for (number, emulator) in emulators.iter().enumerate() {
        let _ = emulator.device(&format!("d{number}"));
    }
    for (number, emulator) in emulators.iter().enumerate() {
        for other in 0..emulators.len() {
            let known = !emulator.twin(&format!("d{other}")).is_null();
            assert_eq!(known, other == number, "{number} knows {other}");
        }
    }
}

#[tokio::test]
async fn after_shutdown_both_ports_are_free() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let (https_port, mqtt_port) = (emulator.https_port(), emulator.mqtt_port());
    let again = EmulatorConfig {
        https_port,
        mqtt_port,
        ..EmulatorConfig::default()
    };
    let refused = Emulator::start(again.clone()).await;
    assert!(matches!(refused, Err(StartError::Listen { .. })));
    emulator.shutdown().await;
    Emulator::start(again).await.unwrap();
}
