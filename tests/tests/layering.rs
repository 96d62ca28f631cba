//! Who may know whom: the crates' dependencies are exactly those that the architecture allows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Each crate of the workspace with the workspace crates it may depend on when it runs.
const MAY_KNOW: [(&str, &[&str]); 15] = [
    ("iothubdm-proto", &[]),
    ("iot-hub", &[]),
    ("mqtt-wire", &[]),
    ("daemon", &[]),
    ("hub-emulator", &["daemon", "iot-hub", "mqtt-wire"]),
    ("mgmt-service", &["daemon", "iothubdm-proto", "iot-hub"]),
    ("device-gateway", &["daemon", "iot-hub", "mqtt-wire"]),
    ("local-device", &[]),
    ("iothubdm-packages", &[]),
    ("iothubdm-client", &["iothubdm-proto"]),
    ("dmctl", &["iothubdm-proto", "iothubdm-client"]),
    (
        "iothubdm-tests",
        &[
            "iothubdm-proto",
            "iothubdm-client",
            "iothubdm-packages",
            "iot-hub",
            "mqtt-wire",
            "hub-emulator",
            "mgmt-service",
            "device-gateway",
        ],
    ),
    (
        "iothubdm-bench",
        &[
            "iothubdm-packages",
            "iothubdm-proto",
            "iot-hub",
            "hub-emulator",
        ],
    ),
    (
        "iothubdm-fuzz",
        &[
            "iot-hub",
            "mqtt-wire",
            "hub-emulator",
            "mgmt-service",
            "device-gateway",
        ],
    ),
    ("xtask", &[]),
];

/// Libraries with one owner each: nobody else may depend on them when it runs.
const OWNED: [(&str, &[&str]); 14] = [
    ("azure_core", &["mgmt-service"]),
    ("azure_identity", &["mgmt-service"]),
    ("snmp2", &["device-gateway"]),
    (
        "reqwest",
        &[
            "mgmt-service",
            "device-gateway",
            "iothubdm-tests",
            "iothubdm-bench",
        ],
    ),
    ("rusqlite", &["mgmt-service"]),
    ("redb", &["device-gateway"]),
    ("zbus", &["device-gateway"]),
    (
        "rumqttc",
        &[
            "mqtt-wire",
            "device-gateway",
            "local-device",
            "iothubdm-tests",
            "iothubdm-bench",
        ],
    ),
    ("axum", &["hub-emulator"]),
    ("opentelemetry_sdk", &["mgmt-service"]),
    ("tracing-opentelemetry", &["mgmt-service"]),
    (
        "prometheus-client",
        &["daemon", "mgmt-service", "device-gateway"],
    ),
    ("sd-notify", &["daemon"]),
    ("tracing-subscriber", &["daemon", "local-device"]),
];

/// Libraries that only some files of a crate may name, by the beginnings of their paths below the
/// crate's folder. What is only there for tests may name any.
const OWNED_BY_FILES: [(&str, &str, &[&str]); 20] = [
    ("mgmt-service", "azure_core", &["src/hub/entra"]),
    ("mgmt-service", "azure_identity", &["src/hub/entra"]),
    ("device-gateway", "rumqttc", &["src/hub_link"]),
    ("device-gateway", "redb", &["src/storage"]),
    ("device-gateway", "zbus", &["src/host/"]),
    (
        "device-gateway",
        "tokio_tungstenite",
        &["src/hub_link/websocket.rs"],
    ),
    (
        "device-gateway",
        "x509_parser",
        &["src/hub_link/certificate.rs"],
    ),
    ("device-gateway", "hyper_util", &["src/hub_link/tunnel.rs"]),
    ("device-gateway", "snmp2", &["src/driver/snmp/session.rs"]),
    ("mgmt-service", "reqwest", &["src/hub", "src/http.rs"]),
    ("device-gateway", "reqwest", &["src/driver/http/client.rs"]),
    (
        "device-gateway",
        "http_auth",
        &["src/driver/http/client.rs"],
    ),
    ("device-gateway", "russh", &["src/driver/ssh"]),
    ("device-gateway", "quick_xml", &["src/driver/onvif/soap.rs"]),
    ("mgmt-service", "tonic", &["src/api"]),
    ("mgmt-service", "prost", &["src/api"]),
    ("mgmt-service", "rusqlite", &["src/store/sqlite"]),
    (
        "mgmt-service",
        "jsonwebtoken",
        &["src/access", "src/config/access.rs"],
    ),
    ("mgmt-service", "x509_parser", &["src/certificate.rs"]),
    (
        "mgmt-service",
        "rustls",
        &[
            "src/tls.rs",
            "src/config/tls.rs",
            "src/certificate.rs",
            "src/listener.rs",
        ],
    ),
];

/// Each workspace crate with the names of all it depends on when it runs.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("run cargo metadata");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("read cargo metadata");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let normal = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| text(&dependency["name"]))
                .collect();
            (text(&package["name"]), normal)
        })
        .collect()
}

#[test]
fn crates_know_only_whom_they_may() {
    let actual = dependencies();
    let names: BTreeSet<_> = actual.keys().map(String::as_str).collect();
    assert_eq!(names, MAY_KNOW.iter().map(|(name, _)| *name).collect());
    for (name, allowed) in MAY_KNOW {
        for known in actual[name]
            .iter()
            .filter(|known| names.contains(known.as_str()))
        {
            assert!(
                allowed.contains(&known.as_str()),
                "{name} may not know {known}"
            );
        }
    }
}

#[test]
fn an_outside_library_has_its_owner_alone() {
    for (name, known) in dependencies() {
        for (library, owners) in OWNED {
            assert!(
                !known.contains(library) || owners.contains(&name.as_str()),
                "{name} may not depend on {library}"
            );
        }
    }
}

/// Every source file below a folder of what runs when no test does.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("read a folder") {
        let path = entry.expect("read a folder").path();
        if is_for_tests(&path) {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Says whether a file or folder is called as those for tests are.
fn is_for_tests(path: &Path) -> bool {
    let stem = path.file_stem().expect("it has a name").to_string_lossy();
    stem.starts_with("test_") || stem == "tests" || stem.ends_with("_tests")
}

#[test]
fn an_outside_library_is_known_to_its_files_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, library, owners) in OWNED_BY_FILES {
        let folder = root.join(name);
        let mut users = 0;
        for file in sources(&folder.join("src")) {
            let text = fs::read_to_string(&file).expect("read a source file");
            let used = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains(&format!("{library}::"))
            });
            if used {
                users += 1;
                let path = file.strip_prefix(&folder).expect("it is below");
                let path = path.to_string_lossy();
                assert!(
                    owners.iter().any(|owner| path.starts_with(owner)),
                    "{path} of {name} may not know {library}"
                );
            }
        }
        assert!(users > 0, "nobody in {name} knows {library}");
    }
}
