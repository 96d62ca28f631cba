//! What a request asks for, read from its method and path alone.

use axum::http::Method;
use iot_hub::error::{ErrorCode, HubError};
use iot_hub::identity::{DeviceId, ModuleId};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::faults::Operation;
use crate::hub::{ConfigurationId, EntityId, JobId};
use crate::policies::Permission;

#[cfg(test)]
mod tests;

/// One call of the service API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    ListDevices,
    BulkIdentities,
    ListModules(EntityId),
    GetIdentity(EntityId),
    PutIdentity(EntityId),
    DeleteIdentity(EntityId),
    GetTwin(EntityId),
    PatchTwin(EntityId),
    ReplaceTwin(EntityId),
    InvokeMethod(EntityId),
    Query,
    ListJobs,
    GetJob(JobId),
    PutJob(JobId),
    CancelJob(JobId),
    ListConfigurations,
    TestConfigurationQueries,
    GetConfiguration(ConfigurationId),
    PutConfiguration(ConfigurationId),
    DeleteConfiguration(ConfigurationId),
    ApplyContent(EntityId),
    DeviceStatistics,
    ServiceStatistics,
    PurgeMessages(EntityId),
    TakeFeedback,
    SettleFeedback { token: Uuid, kept: bool },
}

/// How an error is dressed; the real hub has two ways, by endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorStyle {
    /// `ErrorCode:Name;text`, which Microsoft's Node SDK needs to tell a missing device apart.
    Name,
    /// JSON text within the JSON.
    Nested,
}

impl Call {
    /// Reads a request line. Each path segment is decoded once; a slash at the end is ignored.
    pub(crate) fn parse(method: &Method, path: &str) -> Result<Self, HubError> {
        let segments = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(decode)
            .collect::<Result<Vec<_>, _>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();

        let found = match segments.as_slice() {
            ["devices"] => pick(
                method,
                [
                    (Method::GET, Self::ListDevices),
                    (Method::POST, Self::BulkIdentities),
                ],
            ),
            ["devices", "query"] if method == Method::POST => Some(Self::Query),
            ["devices", device] => identity(method, entity(device, None)?),
            ["devices", device, "modules"] => pick(
                method,
                [(Method::GET, Self::ListModules(entity(device, None)?))],
            ),
            ["devices", device, "modules", module] => {
                identity(method, entity(device, Some(module))?)
            }
            ["twins", device] => twin(method, entity(device, None)?),
            ["twins", device, "methods"] => pick(
                method,
                [(Method::POST, Self::InvokeMethod(entity(device, None)?))],
            ),
            ["twins", device, "modules", module] => twin(method, entity(device, Some(module))?),
            ["twins", device, "modules", module, "methods"] => pick(
                method,
                [(
                    Method::POST,
                    Self::InvokeMethod(entity(device, Some(module))?),
                )],
            ),
            ["devices", device, "applyConfigurationContent"] => pick(
                method,
                [(Method::POST, Self::ApplyContent(entity(device, None)?))],
            ),
            ["devices", device, "commands"] => pick(
                method,
                [(Method::DELETE, Self::PurgeMessages(entity(device, None)?))],
            ),
            ["messages", "serviceBound", "feedback"] => {
                pick(method, [(Method::GET, Self::TakeFeedback)])
            }
            ["messages", "serviceBound", "feedback", token] => {
                let token = lock_token(token)?;
                pick(
                    method,
                    [(Method::DELETE, Self::SettleFeedback { token, kept: false })],
                )
            }
            ["messages", "serviceBound", "feedback", token, "abandon"] => {
                let token = lock_token(token)?;
                pick(
                    method,
                    [(Method::POST, Self::SettleFeedback { token, kept: true })],
                )
            }
            ["jobs", "v2", "query"] if method == Method::GET => Some(Self::ListJobs),
            ["jobs", "v2", job] => {
                let job: JobId = job.parse()?;
                pick(
                    method,
                    [
                        (Method::GET, Self::GetJob(job.clone())),
                        (Method::PUT, Self::PutJob(job)),
                    ],
                )
            }
            ["jobs", "v2", job, "cancel"] => {
                pick(method, [(Method::POST, Self::CancelJob(job.parse()?))])
            }
            ["configurations"] => pick(method, [(Method::GET, Self::ListConfigurations)]),
            ["configurations", "testQueries"] if method == Method::POST => {
                Some(Self::TestConfigurationQueries)
            }
            ["configurations", id] => {
                let id: ConfigurationId = id.parse()?;
                pick(
                    method,
                    [
                        (Method::GET, Self::GetConfiguration(id.clone())),
                        (Method::PUT, Self::PutConfiguration(id.clone())),
                        (Method::DELETE, Self::DeleteConfiguration(id)),
                    ],
                )
            }
            ["statistics", "devices"] => pick(method, [(Method::GET, Self::DeviceStatistics)]),
            ["statistics", "service"] => pick(method, [(Method::GET, Self::ServiceStatistics)]),
            _ => {
                // The documented codes have none for this.
                let message = format!("no resource at {path}");
                return Err(HubError {
                    status: 404,
                    code: None,
                    message,
                    info: None,
                });
            }
        };
        found.ok_or_else(|| {
            HubError::new(
                ErrorCode::MethodNotAllowed,
                format!("{method} is not offered for {path}"),
            )
        })
    }

