//! What a request asks for, read from its method and path alone.

use axum::http::Method;
use iot_hub::error::{ErrorCode, HubError};
use iot_hub::identity::{DeviceId, ModuleId};
use percent_encoding::percent_decode_str;

use crate::faults::Operation;
use crate::hub::EntityId;
use crate::policies::Permission;

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
    DeviceStatistics,
    ServiceStatistics,
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
            | Self::DeviceStatistics
            | Self::ServiceStatistics => Permission::RegistryRead,
            Self::BulkIdentities | Self::PutIdentity(_) | Self::DeleteIdentity(_) => {
                Permission::RegistryWrite
            }
            Self::GetTwin(_)
            | Self::PatchTwin(_)
            | Self::ReplaceTwin(_)
            | Self::InvokeMethod(_)
            | Self::Query => Permission::ServiceConnect,
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
            | Self::ServiceStatistics => Operation::Registry,
            Self::GetTwin(_) => Operation::ServiceTwinRead,
            Self::PatchTwin(_) | Self::ReplaceTwin(_) => Operation::ServiceTwinUpdate,
            Self::InvokeMethod(_) => Operation::MethodCall,
            Self::Query => Operation::Query,
        }
    }

    /// How its errors are dressed.
    pub(crate) fn error_style(&self) -> ErrorStyle {
        match self {
            Self::InvokeMethod(_) => ErrorStyle::Nested,
            Self::ListDevices
            | Self::BulkIdentities
            | Self::ListModules(_)
            | Self::GetIdentity(_)
            | Self::PutIdentity(_)
            | Self::DeleteIdentity(_)
            | Self::GetTwin(_)
            | Self::PatchTwin(_)
            | Self::ReplaceTwin(_)
            | Self::Query
            | Self::DeviceStatistics
            | Self::ServiceStatistics => ErrorStyle::Name,
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

fn decode(segment: &str) -> Result<String, HubError> {
    match percent_decode_str(segment).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(HubError::new(
            ErrorCode::ArgumentInvalid,
            format!("path segment {segment} is not percent-encoded UTF-8"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, expected: &Call) {
        assert_eq!(&Call::parse(&method, path).unwrap(), expected);
    }

    fn device(id: &str) -> EntityId {
        EntityId::from(id.parse::<DeviceId>().unwrap())
    }

    #[test]
    fn reads_the_paths_that_sdks_send() {
        check(Method::GET, "/devices", &Call::ListDevices);
        check(Method::GET, "/devices/", &Call::ListDevices);
        check(
            Method::GET,
            "/devices/d1/modules",
            &Call::ListModules(device("d1")),
        );
        check(Method::PUT, "/devices/d1", &Call::PutIdentity(device("d1")));
        check(Method::POST, "/devices/query", &Call::Query);
        check(
            Method::GET,
            "/devices/query",
            &Call::GetIdentity(device("query")),
        );
        check(
            Method::GET,
            "/twins/a%23b%3Fc",
            &Call::GetTwin(device("a#b?c")),
        );
        check(
            Method::POST,
            "/twins/d1/methods",
            &Call::InvokeMethod(device("d1")),
        );
        let module = EntityId {
            module: Some("m".parse().unwrap()),
            ..device("d1")
        };
        check(
            Method::PATCH,
            "/twins/d1/modules/m",
            &Call::PatchTwin(module),
        );
    }

    #[test]
    fn refuses_what_it_does_not_offer() {
        let code = |method: Method, path: &str| Call::parse(&method, path).unwrap_err().code;
        assert_eq!(
            code(Method::POST, "/twins/d1"),
            Some(ErrorCode::MethodNotAllowed)
        );
        assert_eq!(code(Method::GET, "/nothing"), None);
        assert_eq!(
            code(Method::GET, "/twins/a%FF"),
            Some(ErrorCode::ArgumentInvalid)
        );
        assert_eq!(
            code(Method::GET, "/twins/a%20b"),
            Some(ErrorCode::ArgumentInvalid)
        );
    }

    proptest! {
        #[test]
        fn any_device_id_survives_its_encoding(id in "[A-Za-z0-9.+%_#*?!(),:=@$'-]{1,128}") {
            let encoded = utf8_percent_encode(&id, NON_ALPHANUMERIC);
            let call = Call::parse(&Method::GET, &format!("/twins/{encoded}"));
            prop_assert_eq!(call, Ok(Call::GetTwin(device(&id))));
        }

        #[test]
        fn no_path_is_too_much(path in ".*", tail in "(/[a-z%0-9]{0,9}){0,7}") {
            for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
                for path in [path.clone(), format!("/devices{tail}"), format!("/twins{tail}")] {
                    if let Err(error) = Call::parse(&method, &path) {
                        prop_assert!(matches!(error.status, 400 | 404 | 405));
                    }
                }
            }
        }
    }
}
