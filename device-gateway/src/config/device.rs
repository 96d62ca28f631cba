//! The settings of one `[[device]]`.

use daemon::settings::{Fingerprint, Section};
use iot_hub::{identity::DeviceId, reboot::Grade};

use super::{
    driver::{self, DriverConfig},
    escalation,
    hub::ProvisioningConfig,
    identity::{self, Identity},
    safety::SafetyConfig,
    timing,
};
use crate::engine::Settings;

/// One device.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    /// Its id in the hub.
    pub id: DeviceId,
    /// Who it is to the hub.
    pub identity: Identity,
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

pub(super) fn read(
    mut section: Section,
    shared: &Settings,
    provisioning: Option<&ProvisioningConfig>,
) -> Option<DeviceConfig> {
    let id = section.take_or_why("id", |value| {
        let id = value.as_str().unwrap_or_default().parse::<DeviceId>();
        id.map_err(|error| format!("a device id: {error}"))
    });
    let id = id.required("a device id");
    let identity = identity::read(&mut section, id.as_ref(), provisioning);
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
        identity: identity?,
        settings,
        driver: driver?,
        safety,
        print: section.taken().fingerprint(),
    })
}
