//! The Device Provisioning Service beside the hub: who may register, and who has.
//!
//! A value like the [hub](crate::hub): no socket, clock or lock. A device that registers is in the
//! registry of this hub when it is told so, with the credentials that it showed; one whose
//! enrolment names another hub is told that, and the other hub has to know it.
//!
//! ```text
//!  CONNECT ──► admit: of its own enrolment, else of the first group that knows its credentials
//!  register ─► a request that is decided at once, and told at the next question
//! ```

use std::collections::BTreeMap;

use iot_hub::error::{ErrorCode, HubError};
use iot_hub::identity::{DeviceId, HubHost};
use iot_hub::provisioning::{
    Assignment, Operation, Progress, Registration, RegistrationId, RegistrationRequest, Substatus,
};
use iot_hub::sas::SharedKey;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use self::admission::{Admitted, Shown};
use crate::hub::{Authentication, EntityId, Hub};
use crate::setup::{Enrollee, Enrollment};

mod admission;
#[cfg(test)]
mod tests;

/// Who may register, and who has.
#[derive(Debug, Default)]
pub(crate) struct Provisioning {
    enrolled: BTreeMap<Enrolled, Entry>,
    /// By the registration ids as all of their spellings have it.
    registered: BTreeMap<String, Registered>,
}

/// Names an enrolment as all spellings of it do. Devices come before groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Enrolled {
    Device(String),
    Group(String),
}

impl From<&Enrollee> for Enrolled {
    fn from(enrollee: &Enrollee) -> Self {
        match enrollee {
            Enrollee::Device(id) => Self::Device(id.folded()),
            Enrollee::Group(name) => Self::Group(name.clone()),
        }
    }
}

#[derive(Debug)]
struct Entry {
    enrollment: Enrollment,
    authentication: Authentication,
}

/// What became of a device's newest request.
#[derive(Debug)]
struct Registered {
    operation: Operation,
    created: Timestamp,
    times: u64,
}

impl Provisioning {
    /// Lets a device or a group register; an enrolment of the same name is replaced. `new_key`
    /// makes the keys that are left open.
    pub(crate) fn enroll(&mut self, enrollment: Enrollment, new_key: impl FnMut() -> SharedKey) {
        let name = Enrolled::from(&enrollment.enrollee);
        let authentication = Authentication::of_setup(enrollment.credentials.clone(), new_key);
        let entry = Entry {
            enrollment,
            authentication,
        };
        self.enrolled.insert(name, entry);
    }

    /// Lets it register no longer. Returns whether it could.
    pub(crate) fn unenroll(&mut self, enrollee: &Enrollee) -> bool {
        self.enrolled.remove(&Enrolled::from(enrollee)).is_some()
    }

    /// Every enrolment: devices, then groups, by name.
    pub(crate) fn enrollments(&self) -> impl Iterator<Item = &Enrollment> {
        self.enrolled.values().map(|entry| &entry.enrollment)
    }

    /// How often a device has registered, and where it belongs.
    pub(crate) fn registration(&self, id: &RegistrationId) -> Option<(u64, &Operation)> {
        let registered = self.registered.get(&id.folded())?;
        Some((registered.times, &registered.operation))
    }

    /// Takes a device's request; what becomes of it is told when it asks. `number` tells the
    /// request from others.
    pub(crate) fn register(
        &mut self,
        hub: &mut Hub,
        host: &HubHost,
        admitted: &Admitted,
        body: &[u8],
        (number, now): (u64, Timestamp),
    ) -> Result<Value, HubError> {
        let request = request(admitted, body)?;
        let operation = format!("4.{number:016x}");
        let known = self.registered.get(&request.registration.folded());
        let (created, times) = known.map_or((now, 0), |known| (known.created, known.times));
        let before = known.and_then(|known| match &known.operation.progress {
            Progress::Assigned(registration) => Some(registration.assignment.hub.clone()),
            Progress::Assigning | Progress::Failed(_) | Progress::Disabled => None,
        });
        let progress = match self.assign(hub, host, admitted, now)? {
            None => Progress::Disabled,
            Some((assignment, payload)) => Progress::Assigned(Box::new(Registration {
                registration: request.registration.clone(),
                substatus: Some(match before {
                    Some(before) if before != assignment.hub => Substatus::DeviceDataReset,
                    Some(_) | None => Substatus::InitialAssignment,
                }),
                assignment,
                created: Some(created),
                updated: Some(now),
                etag: format!("{number:x}"),
                payload,
            })),
        };
        let registered = Registered {
            operation: Operation {
                id: operation.clone(),
                progress,
            },
            created,
            times: times + 1,
        };
        self.registered
            .insert(request.registration.folded(), registered);
        let assigning = Operation {
            id: operation,
            progress: Progress::Assigning,
        };
        Ok(assigning.to_value())
    }

    /// Finds a hub for a device, and makes sure that ours knows it; `None` when it may not have one.
    fn assign(
        &self,
        hub: &mut Hub,
        host: &HubHost,
        admitted: &Admitted,
        now: Timestamp,
    ) -> Result<Option<(Assignment, Option<Value>)>, HubError> {
        let entry = self
            .enrolled
            .get(&admitted.enrolled)
            .ok_or_else(unauthorized)?;
        let enrollment = &entry.enrollment;
        if !enrollment.enabled {
            return Ok(None);
        }
        let device = match &enrollment.device {
            Some(device) => Ok(device.clone()),
            None => admitted.registration.as_str().parse::<DeviceId>(),
        };
        let device = device
            .map_err(|error| HubError::new(ErrorCode::GenericBadRequest, error.to_string()))?;
        let assignment = Assignment {
            hub: enrollment.hub.clone().unwrap_or_else(|| host.clone()),
            device: device.clone(),
        };
        if enrollment.hub.is_none() {
            let authentication = admitted.authentication.clone();
            hub.provision(EntityId::from(device), authentication, now)?;
        }
        Ok(Some((assignment, enrollment.payload.clone())))
    }

    /// What became of a request.
    pub(crate) fn status(&self, id: &RegistrationId, operation: &str) -> Result<Value, HubError> {
        let registered = self.registered.get(&id.folded());
        let known = registered.filter(|registered| registered.operation.id == operation);
        let known = known.ok_or_else(|| HubError {
            status: 404,
            code: None,
            message: "no such operation".to_owned(),
            info: None,
        })?;
        Ok(known.operation.to_value())
    }
}

fn request(admitted: &Admitted, body: &[u8]) -> Result<RegistrationRequest, HubError> {
    let bad = |message: String| HubError::new(ErrorCode::GenericBadRequest, message);
    let body = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    let request = RegistrationRequest::from_value(&body).map_err(|error| bad(error.to_string()))?;
    if request.registration != admitted.registration {
        return Err(bad("the request is of another device".to_owned()));
    }
    Ok(request)
}

fn unauthorized() -> HubError {
    HubError::new(ErrorCode::IotHubUnauthorizedAccess, "Unauthorized")
}

/// An enrolment as it may be shown: without its keys.
pub(crate) fn describe(enrollment: &Enrollment) -> Value {
    let (id, group) = match &enrollment.enrollee {
        Enrollee::Device(id) => (Some(id), None),
        Enrollee::Group(name) => (None, Some(name)),
    };
    json!({
        "registrationId": id,
        "group": group,
        "enabled": enrollment.enabled,
        "attestation": enrollment.credentials.kind(),
        "hub": enrollment.hub,
        "deviceId": enrollment.device,
        "payload": enrollment.payload,
    })
}
