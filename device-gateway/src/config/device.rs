//! The settings of one `[[device]]`.

use std::sync::Arc;

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
use crate::{driver::snmp::SnmpOutletSettings, engine::Settings};

/// One device.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    /// Its id in the hub.
    pub id: DeviceId,
    /// Who it is to the hub.
    pub identity: Identity,
    /// The limits of its attempts; one of them for all devices that have the same as the rest.
    pub settings: Arc<Settings>,
    /// How the gateway reaches it.
    pub driver: DriverConfig,
    /// What must say yes before its reboots.
    pub safety: SafetyConfig,
    /// What its power goes through.
    pub power_cycle: Option<SnmpOutletSettings>,
    /// Tells these settings from others.
    pub(crate) print: Fingerprint,
}

/// Tells the settings of one device from others. Two that are alike make the same device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Likeness {
    print: Fingerprint,
    /// Some of these are not the device's own.
    settings: Arc<Settings>,
}

impl Likeness {
    /// The limits of the device's attempts.
    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }
}

impl DeviceConfig {
    pub(crate) fn likeness(&self) -> Likeness {
        Likeness {
            print: self.print,
            settings: self.settings.clone(),
        }
    }
}

pub(super) fn read(
    mut section: Section,
    shared: &Arc<Settings>,
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
    let has_outlet = section.has("power_cycle");
    let power_cycle = has_outlet.then(|| read_power_cycle(section.section("power_cycle")));
    if matches!(driver, Some(DriverConfig::Snmp(_))) && !has_outlet {
        let expected = "an outlet: SNMP reboots a device by its power alone";
        section.mistake("power_cycle", "", expected);
    }
    if let Some(DriverConfig::Host(host)) = &driver {
        settings.dry_run = host.dry_run;
    }
    if let Some(driver) = &driver {
        settings.cooldown = settings.cooldown.max(driver.least_cooldown());
    }
    Some(DeviceConfig {
        id: id?,
        identity: identity?,
        settings: if settings == **shared {
            shared.clone()
        } else {
            Arc::new(settings)
        },
        driver: driver?,
        safety,
        power_cycle: match power_cycle {
            Some(outlet) => Some(outlet?),
            None => None,
        },
        print: section.taken().fingerprint(),
    })
}

/// Reads what takes a device's power away: so far the outlet of a PDU that speaks SNMP.
fn read_power_cycle(mut section: Section) -> Option<SnmpOutletSettings> {
    driver::snmp::outlet(section.section("snmp"))
}
