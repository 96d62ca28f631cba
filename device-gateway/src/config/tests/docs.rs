//! The settings in the documentation are settings: each of its blocks is read, with what it leaves out.

use std::{fs, path::PathBuf};

use rcgen::{CertificateParams, KeyPair};
use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};
use toml::{Table, Value};

use super::*;

/// What is cut short in the documentation, and whole here.
const CUT_SHORT: [(&str, &str); 2] = [
    (
        "ssh-ed25519 AAAAC3…",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
    ),
    (
        "5A:3C:…",
        "4596367b6eef75d5fbe30aa731f0d4c86e234d9e4d8d3f12fa7cb01ec75c0c14",
    ),
];

/// A line that says that settings from elsewhere belong there.
const AND_SO_ON: &str = "# …";

/// Every block of settings: where it is, and what it says.
fn blocks() -> Vec<(String, String)> {
    let docs = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
    let mut pages: Vec<_> = [docs.clone(), docs.join("drivers")]
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .collect();
    pages.sort();
    let mut blocks = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let name = page.strip_prefix(&docs).unwrap().display().to_string();
        for (number, block) in text.split("```toml\n").skip(1).enumerate() {
            let (block, _) = block.split_once("```").expect("the end of a block");
            blocks.push((format!("{name}, block {}", number + 1), block.to_owned()));
        }
    }
    blocks
}

/// The settings of a block with all that it leaves out.
fn completed(block: &str) -> Table {
    let block = CUT_SHORT
        .iter()
        .fold(block.to_owned(), |block, (short, whole)| {
            block.replace(short, whole)
        });
    let mut root: Table = block
        .parse()
        .unwrap_or_else(|error| panic!("{error}\n{block}"));
    let text = |text: &str| Value::from(text);
    root.entry("state_dir").or_insert(text("state"));
    root.insert("allow_readable_secrets".to_owned(), true.into());
    let listen = Table::from_iter([("listen".to_owned(), text("127.0.0.1:0"))]);
    root.entry("local_mqtt").or_insert(listen.into());
    // A block of a driver is a device's.
    let mut devices = match root.remove("device") {
        None => vec![Table::new()],
        Some(Value::Table(device)) => vec![device],
        Some(other) => other.try_into().expect("devices"),
    };
    if block.contains("\"press-1\"") {
        let mqtt = Table::from_iter([("password".to_owned(), text("secret"))]);
        devices.push(Table::from_iter([
            ("id".to_owned(), text("press-1")),
            ("mqtt".to_owned(), mqtt.into()),
        ]));
    }
    for device in &mut devices {
        let id = device.entry("id").or_insert(text("d1")).clone();
        let id = id.as_str().unwrap_or_default();
        let known = [
            "connection_string",
            "connection_string_file",
            "provisioning",
        ];
        if !known.iter().any(|key| device.contains_key(*key)) {
            device.insert("connection_string".to_owned(), connection(id).into());
        }
        if !driver::WAYS
            .iter()
            .any(|(way, _)| device.contains_key(*way))
        {
            device.insert("host".to_owned(), Table::new().into());
        }
    }
    root.insert("device".to_owned(), devices.into());
    root
}

fn connection(id: &str) -> String {
    format!("HostName=h.example.net;DeviceId={id};SharedAccessKey={KEY}")
}

/// Writes each file that the settings name, with what belongs in it.
fn write_files(folder: &Path, id: &str, settings: &Table) {
    let id = settings.get("id").and_then(Value::as_str).unwrap_or(id);
    for (key, value) in settings {
        match value {
            Value::Table(table) => write_files(folder, id, table),
            Value::Array(values) => {
                let tables = values.iter().filter_map(Value::as_table);
                tables.for_each(|table| write_files(folder, id, table));
            }
            Value::String(name) if key.ends_with("_file") => {
                fs::write(folder.join(name), content(key, id)).unwrap();
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }
}

fn content(key: &str, id: &str) -> String {
    match key {
        "connection_string_file" => connection(id),
        "group_key_file" => KEY.to_owned(),
        "proxy_file" => "http://user:password@proxy:3128".to_owned(),
        "ca_file" => {
            let key = KeyPair::generate().unwrap();
            let own = CertificateParams::default().self_signed(&key);
            own.unwrap().pem()
        }
        "key_file" => {
            let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
            key.to_openssh(LineEnding::LF).unwrap().to_string()
        }
        _ => "long enough".to_owned(),
    }
}

/// The mistakes of a block.
fn mistakes(block: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let settings = completed(block);
    write_files(folder.path(), "d1", &settings);
    match Config::parse(&settings.to_string(), folder.path()) {
        Ok(_) => Vec::new(),
        Err(Mistakes(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn every_block_of_settings_is_understood() {
    let blocks = blocks();
    assert!(blocks.len() > 15, "{}", blocks.len());
    for (place, block) in blocks {
        let mut told = mistakes(&block);
        if block.lines().any(|line| line.trim() == AND_SO_ON) {
            // What is absent is elsewhere; what is there has to be right.
            told.retain(|mistake| mistake.contains(" = "));
        }
        assert_eq!(told, [""; 0], "{place}");
    }
}

#[test]
fn every_setting_that_a_block_mentions_beside_its_own_is_one() {
    let mut tried = 0;
    for (place, block) in blocks() {
        for line in block.lines().filter(|line| line.contains(" = ")) {
            let Some(setting) = line.strip_prefix("# ") else {
                continue;
            };
            tried += 1;
            let mut told = mistakes(&block.replace(line, setting));
            told.retain(|mistake| mistake.ends_with("no such key"));
            assert_eq!(told, [""; 0], "{place}: {setting}");
        }
    }
    assert!(tried >= 3, "{tried}");
}

#[test]
fn a_setting_that_is_none_is_found() {
    let told = mistakes("[device.ssh]\nhots = \"nas-1\"\n");
    assert!(told.iter().any(|mistake| mistake.ends_with("no such key")));
}
