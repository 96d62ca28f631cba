//! The settings of one `[[device]]`.

use std::{fs, path::Path};

use iot_hub::{
    identity::{ConnectionString, DeviceAuth, DeviceConnection, DeviceId},
    reboot::Grade,
};

use super::{
    driver::{self, CommandConfig, HostConfig, MqttDeviceConfig},
    table::{Reader, text},
    timing,
};
use crate::engine::Settings;

/// One device.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    /// Its id in the hub.
    pub id: DeviceId,
    /// How it reaches the hub.
    pub connection: DeviceConnection,
    /// The limits of its attempts.
    pub settings: Settings,
    /// How the gateway reaches it.
    pub driver: DriverConfig,
}

/// How the gateway reaches a device.
#[derive(Debug, Clone)]
pub enum DriverConfig {
    /// By the local MQTT endpoint.
    Mqtt(MqttDeviceConfig),
    /// By running commands.
    Command(CommandConfig),
    /// It is the gateway's own machine.
    Host(HostConfig),
}

pub(super) fn read(mut table: Reader, shared: &Settings, folder: &Path) -> Option<DeviceConfig> {
    let id = table.require("id", |value| {
        text(value)?
            .parse::<DeviceId>()
            .map_err(|error| format!("a device id: {error}"))
    });
    let connection = secret(&mut table, "connection_string", folder)
        .and_then(|text| device_connection(&table, &text));
    if let (Some(id), Some(connection)) = (&id, &connection)
        && *id != connection.device
    {
        table.mistake(
            "id",
            format!(
                "{id} is wrong: the connection string is of {}",
                connection.device
            ),
        );
    }
    let grade = table.take("required_evidence", |value| {
        let names = Grade::ALL.map(Grade::name).join(", ");
        let grade = text(value)?.parse::<Grade>();
        grade.map_err(|_| format!("one of {names}"))
    });
    let mut settings = timing::read_device(&mut table, shared);
    settings.required_grade = grade;
    let driver = read_driver(&mut table, folder);
    if let Some(DriverConfig::Host(host)) = &driver {
        settings.dry_run = host.dry_run;
    }
    Some(DeviceConfig {
        id: id?,
        connection: connection?,
        settings,
        driver: driver?,
    })
}

fn read_driver(table: &mut Reader, folder: &Path) -> Option<DriverConfig> {
    let kinds = ["mqtt", "command", "host"];
    let given: Vec<_> = kinds.into_iter().filter(|kind| table.has(kind)).collect();
    if given.len() != 1 {
        let found = if given.is_empty() {
            "none".to_owned()
        } else {
            given.join(" and ")
        };
        table.mistake(
            "mqtt",
            format!("{found} is wrong: expected exactly one of mqtt, command, host"),
        );
    }
    let mut read = None;
    if table.has("mqtt") {
        let mut mqtt = table.table("mqtt");
        read = secret(&mut mqtt, "password", folder).map(|password| {
            DriverConfig::Mqtt(MqttDeviceConfig {
                password: password.into(),
            })
        });
    }
    if table.has("command") {
        read = driver::read_command(table.table("command")).map(DriverConfig::Command);
    }
    if table.has("host") {
        read = Some(DriverConfig::Host(driver::read_host(table.table("host"))));
    }
    read
}

/// Takes a secret from `key`, or from the file that `key_file` names.
fn secret(table: &mut Reader, key: &str, folder: &Path) -> Option<String> {
    let file_key = format!("{key}_file");
    if table.has(key) == table.has(&file_key) {
        table.mistake(key, format!("expected exactly one of {key}, {file_key}"));
    }
    let given = table
        .has(key)
        .then(|| {
            // The value is secret, so a mistake must not show it.
            table
                .take(key, |value| Ok(text(value).ok()))
                .flatten()
                .or_else(|| {
                    table.mistake(key, "expected a text that is not empty");
                    None
                })
        })
        .flatten();
    let path = table.take(&file_key, text).map(|path| folder.join(path));
    let read = path.and_then(|path| match fs::read_to_string(&path) {
        Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => {
            table.mistake(&file_key, format!("read {}: {error}", path.display()));
            None
        }
    });
    given.or(read)
}

fn device_connection(table: &Reader, text: &str) -> Option<DeviceConnection> {
    let key = "connection_string";
    match text.parse() {
        Ok(ConnectionString::Device(connection)) => {
            if connection.module.is_some() {
                table.mistake(key, "is a module's: expected a device's");
                return None;
            }
            if connection.auth == DeviceAuth::X509 {
                table.mistake(
                    key,
                    "has no SharedAccessKey, and certificates are not offered",
                );
                return None;
            }
            Some(connection)
        }
        Ok(ConnectionString::Service(_)) => {
            table.mistake(key, "is a service's: expected a device's, with a DeviceId");
            None
        }
        Err(error) => {
            table.mistake(key, error.to_string());
            None
        }
    }
}
