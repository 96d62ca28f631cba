//! The MQTT topics of a hub as types; parsing and printing are inverse.
//!
//! ```text
//! device ──[ DeviceTopic ]──► hub      telemetry, method answers, twin requests
//! device ◄──[ HubTopic ]───── hub      method calls, twin answers, desired properties, messages
//! device ──[ Filter ]───────► hub      the subscriptions that a hub knows
//! ```
//!
//! Ids stand in topics as they are, never percent-encoded; properties of a message are always
//! encoded.

mod bag;
mod filter;
mod name;
mod parts;

use std::{fmt, str::FromStr};

pub(crate) use self::parts::pairs;
use self::parts::{Query, owner};
pub use self::{
    bag::{BagError, PropertyBag},
    filter::Filter,
    name::{MethodName, MethodNameError, RequestId, RequestIdError},
};
use crate::identity::{DeviceId, IdError, ModuleId};

/// What a device publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceTopic {
    /// A message to the cloud: `devices/{device}[/modules/{module}]/messages/events/{properties}`.
    Telemetry {
        /// The sender.
        device: DeviceId,
        /// The sender, when it is a module.
        module: Option<ModuleId>,
        /// System and application properties of the message.
        properties: PropertyBag,
    },
    /// The answer to a method call: `$iothub/methods/res/{status}/?$rid={rid}`.
    MethodResponse {
        /// Whatever the device wants to say; its numbers follow HTTP by custom only.
        status: i32,
        /// The call that this answers.
        rid: RequestId,
    },
    /// Asks for the twin: `$iothub/twin/GET/?$rid={rid}`.
    TwinGet {
        /// Comes back in the answer.
        rid: RequestId,
    },
    /// Patches the twin's reported properties:
    /// `$iothub/twin/PATCH/properties/reported/?$rid={rid}`.
    TwinReported {
        /// Comes back in the answer.
        rid: RequestId,
        /// The version that the reported properties must have for the patch to apply.
        version: Option<u64>,
    },
}

/// What a hub publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubTopic {
    /// Calls a method: `$iothub/methods/POST/{name}/?$rid={rid}`.
    Method {
        /// The method.
        name: MethodName,
        /// To be repeated in the answer.
        rid: RequestId,
    },
    /// Answers a twin request: `$iothub/twin/res/{status}/?$rid={rid}[&$version={version}]`.
    TwinResponse {
        /// As in HTTP: 200 for a read, 204 for a patch, 4xx and 5xx for errors.
        status: u16,
        /// The request that this answers.
        rid: RequestId,
        /// The new version of the reported properties, after a patch.
        version: Option<u64>,
    },
    /// Tells of a change of desired properties:
    /// `$iothub/twin/PATCH/properties/desired/?$version={version}`.
    Desired {
        /// The new version of the desired properties.
        version: u64,
    },
    /// A message from the cloud: `devices/{device}/messages/devicebound/{properties}`.
    CloudToDevice {
        /// The receiver.
        device: DeviceId,
        /// System and application properties of the message.
        properties: PropertyBag,
    },
    /// A message routed to a module:
    /// `devices/{device}/modules/{module}/inputs/{input}/{properties}`.
    ModuleInput {
        /// The receiver's device.
        device: DeviceId,
        /// The receiver.
        module: ModuleId,
        /// The module's input, which is named like a module.
        input: ModuleId,
        /// System and application properties of the message.
        properties: PropertyBag,
    },
}

const METHOD_CALL: &str = "$iothub/methods/POST/";
const METHOD_ANSWER: &str = "$iothub/methods/res/";
const TWIN_GET: &str = "$iothub/twin/GET/";
const TWIN_REPORTED: &str = "$iothub/twin/PATCH/properties/reported/";
const TWIN_DESIRED: &str = "$iothub/twin/PATCH/properties/desired/";
const TWIN_ANSWER: &str = "$iothub/twin/res/";

impl fmt::Display for DeviceTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Telemetry {
                device,
                module: None,
                properties,
            } => {
                write!(f, "devices/{device}/messages/events/{properties}")
            }
            Self::Telemetry {
                device,
                module: Some(module),
                properties,
            } => {
                write!(
                    f,
                    "devices/{device}/modules/{module}/messages/events/{properties}"
                )
            }
            Self::MethodResponse { status, rid } => {
                write!(f, "{METHOD_ANSWER}{status}/?$rid={rid}")
            }
            Self::TwinGet { rid } => write!(f, "{TWIN_GET}?$rid={rid}"),
            Self::TwinReported { rid, version: None } => write!(f, "{TWIN_REPORTED}?$rid={rid}"),
            Self::TwinReported {
                rid,
                version: Some(version),
            } => {
                write!(f, "{TWIN_REPORTED}?$rid={rid}&$version={version}")
            }
        }
    }
}

impl FromStr for DeviceTopic {
    type Err = TopicError;