    /// What a token must allow.
    pub(crate) fn permission(&self) -> Permission {
        match self {
            Self::ListDevices
            | Self::ListModules(_)
            | Self::GetIdentity(_)
            | Self::ListConfigurations
            | Self::TestConfigurationQueries
            | Self::GetConfiguration(_)
            | Self::DeviceStatistics
            | Self::ServiceStatistics => Permission::RegistryRead,
            Self::BulkIdentities
            | Self::PutIdentity(_)
            | Self::DeleteIdentity(_)
            | Self::PutConfiguration(_)
            | Self::DeleteConfiguration(_)
            | Self::ApplyContent(_) => Permission::RegistryWrite,
            Self::GetTwin(_)
            | Self::PatchTwin(_)
            | Self::ReplaceTwin(_)
            | Self::InvokeMethod(_)
            | Self::Query
            | Self::ListJobs
            | Self::GetJob(_)
            | Self::PutJob(_)
            | Self::CancelJob(_)
            | Self::PurgeMessages(_)
            | Self::TakeFeedback
            | Self::SettleFeedback { .. } => Permission::ServiceConnect,
        }
    }

    /// What faults and counters take it for.
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::ListDevices
            | Self::BulkIdentities
            | Self::ListModules(_)
            | Self::GetIdentity(_)
            | Self::PutIdentity(_)
            | Self::DeleteIdentity(_)
            | Self::DeviceStatistics
            | Self::ServiceStatistics
            | Self::PurgeMessages(_)
            | Self::TakeFeedback
            | Self::SettleFeedback { .. } => Operation::Registry,
            Self::ListConfigurations
            | Self::TestConfigurationQueries
            | Self::GetConfiguration(_)
            | Self::PutConfiguration(_)
            | Self::DeleteConfiguration(_)
            | Self::ApplyContent(_) => Operation::Configuration,
            Self::GetTwin(_) => Operation::ServiceTwinRead,
            Self::PatchTwin(_) | Self::ReplaceTwin(_) => Operation::ServiceTwinUpdate,
            Self::InvokeMethod(_) => Operation::MethodCall,
            Self::Query => Operation::Query,
            Self::ListJobs | Self::GetJob(_) | Self::PutJob(_) | Self::CancelJob(_) => {
                Operation::Job
            }
        }
    }

    /// The device that it names.
    pub(crate) fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::ListModules(id)
            | Self::GetIdentity(id)
            | Self::PutIdentity(id)
            | Self::DeleteIdentity(id)
            | Self::GetTwin(id)
            | Self::PatchTwin(id)
            | Self::ReplaceTwin(id)
            | Self::InvokeMethod(id)
            | Self::PurgeMessages(id)
            | Self::ApplyContent(id) => Some(&id.device),
            Self::ListDevices
            | Self::BulkIdentities
            | Self::Query
            | Self::ListJobs
            | Self::GetJob(_)
            | Self::PutJob(_)
            | Self::CancelJob(_)
            | Self::ListConfigurations
            | Self::TestConfigurationQueries
            | Self::GetConfiguration(_)
            | Self::PutConfiguration(_)
            | Self::DeleteConfiguration(_)
            | Self::DeviceStatistics
            | Self::ServiceStatistics
            | Self::TakeFeedback
            | Self::SettleFeedback { .. } => None,
        }
    }

    /// What of it, once it went well, counts among the day's messages: the sizes of its body and of
    /// the answer's are given.
    pub(super) fn metered(&self, body: usize, answer: usize) -> Option<usize> {
        match self.operation() {
            Operation::ServiceTwinRead | Operation::Query | Operation::MethodCall => Some(answer),
            Operation::ServiceTwinUpdate => Some(body),
            Operation::Job
            | Operation::Configuration
            | Operation::Registry
            | Operation::DeviceTwinRead
            | Operation::DeviceTwinUpdate
            | Operation::Registration => None,
        }
    }

    /// How its errors are dressed.
    pub(crate) fn error_style(&self) -> ErrorStyle {
        match self.operation() {
            Operation::MethodCall => ErrorStyle::Nested,
            Operation::ServiceTwinRead
            | Operation::ServiceTwinUpdate
            | Operation::Query
            | Operation::Job
            | Operation::Configuration
            | Operation::Registry
            | Operation::DeviceTwinRead
            | Operation::DeviceTwinUpdate
            | Operation::Registration => ErrorStyle::Name,
        }
    }
}

