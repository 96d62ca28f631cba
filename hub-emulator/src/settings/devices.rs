//! The sections `[[device]]` and, within one, `[[device.module]]`.

use std::collections::BTreeSet;

use daemon::settings::Section;
use iot_hub::identity::{DeviceId, ModuleId};
use iot_hub::sas::SharedKey;
use iot_hub::twin::{Properties, SectionKind, validate};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::hub::EntityId;
use crate::setup::{DeviceSetup, SetupCredentials};

const DEVICE: &str = "a device's id";
const MODULE: &str = "a module's id";

/// What stands beside an id.
struct Body {
    enabled: bool,
    credentials: SetupCredentials,
    tags: Properties,
    desired: Properties,
    reported: Properties,
}

/// Each device, and its modules behind it.
pub(super) fn read(root: &mut Section) -> Vec<DeviceSetup> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for mut section in root.sections("device") {
        let device = section.parsed::<DeviceId>("id", DEVICE).required(DEVICE);
        let modules = section.sections("module");
        found.extend(one(
            &mut section,
            device.clone().map(EntityId::from),
            &mut seen,
        ));
        for mut section in modules {
            let module = section.parsed::<ModuleId>("id", MODULE).required(MODULE);
            let id = device.clone().zip(module).map(|(device, module)| EntityId {
                device,
                module: Some(module),
            });
            found.extend(one(&mut section, id, &mut seen));
        }
    }
    found
}

/// Reads a section to its end even when its id is of no use, so that every mistake is told.
fn one(
    section: &mut Section,
    id: Option<EntityId>,
    seen: &mut BTreeSet<EntityId>,
) -> Option<DeviceSetup> {
    let body = body(section);
    let id = id?;
    if !seen.insert(id.clone()) {
        section.mistake(
            "id",
            &format!("\"{id}\""),
            "an id that is not there already",
        );
    }
    let Body {
        enabled,
        credentials,
        tags,
        desired,
        reported,
    } = body?;
    Some(DeviceSetup {
        device: id.device,
        module: id.module,
        enabled,
        credentials,
        tags,
        desired,
        reported,
    })
}

fn body(section: &mut Section) -> Option<Body> {
    let enabled = section.flag("enabled").or(true);
    let credentials = credentials(section);
    let tags = properties(section, "tags", SectionKind::Tags);
    let desired = properties(section, "desired", SectionKind::Desired);
    let reported = properties(section, "reported", SectionKind::Reported);
    Some(Body {
        enabled,
        credentials: credentials?,
        tags,
        desired,
        reported,
    })
}

pub(super) fn credentials(section: &mut Section) -> Option<SetupCredentials> {
    let primary = key(section, "primary_key");
    let secondary = key(section, "secondary_key");
    let has_keys = primary.is_some() || secondary.is_some();
    let thumbprints = thumbprints(section);
    let authority = section.flag("certificate_authority").or(false);
    if usize::from(has_keys) + usize::from(thumbprints.is_some()) + usize::from(authority) > 1 {
        let expected = "only one of keys, thumbprints and certificate_authority";
        section.mistake("id", "", expected);
        return None;
    }
    Some(match thumbprints {
        Some((primary, secondary)) => SetupCredentials::Thumbprints { primary, secondary },
        None if authority => SetupCredentials::CertificateAuthority,
        None => SetupCredentials::Keys { primary, secondary },
    })
}

fn key(section: &mut Section, name: &str) -> Option<SharedKey> {
    let secret = section.optional_secret(name)?;
    match secret.text.expose_secret().parse() {
        Ok(key) => Some(key),
        Err(error) => {
            let expected = format!("16 to 64 bytes in base64: {error}");
            section.mistake(&secret.key, "(hidden)", &expected);
            None
        }
    }
}

fn thumbprints(section: &mut Section) -> Option<(String, Option<String>)> {
    let expected = "one or two hashes of a certificate: 40 or 64 hexadecimal digits each";
    let found = section.take("thumbprints", expected, |value| {
        let mut texts = Vec::new();
        for text in value.as_array()? {
            let text = text.as_str()?;
            let is_hash =
                matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            texts.push(is_hash.then(|| text.to_owned())?);
        }
        match texts.as_slice() {
            [one] => Some((one.clone(), None)),
            [one, other] => Some((one.clone(), Some(other.clone()))),
            _ => None,
        }
    });
    found.optional()
}

/// A part of a twin, which must keep the twin's rules.
fn properties(section: &mut Section, name: &str, kind: SectionKind) -> Properties {
    let given = section.take_or_why(name, |value| {
        let table = value.as_table().ok_or("a table")?;
        let properties: Properties = table
            .iter()
            .map(|(name, value)| (name.clone(), to_json(value)))
            .collect();
        match validate(kind, &properties) {
            Ok(()) => Ok(properties),
            Err(error) => Err(format!("what a twin may hold: {error}")),
        }
    });
    given.optional().unwrap_or_default()
}

/// A time is a text in a twin.
pub(super) fn to_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(values) => values.iter().map(to_json).collect(),
        toml::Value::Table(table) => table
            .iter()
            .map(|(name, value)| (name.clone(), to_json(value)))
            .collect(),
    }
}
