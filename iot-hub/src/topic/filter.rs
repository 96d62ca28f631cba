//! The subscriptions that a hub knows.

use std::{fmt, str::FromStr};

use super::{METHOD_CALL, TWIN_ANSWER, TWIN_DESIRED, TopicError, parts::owner};
use crate::identity::{DeviceId, ModuleId};

/// A subscription. A hub refuses every filter but these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter {
    /// Method calls: `$iothub/methods/POST/#`.
    Methods,
    /// Answers to twin requests: `$iothub/twin/res/#`.
    TwinResponses,
    /// Changes of desired properties: `$iothub/twin/PATCH/properties/desired/#`.
    Desired,
    /// Messages to a device: `devices/{device}/messages/devicebound/#`.
    CloudToDevice(DeviceId),
    /// Messages to a module's inputs: `devices/{device}/modules/{module}/inputs/#`, also written
    /// without `inputs/`.
    ModuleInputs(DeviceId, ModuleId),
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Methods => write!(f, "{METHOD_CALL}#"),
            Self::TwinResponses => write!(f, "{TWIN_ANSWER}#"),
            Self::Desired => write!(f, "{TWIN_DESIRED}#"),
            Self::CloudToDevice(device) => write!(f, "devices/{device}/messages/devicebound/#"),
            Self::ModuleInputs(device, module) => {
                write!(f, "devices/{device}/modules/{module}/inputs/#")
            }
        }
    }
}

impl FromStr for Filter {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let prefix = text.strip_suffix('#').ok_or(TopicError::Unknown)?;
        match prefix {
            METHOD_CALL => return Ok(Self::Methods),
            TWIN_ANSWER => return Ok(Self::TwinResponses),
            TWIN_DESIRED => return Ok(Self::Desired),
            _ => {}
        }
        match owner(prefix)? {
            (device, None, "messages/devicebound/") => Ok(Self::CloudToDevice(device)),
            (device, Some(module), "inputs/" | "") => Ok(Self::ModuleInputs(device, module)),
            _ => Err(TopicError::Unknown),
        }
    }
}
