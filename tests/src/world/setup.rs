//! A local device of a world, and what the processes are told.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use hub_emulator::Emulator;
use serde_json::Value;

use crate::devices::Behavior;

/// What local devices show the gateway.
pub const LOCAL_PASSWORD: &str = "password-of-local-devices";

/// A local device with its gateway settings.
#[derive(Debug, Clone)]
pub struct DeviceSetup {
    pub(super) id: String,
    pub(super) behavior: Behavior,
    pub(super) boot_time: Duration,
    key: Option<String>,
    settings: Vec<(&'static str, String)>,
    tables: String,
}

impl DeviceSetup {
    /// A device with limits so long that only its own behaviour decides.
    pub fn new(id: &str, behavior: Behavior) -> Self {
        let setup = Self {
            id: id.to_owned(),
            behavior,
            boot_time: Duration::from_millis(50),
            key: None,
            settings: Vec::new(),
            tables: String::new(),
        };
        setup
            .with("settle", "200ms")
            .with("go_down_limit", "50s")
            .with("return_limit", "50s")
            .with("verify_limit", "50s")
    }

    /// Sets one of the gateway's settings of this device, a text.
    #[must_use]
    pub fn with(self, key: &'static str, value: &str) -> Self {
        self.with_toml(key, &format!("\"{value}\""))
    }

    /// Sets one of the gateway's settings of this device.
    #[must_use]
    pub fn with_toml(mut self, key: &'static str, value: &str) -> Self {
        self.settings.retain(|(known, _)| *known != key);
        self.settings.push((key, value.to_owned()));
        self
    }

    /// Adds tables to the gateway's settings of this device. `{folder}` is the world's folder.
    #[must_use]
    pub fn table(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self
    }

    /// Sets how long the device takes to boot.
    #[must_use]
    pub fn boot_time(mut self, boot_time: Duration) -> Self {
        self.boot_time = boot_time;
        self
    }

    /// Gives the gateway this key instead of the device's own.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// What the gateway is told of the device's identity.
    fn connection_string(&self, emulator: &Emulator) -> String {
        let own = emulator.device(&self.id);
        match &self.key {
            None => own,
            Some(key) => {
                let (before, _) = own.rsplit_once("SharedAccessKey=").expect("a key");
                format!("{before}SharedAccessKey={key}")
            }
        }
    }
}

pub(super) fn service_toml(emulator: &Emulator, access: Option<&str>, more: &str) -> String {
    let own = || {
        let text = emulator.service_connection_string();
        format!("connection_string = \"{text}\"\n")
    };
    let access = access.map_or_else(own, str::to_owned);
    format!(
        "[hub]\n\
         https_port = {}\n\
         ca_file = \"ca.pem\"\n\
         {access}\
         [store]\n\
         path = \"service.db\"\n\
         {more}\n",
        emulator.https_port(),
    )
}

pub(super) fn gateway_toml(
    emulator: &Emulator,
    place: &str,
    more_of_it: &str,
    setups: &[DeviceSetup],
    folder: &Path,
) -> String {
    let mut toml = format!(
        "state_dir = \"gateway-state\"\n\
         [gateway]\n\
         id = \"edge-1\"\n\
         [hub]\n\
         mqtt_port = {}\n\
         ca_file = \"ca.pem\"\n\
         [local_mqtt]\n\
         {place}\
         {more_of_it}\
         [timing]\n\
         answer_grace = \"50ms\"\n\
         block_interval = \"500ms\"\n",
        emulator.mqtt_port(),
    );
    for setup in setups {
        let _ = write!(
            toml,
            "[[device]]\nid = \"{}\"\nconnection_string = \"{}\"\n",
            setup.id,
            setup.connection_string(emulator),
        );
        for (key, value) in &setup.settings {
            let _ = writeln!(toml, "{key} = {value}");
        }
        let _ = write!(toml, "[device.mqtt]\npassword = \"{LOCAL_PASSWORD}\"\n");
        toml += &setup.tables.replace("{folder}", &folder.to_string_lossy());
    }
    toml
}

/// Reads an address from a ready file.
pub(super) fn address_of(told: &Value) -> SocketAddr {
    told.as_str()
        .and_then(|address| address.parse().ok())
        .expect("an address")
}

/// A loopback address that nobody else uses. A port that is given back and taken again stays free on
/// it: no other process is given one there, and a device that dials it cannot meet itself.
pub(crate) fn own_loopback() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = process::id().to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed))
}
