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

/// The options after a `?`, as they stand there; those without a value are left out.
pub(crate) fn pairs(text: &str) -> Option<impl Iterator<Item = (&str, &str)>> {
    let pairs = text.strip_prefix('?')?.split('&');
    Some(pairs.filter_map(|pair| pair.split_once('=')))
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
        for (name, value) in pairs(text).ok_or(TopicError::Unknown)? {
            match name {
                "$rid" => query.rid = query.rid.or(Some(value)),
                "$version" => query.version = query.version.or(Some(value)),
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