    fn from_str(topic: &str) -> Result<Self, TopicError> {
        if let Some(rest) = topic.strip_prefix(METHOD_ANSWER) {
            let (status, query) = rest.split_once('/').ok_or(TopicError::Unknown)?;
            let status = status.parse().map_err(|_| TopicError::Status)?;
            return Ok(Self::MethodResponse {
                status,
                rid: Query::read(query)?.rid()?,
            });
        }
        if let Some(query) = topic.strip_prefix(TWIN_GET) {
            return Ok(Self::TwinGet {
                rid: Query::read(query)?.rid()?,
            });
        }
        if let Some(query) = topic.strip_prefix(TWIN_REPORTED) {
            let query = Query::read(query)?;
            return Ok(Self::TwinReported {
                rid: query.rid()?,
                version: query.version()?,
            });
        }
        let (device, module, rest) = owner(topic)?;
        let events = rest
            .strip_prefix("messages/events")
            .ok_or(TopicError::Unknown)?;
        let properties = match events.strip_prefix('/') {
            Some(bag) => bag.parse().map_err(TopicError::Properties)?,
            None if events.is_empty() => PropertyBag::default(),
            None => return Err(TopicError::Unknown),
        };
        Ok(Self::Telemetry {
            device,
            module,
            properties,
        })
    }
}

impl fmt::Display for HubTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method { name, rid } => write!(f, "{METHOD_CALL}{name}/?$rid={rid}"),
            Self::TwinResponse {
                status,
                rid,
                version: None,
            } => write!(f, "{TWIN_ANSWER}{status}/?$rid={rid}"),
            Self::TwinResponse {
                status,
                rid,
                version: Some(version),
            } => {
                write!(f, "{TWIN_ANSWER}{status}/?$rid={rid}&$version={version}")
            }
            Self::Desired { version } => write!(f, "{TWIN_DESIRED}?$version={version}"),
            Self::CloudToDevice { device, properties } => {
                write!(f, "devices/{device}/messages/devicebound/{properties}")
            }
            Self::ModuleInput {
                device,
                module,
                input,
                properties,
            } => {
                write!(
                    f,
                    "devices/{device}/modules/{module}/inputs/{input}/{properties}"
                )
            }
        }
    }
}

impl FromStr for HubTopic {
    type Err = TopicError;

    fn from_str(topic: &str) -> Result<Self, TopicError> {
        if let Some(rest) = topic.strip_prefix(METHOD_CALL) {
            let (name, query) = rest.split_once('/').ok_or(TopicError::Unknown)?;
            let name = name.parse().map_err(TopicError::Method)?;
            return Ok(Self::Method {
                name,
                rid: Query::read(query)?.rid()?,
            });
        }
        if let Some(rest) = topic.strip_prefix(TWIN_ANSWER) {
            let (status, query) = rest.split_once('/').ok_or(TopicError::Unknown)?;
            let status = status.parse().map_err(|_| TopicError::Status)?;
            let query = Query::read(query)?;
            return Ok(Self::TwinResponse {
                status,
                rid: query.rid()?,
                version: query.version()?,
            });
        }
        if let Some(query) = topic.strip_prefix(TWIN_DESIRED) {
            let version = Query::read(query)?.version()?.ok_or(TopicError::Version)?;
            return Ok(Self::Desired { version });
        }
        let (device, module, rest) = owner(topic)?;
        let bag = |text: &str| text.parse().map_err(TopicError::Properties);
        match module {
            None => {
                let properties = bag(rest
                    .strip_prefix("messages/devicebound/")
                    .ok_or(TopicError::Unknown)?)?;
                Ok(Self::CloudToDevice { device, properties })
            }
            Some(module) => {
                let rest = rest.strip_prefix("inputs/").ok_or(TopicError::Unknown)?;
                let (input, properties) = rest.split_once('/').ok_or(TopicError::Unknown)?;
                let input = input.parse().map_err(TopicError::Id)?;
                Ok(Self::ModuleInput {
                    device,
                    module,
                    input,
                    properties: bag(properties)?,
                })
            }
        }
    }
}

/// Why a text is none of the hub's topics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It has the shape of none of them.
    #[error("topic is none that the hub knows")]
    Unknown,
    /// The device or module id in it cannot be read.
    #[error("topic's {0}")]
    Id(#[source] IdError),
    /// The method's name in it cannot be read.
    #[error("topic's {0}")]
    Method(#[source] MethodNameError),
    /// The `$rid` in it is missing or cannot be read.
    #[error("topic's {0}")]
    RequestId(#[source] RequestIdError),
    /// The status in it is no number.
    #[error("topic's status is not a number")]
    Status,
    /// The `$version` in it is missing or no number.
    #[error("topic's `$version` is not a number")]
    Version,
    /// The message properties in it cannot be read.
    #[error("topic's {0}")]
    Properties(#[source] BagError),
}

#[cfg(test)]
mod tests;