fn identity(method: &Method, id: EntityId) -> Option<Call> {
    pick(
        method,
        [
            (Method::GET, Call::GetIdentity(id.clone())),
            (Method::PUT, Call::PutIdentity(id.clone())),
            (Method::DELETE, Call::DeleteIdentity(id)),
        ],
    )
}

fn twin(method: &Method, id: EntityId) -> Option<Call> {
    pick(
        method,
        [
            (Method::GET, Call::GetTwin(id.clone())),
            (Method::PATCH, Call::PatchTwin(id.clone())),
            (Method::PUT, Call::ReplaceTwin(id)),
        ],
    )
}

fn pick<const N: usize>(method: &Method, offered: [(Method, Call); N]) -> Option<Call> {
    offered
        .into_iter()
        .find(|(offered, _)| offered == method)
        .map(|(_, call)| call)
}

fn entity(device: &str, module: Option<&str>) -> Result<EntityId, HubError> {
    let invalid = |what: &str, error: &dyn std::fmt::Display| {
        HubError::new(
            ErrorCode::ArgumentInvalid,
            format!("Invalid {what}: {error}"),
        )
    };
    let device: DeviceId = device
        .parse()
        .map_err(|error| invalid("deviceId", &error))?;
    let module = module
        .map(str::parse::<ModuleId>)
        .transpose()
        .map_err(|error| invalid("moduleId", &error))?;
    Ok(EntityId { device, module })
}

fn lock_token(text: &str) -> Result<Uuid, HubError> {
    text.parse().map_err(|_| {
        HubError::new(
            ErrorCode::ArgumentInvalid,
            "the lock token is not one that this hub gave",
        )
    })
}

fn decode(segment: &str) -> Result<String, HubError> {
    match percent_decode_str(segment).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(HubError::new(
            ErrorCode::ArgumentInvalid,
            format!("path segment {segment} is not percent-encoded UTF-8"),
        )),
    }
}
