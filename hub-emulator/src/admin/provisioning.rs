//! Who may register with the provisioning service, and who has.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use iot_hub::identity::{DeviceId, HubHost};
use iot_hub::provisioning::RegistrationId;
use iot_hub::sas::SharedKey;
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Admin, Answer, no_content, read_body};
use crate::emulator::new_key;
use crate::fields::Fields;
use crate::provisioning::describe;
use crate::setup::{Enrollee, Enrollment, SetupCredentials};

/// Every enrolment, without its keys.
pub(super) async fn list(State(admin): State<Admin>) -> Json<Value> {
    let enrollments = admin.switchboard.read(|state| {
        let all = state.provisioning.enrollments().map(describe);
        all.collect::<Vec<_>>()
    });
    let id_scope = &admin.switchboard.config.provisioning.id_scope;
    Json(json!({"idScope": id_scope, "enrollments": enrollments}))
}

/// Lets a device register, or changes how.
pub(super) async fn put_device(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    put(&admin, device(&id)?, body)
}

/// The same for a group.
pub(super) async fn put_group(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    put(&admin, Enrollee::Group(name), body)
}

/// Lets a device register no longer.
pub(super) async fn delete_device(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    delete(&admin, &device(&id)?)
}

/// The same for a group.
pub(super) async fn delete_group(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    delete(&admin, &Enrollee::Group(name))
}

/// How often a device has registered, and what it was told last.
pub(super) async fn registration(State(admin): State<Admin>, Path(id): Path<String>) -> Answer {
    let parsed = registration_id(&id)?;
    let found = admin.switchboard.read(|state| {
        let (times, operation) = state.provisioning.registration(&parsed)?;
        Some(json!({"times": times, "operation": operation.to_value()}))
    });
    found
        .map(Json)
        .ok_or_else(|| Problem::not_found("id", format!("{id} has not registered")))
}

fn registration_id(id: &str) -> Result<RegistrationId, Problem> {
    id.parse()
        .map_err(|error| Problem::of_field("id", format!("{error}")))
}

fn device(id: &str) -> Result<Enrollee, Problem> {
    registration_id(id).map(Enrollee::Device)
}

fn put(admin: &Admin, enrollee: Enrollee, body: Result<Bytes, BytesRejection>) -> Answer {
    let enrollment = read_body(body, |fields| read(fields, enrollee))?;
    let shown = describe(&enrollment);
    admin
        .switchboard
        .change(|state, _| state.provisioning.enroll(enrollment, new_key));
    Ok(Json(shown))
}

fn delete(admin: &Admin, enrollee: &Enrollee) -> Result<Response, Problem> {
    let known = admin
        .switchboard
        .change(|state, _| state.provisioning.unenroll(enrollee));
    if known {
        Ok(no_content())
    } else {
        Err(Problem::not_found("id", "there is no such enrolment"))
    }
}

fn read(fields: &mut Fields<'_>, enrollee: Enrollee) -> Option<Enrollment> {
    let credentials = credentials(fields, &enrollee);
    let enabled = fields.flag("enabled").unwrap_or(true);
    let hub = fields.parsed::<HubHost>("hub", "a hub's host name");
    let device = match &enrollee {
        Enrollee::Device(_) => fields.parsed::<DeviceId>("device_id", "a device's id"),
        Enrollee::Group(_) => None,
    };
    let payload = fields.object("payload").map(Value::Object);
    Some(Enrollment {
        enabled,
        hub,
        device,
        payload,
        ..Enrollment::new(enrollee, credentials?)
    })
}

/// A key, which is not told again when it is wrong; a thumbprint; or an authority.
fn credentials(fields: &mut Fields<'_>, enrollee: &Enrollee) -> Option<SetupCredentials> {
    let has_key = fields.has("primary_key");
    let mut key = |name| fields.secret::<SharedKey>(name, "16 to 64 bytes in base64");
    let (primary, secondary) = (key("primary_key"), key("secondary_key"));
    let thumbprint = match enrollee {
        Enrollee::Device(_) => fields.text("thumbprint"),
        Enrollee::Group(_) => None,
    };
    let authority = fields.flag("certificate_authority").unwrap_or(false);
    match (has_key, thumbprint, authority) {
        (true, None, false) => Some(SetupCredentials::Keys {
            primary: Some(primary?),
            secondary,
        }),
        (false, Some(primary), false) => Some(SetupCredentials::Thumbprints {
            primary,
            secondary: None,
        }),
        (false, None, true) => Some(SetupCredentials::CertificateAuthority),
        _ => {
            let expected = "exactly one of primaryKey, thumbprint (of a device) and \
                            certificateAuthority = true";
            fields.mistake("primary_key", None, expected);
            None
        }
    }
}
