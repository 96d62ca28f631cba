//! The settings of one `[[device]]`.

use daemon::settings::{Fingerprint, Secret, Section};
use iot_hub::{
    identity::{ConnectionString, DeviceAuth, DeviceConnection, DeviceId},
    reboot::Grade,
};
use secrecy::ExposeSecret as _;

use super::{
    driver::{self, DriverConfig},
    escalation,
    safety::SafetyConfig,
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
    /// What must say yes before its reboots.
    pub safety: SafetyConfig,
    /// Tells these settings from others.
    pub(crate) print: Fingerprint,
}

impl DeviceConfig {
    /// A device of the other settings would be just like this one.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.print == other.print && self.settings == other.settings
    }
}

pub(super) fn read(mut section: Section, shared: &Settings) -> Option<DeviceConfig> {
    let id = section.take_or_why("id", |value| {
        let id = value.as_str().unwrap_or_default().parse::<DeviceId>();
        id.map_err(|error| format!("a device id: {error}"))
    });
    let id = id.required("a device id");
    let connection = section
        .secret("connection_string")
        .and_then(|secret| device_connection(&section, &secret));
    if let (Some(id), Some(connection)) = (&id, &connection)
        && *id != connection.device
    {
        let expected = format!("{}, whose connection string it has", connection.device);
        section.mistake("id", id.as_str(), &expected);
    }
    let mut settings = timing::read_device(&mut section, shared);
    settings.required_grade = section
        .choice(
            "required_evidence",
            &Grade::ALL.map(|grade| (grade.name(), grade)),
        )
        .optional();
    settings.escalation = escalation::read(&mut section);
    let safety = SafetyConfig::read(&mut section, settings.survey_limit);
    settings.absolute = safety.absolute();
    let driver = driver::read(&mut section);
    if let Some(DriverConfig::Host(host)) = &driver {
        settings.dry_run = host.dry_run;
    }
    if let Some(driver) = &driver {
        settings.cooldown = settings.cooldown.max(driver.least_cooldown());
    }
    Some(DeviceConfig {
        id: id?,
        connection: connection?,
        settings,
        driver: driver?,
        safety,
        print: section.taken().fingerprint(),
    })
}

fn device_connection(section: &Section, secret: &Secret) -> Option<DeviceConnection> {
    let mistake = |expected: &str| section.mistake(&secret.key, "(hidden)", expected);
    match secret.text.expose_secret().parse() {
        Ok(ConnectionString::Device(connection)) => {
            if connection.module.is_some() {
                mistake("a device's connection string: this is a module's");
                return None;
            }
            if connection.auth == DeviceAuth::X509 {
                mistake("a SharedAccessKey in it: certificates are not offered");
                return None;
            }
            Some(connection)
        }
        Ok(ConnectionString::Service(_)) => {
            mistake("a device's connection string, with a DeviceId: this is a service's");
            None
        }
        Err(error) => {
            mistake(&format!("a device's connection string: {error}"));
            None
        }
    }
}
