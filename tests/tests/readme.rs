//! The settings in the README are settings: its reader can take them as they are.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use iothubdm_tests::binary;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Has a program check the README's settings that begin with the name of `file`.
fn check(file: &str, program: &str) {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(readme).expect("read the README");
    let begin = format!("```toml\n# {file}\n");
    let (_, rest) = readme.split_once(&begin).expect("settings in the README");
    let (settings, _) = rest.split_once("```").expect("their end");

    let folder = tempfile::tempdir().expect("make a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("write a file");
        // As the README says: a secret is its owner's alone.
        let rights = fs::Permissions::from_mode(0o600);
        fs::set_permissions(path, rights).expect("protect a file");
    };
    write(file, settings);
    let hub = "HostName=h.example";
    let service = format!("{hub};SharedAccessKeyName=service;SharedAccessKey={KEY}");
    write("hub.secret", &service);
    write("pump-1.password", "a password");
    for device in ["pump-1", "camera-2", "edge-1"] {
        let connection = format!("{hub};DeviceId={device};SharedAccessKey={KEY}");
        write(&format!("{device}.secret"), &connection);
    }
    let output = Command::new(binary(program))
        .args(["--check-config", "--config"])
        .arg(folder.path().join(file))
        .output()
        .expect("run it");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{settings}\n{told}");
}

#[test]
fn the_services_settings_are_good() {
    check("service.toml", "mgmt-service");
}

#[test]
fn the_gateways_settings_are_good() {
    check("gateway.toml", "device-gateway");
}
