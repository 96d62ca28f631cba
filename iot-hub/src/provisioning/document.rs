//! The bodies that go to and fro.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{RegistrationId, RegistrationIdError};
use crate::{
    identity::{DeviceId, HostError, HubHost, IdError},
    time,
};

/// What a device asks with.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistrationRequest {
    /// Itself.
    pub registration: RegistrationId,
    /// What it wants to tell whoever chooses its hub.
    pub payload: Option<Value>,
}

impl RegistrationRequest {
    /// The body.
    pub fn to_value(&self) -> Value {
        let mut body = json!({ "registrationId": self.registration });
        if let Some(payload) = &self.payload {
            body["payload"] = payload.clone();
        }
        body
    }

    /// Reads a body; a payload of `null` is none.
    pub fn from_value(value: &Value) -> Result<Self, RequestError> {
        let registration = value.get("registrationId").and_then(Value::as_str);
        let registration = registration.ok_or(RequestError::Missing)?;
        let payload = value.get("payload").filter(|payload| !payload.is_null());
        Ok(Self {
            registration: registration.parse()?,
            payload: payload.cloned(),
        })
    }
}

/// Why a body is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It does not say who asks.
    #[error("request has no `registrationId`")]
    Missing,
    /// What it says is no registration id.
    #[error("request's registration {0}")]
    Registration(#[from] RegistrationIdError),
}

/// Where a device belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The hub.
    pub hub: HubHost,
    /// The device's name there.
    pub device: DeviceId,
}

/// What the service says of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// The request's name; ask with it again.
    pub id: String,
    /// How far it is.
    pub progress: Progress,
}

/// How far a request is.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Not decided; ask again.
    Assigning,
    /// The device has a hub.
    Assigned(Box<Registration>),
    /// It has none.
    Failed(RegistrationFailure),
    /// Its enrolment is disabled.
    Disabled,
}

/// A device that has a hub.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// Who asked.
    pub registration: RegistrationId,
    /// What it got.
    pub assignment: Assignment,
    /// How it came about, where the service says one that is known.
    pub substatus: Option<Substatus>,
    /// When the device first registered.
    pub created: Option<Timestamp>,
    /// When it did last.
    pub updated: Option<Timestamp>,
    /// Changes with every registration.
    pub etag: String,
    /// What the service has to tell the device.
    pub payload: Option<Value>,
}

/// How a device came to its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Substatus {
    /// It had none before, or stays where it is.
    InitialAssignment,
    /// It moved, and its twin with it.
    DeviceDataMigrated,
    /// It moved, and begins anew.
    DeviceDataReset,
}

impl Substatus {
    const ALL: [Self; 3] = [
        Self::InitialAssignment,
        Self::DeviceDataMigrated,
        Self::DeviceDataReset,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::InitialAssignment => "initialAssignment",
            Self::DeviceDataMigrated => "deviceDataMigrated",
            Self::DeviceDataReset => "deviceDataReset",
        }
    }
}

/// Why a device has no hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error {code}: {message}")]
pub struct RegistrationFailure {
    /// The service's number for it; 0 when it gave none.
    pub code: u32,
    /// What it says.
    pub message: String,
}

impl Operation {
    /// The body.
    pub fn to_value(&self) -> Value {
        let (status, state) = match &self.progress {
            Progress::Assigning => ("assigning", None),
            Progress::Assigned(registration) => ("assigned", Some(registration.to_state())),
            Progress::Failed(failure) => {
                let state = json!({ "errorCode": failure.code, "errorMessage": failure.message });
                ("failed", Some(state))
            }
            Progress::Disabled => ("disabled", Some(json!({}))),
        };
        let mut body = json!({ "operationId": self.id, "status": status });
        if let Some(mut state) = state {
            state["status"] = json!(status);
            body["registrationState"] = state;
        }
        body
    }

    /// Reads a body. Unknown fields are tolerated, and missing ones that nobody needs.
    pub fn from_value(value: &Value) -> Result<Self, OperationError> {
        let empty = Value::Object(Map::new());
        let state = value.get("registrationState").unwrap_or(&empty);
        let status = value.get("status").and_then(Value::as_str);
        let progress = match status {
            Some("assigning" | "unassigned") => Progress::Assigning,
            Some("assigned") => Progress::Assigned(Box::new(Registration::from_state(state)?)),
            Some("failed") => Progress::Failed(RegistrationFailure {
                code: state
                    .get("errorCode")
                    .and_then(Value::as_u64)
                    .and_then(|code| code.try_into().ok())
                    .unwrap_or_default(),
                message: text(state, "errorMessage").unwrap_or_default().to_owned(),
            }),
            Some("disabled") => Progress::Disabled,
            Some(_) | None => return Err(OperationError::Status),
        };
        let id = text(value, "operationId").unwrap_or_default().to_owned();
        Ok(Self { id, progress })
    }
}

impl Registration {
    fn to_state(&self) -> Value {
        let mut state = json!({
            "registrationId": self.registration,
            "assignedHub": self.assignment.hub,
            "deviceId": self.assignment.device,
            "etag": self.etag,
        });
        let substatus = self.substatus.map(|substatus| json!(substatus.name()));
        let time = |time: Option<Timestamp>| time.map(|time| json!(time::print(time)));
        for (key, value) in [
            ("substatus", substatus),
            ("createdDateTimeUtc", time(self.created)),
            ("lastUpdatedDateTimeUtc", time(self.updated)),
            ("payload", self.payload.clone()),
        ] {
            if let Some(value) = value {
                state[key] = value;
            }
        }
        state
    }

    fn from_state(state: &Value) -> Result<Self, OperationError> {
        let needed = |key| text(state, key).ok_or(OperationError::Missing(key));
        let time = |key| text(state, key).and_then(time::parse);
        let substatus = text(state, "substatus").and_then(|name| {
            let mut all = Substatus::ALL.into_iter();
            all.find(|substatus| substatus.name() == name)
        });
        let device = needed("deviceId")?;
        // A device is called what it registered as, where nothing else is said.
        let registration = text(state, "registrationId").unwrap_or(device);
        Ok(Self {
            registration: registration.parse()?,
            assignment: Assignment {
                hub: needed("assignedHub")?.parse()?,
                device: device.parse()?,
            },
            substatus,
            created: time("createdDateTimeUtc"),
            updated: time("lastUpdatedDateTimeUtc"),
            etag: text(state, "etag").unwrap_or_default().to_owned(),
            payload: state
                .get("payload")
                .filter(|payload| !payload.is_null())
                .cloned(),
        })
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// Why a body says nothing of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// It does not say how far the request is, in any word that is known.
    #[error("answer has no known `status`")]
    Status,
    /// A field is needed and not there, or is no text.
    #[error("answer has no `{0}`")]
    Missing(&'static str),
    /// The hub cannot be read.
    #[error("answer's {0}")]
    Hub(#[from] HostError),
    /// The device cannot be read.
    #[error("answer's device {0}")]
    Device(#[from] IdError),
    /// The registration cannot be read.
    #[error("answer's registration {0}")]
    Registration(#[from] RegistrationIdError),
}
