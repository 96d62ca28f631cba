//! The section `[provisioning]`, with `[[provisioning.device]]` and `[[provisioning.group]]`.

use std::time::Duration;

use daemon::settings::Section;
use iot_hub::identity::{DeviceId, HubHost};
use iot_hub::provisioning::{IdScope, RegistrationId};

use super::devices::{credentials, to_json};
use crate::setup::{Enrollee, Enrollment, ProvisioningSetup, SetupCredentials};

const ID: &str = "a registration id: letters, digits and -._:";
const NAME: &str = "a group's name";

/// No device waits longer before it gives up.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

pub(super) fn read(mut section: Section) -> ProvisioningSetup {
    let default = ProvisioningSetup::default();
    let id_scope = section.parsed::<IdScope>("id_scope", "letters, digits, - and _");
    let retry_after = section.duration("retry_after", Duration::ZERO, MAX_RETRY_AFTER);
    let id_scope = id_scope.optional().unwrap_or(default.id_scope);
    let retry_after = retry_after.or(default.retry_after);
    let mut enrollments = Vec::new();
    for mut section in section.sections("device") {
        let id = section.parsed::<RegistrationId>("id", ID).required(ID);
        let device = section.parsed::<DeviceId>("device", "a device's id");
        let device = device.optional();
        let read = one(&mut section, id.map(Enrollee::Device));
        enrollments.extend(read.map(|read| Enrollment { device, ..read }));
    }
    for mut section in section.sections("group") {
        let name = section.text("name").required(NAME);
        let read = one(&mut section, name.map(Enrollee::Group));
        if let Some(SetupCredentials::Thumbprints { .. }) =
            read.as_ref().map(|read| &read.credentials)
        {
            let expected = "none in a group, whose certificates have an authority";
            section.mistake("thumbprints", "", expected);
        }
        enrollments.extend(read);
    }
    ProvisioningSetup {
        id_scope,
        retry_after,
        enrollments,
    }
}

fn one(section: &mut Section, enrollee: Option<Enrollee>) -> Option<Enrollment> {
    let enabled = section.flag("enabled").or(true);
    let hub = section.parsed::<HubHost>("hub", "a hub's host name");
    let hub = hub.optional();
    let payload = section.take("payload", "a value", |value| Some(to_json(value)));
    let payload = payload.optional();
    let credentials = credentials(section)?;
    if let SetupCredentials::Keys { primary: None, .. } = credentials {
        let expected = "a key, thumbprints or certificate_authority = true";
        section.mistake("primary_key", "", expected);
    }
    Some(Enrollment {
        enabled,
        hub,
        payload,
        ..Enrollment::new(enrollee?, credentials)
    })
}
