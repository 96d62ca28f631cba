//! The service's MQTT topics; parsing and printing are inverse.

use std::{fmt, str::FromStr, time::Duration};

use crate::{
    percent,
    topic::{RequestId, RequestIdError, pairs},
};

/// The one subscription that the service knows: its answers.
pub const ANSWERS: &str = "$dps/registrations/res/#";

const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/";
const STATUS: &str = "$dps/registrations/GET/iotdps-get-operationstatus/";
const ANSWER: &str = "$dps/registrations/res/";

/// What a device publishes to the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationTopic {
    /// Asks for a hub: `$dps/registrations/PUT/iotdps-register/?$rid={rid}`.
    Register {
        /// Comes back in the answer.
        rid: RequestId,
    },
    /// Asks what became of that:
    /// `$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={operation}`.
    Status {
        /// Comes back in the answer.
        rid: RequestId,
        /// What the service called the request; not empty.
        operation: String,
    },
}

/// The topic of an answer:
/// `$dps/registrations/res/{status}/?$rid={rid}[&retry-after={seconds}]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerTopic {
    /// As in HTTP: 200 when it is decided, 202 when it is not yet, 4xx and 5xx for errors.
    pub status: u16,
    /// The request that this answers.
    pub rid: RequestId,
    /// How long to wait before asking again, in whole seconds.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for RegistrationTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register { rid } => write!(f, "{REGISTER}?$rid={rid}"),
            Self::Status { rid, operation } => {
                let operation = percent::encode(operation);
                write!(f, "{STATUS}?$rid={rid}&operationId={operation}")
            }
        }
    }
}

impl fmt::Display for AnswerTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ANSWER}{}/?$rid={}", self.status, self.rid)?;
        match self.retry_after {
            Some(wait) => write!(f, "&retry-after={}", wait.as_secs()),
            None => Ok(()),
        }
    }
}

impl FromStr for RegistrationTopic {
    type Err = RegistrationTopicError;

    fn from_str(text: &str) -> Result<Self, RegistrationTopicError> {
        if let Some(options) = text.strip_prefix(REGISTER) {
            let options = Options::read(options)?;
            return Ok(Self::Register {
                rid: options.rid()?,
            });
        }
        let options = text
            .strip_prefix(STATUS)
            .ok_or(RegistrationTopicError::Unknown)?;
        let options = Options::read(options)?;
        let operation = percent::decode(options.operation.unwrap_or_default())
            .filter(|operation| !operation.is_empty())
            .ok_or(RegistrationTopicError::Operation)?;
        Ok(Self::Status {
            rid: options.rid()?,
            operation,
        })
    }
}

impl FromStr for AnswerTopic {
    type Err = RegistrationTopicError;

    fn from_str(text: &str) -> Result<Self, RegistrationTopicError> {
        let rest = text
            .strip_prefix(ANSWER)
            .ok_or(RegistrationTopicError::Unknown)?;
        let (status, options) = rest
            .split_once('/')
            .ok_or(RegistrationTopicError::Unknown)?;
        let options = Options::read(options)?;
        let retry_after = match options.retry_after {
            None => None,
            // As long as a device may be asked to wait, and no longer than a clock can count.
            Some(text) => Some(
                text.parse::<u32>()
                    .map_err(|_| RegistrationTopicError::RetryAfter)?,
            ),
        };
        Ok(Self {
            status: status.parse().map_err(|_| RegistrationTopicError::Status)?,
            rid: options.rid()?,
            retry_after: retry_after.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }
}

/// The options that somebody knows; of several the first.
#[derive(Default)]
struct Options<'a> {
    rid: Option<&'a str>,
    operation: Option<&'a str>,
    retry_after: Option<&'a str>,
}

impl<'a> Options<'a> {
    fn read(text: &'a str) -> Result<Self, RegistrationTopicError> {
        let mut options = Self::default();
        for (name, value) in pairs(text).ok_or(RegistrationTopicError::Unknown)? {
            let place = match name {
                "$rid" => &mut options.rid,
                "operationId" => &mut options.operation,
                "retry-after" => &mut options.retry_after,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        Ok(options)
    }

    fn rid(&self) -> Result<RequestId, RegistrationTopicError> {
        let rid = self.rid.unwrap_or_default();
        rid.parse().map_err(RegistrationTopicError::RequestId)
    }
}

/// Why a text is no topic of the service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationTopicError {
    /// It is none of the service's topics.
    #[error("topic is none of the provisioning service's")]
    Unknown,
    /// The request id is missing or malformed.
    #[error("topic's {0}")]
    RequestId(#[source] RequestIdError),
    /// The status is no number.
    #[error("topic's status is not a number")]
    Status,
    /// The operation is missing or malformed.
    #[error("topic's `operationId` is missing or not text")]
    Operation,
    /// The wait is no number of seconds.
    #[error("topic's `retry-after` is not a number of seconds")]
    RetryAfter,
}
