//! The parts that several topics share.

use super::{RequestId, TopicError};
use crate::identity::{DeviceId, ModuleId};

/// Cuts `devices/{device}[/modules/{module}]/{rest}`.
pub(super) fn owner(topic: &str) -> Result<(DeviceId, Option<ModuleId>, &str), TopicError> {
    let rest = topic.strip_prefix("devices/").ok_or(TopicError::Unknown)?;
    let (device, rest) = rest.split_once('/').ok_or(TopicError::Unknown)?;
    let device = device.parse().map_err(TopicError::Id)?;
    match rest.strip_prefix("modules/") {
        None => Ok((device, None, rest)),
        Some(rest) => {
            let (module, rest) = rest.split_once('/').ok_or(TopicError::Unknown)?;
            Ok((device, Some(module.parse().map_err(TopicError::Id)?), rest))
        }
    }
}

/// The options after the `?` of a `$iothub` topic; those that nobody knows are ignored.
pub(super) struct Query<'a> {
    rid: Option<&'a str>,
    version: Option<&'a str>,
}

impl<'a> Query<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, TopicError> {
        let mut query = Self {
            rid: None,
            version: None,
        };
        for pair in text
            .strip_prefix('?')
            .ok_or(TopicError::Unknown)?
            .split('&')
        {
            match pair.split_once('=') {
                Some(("$rid", value)) => query.rid = query.rid.or(Some(value)),
                Some(("$version", value)) => query.version = query.version.or(Some(value)),
                _ => {}
            }
        }
        Ok(query)
    }

    pub(super) fn rid(&self) -> Result<RequestId, TopicError> {
        self.rid
            .unwrap_or_default()
            .parse()
            .map_err(TopicError::RequestId)
    }

    pub(super) fn version(&self) -> Result<Option<u64>, TopicError> {
        self.version
            .map(|text| text.parse().map_err(|_| TopicError::Version))
            .transpose()
    }
}
