//! Configurations: make, read, list, delete, test their queries.

use axum::http::HeaderMap;
use iot_hub::error::HubError;
use iot_hub::etag::IfMatch;
use serde_json::Value;

use super::parameters::Parameters;
use super::reply::{Reply, condition};
use crate::emulator::new_key;
use crate::hub::{self, ConfigurationContent, ConfigurationId, ConfigurationRequest, EntityId};
use crate::switchboard::Switchboard;

/// The most configurations that one list shows, and that the real hub has.
const MAX_LIST: usize = 100;

pub(super) fn list(switchboard: &Switchboard, parameters: &Parameters) -> Result<Reply, HubError> {
    let top = parameters.top(MAX_LIST)?;
    let configurations = switchboard.read(|state| state.hub.list_configurations(top));
    Ok(Reply::json(&Value::Array(configurations)))
}

pub(super) fn get(switchboard: &Switchboard, id: &ConfigurationId) -> Result<Reply, HubError> {
    let value = switchboard.read(|state| state.hub.configuration(id))?;
    Ok(Reply::document(&value))
}

pub(super) fn put(
    switchboard: &Switchboard,
    id: &ConfigurationId,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Reply, HubError> {
    let request = ConfigurationRequest::read(id, body)?;
    let condition = condition(headers);
    let value = switchboard.change(|state, now| {
        state
            .hub
            .put_configuration(id.clone(), request, condition.as_ref(), now.wall)
    })?;
    Ok(Reply::document(&value))
}

pub(super) fn delete(
    switchboard: &Switchboard,
    id: &ConfigurationId,
    headers: &HeaderMap,
) -> Result<Reply, HubError> {
    let condition = condition(headers).unwrap_or(IfMatch::Any);
    switchboard.change(|state, _| state.hub.delete_configuration(id, &condition))?;
    Ok(Reply::no_content())
}

/// Makes one device, with its modules, as a content wants it, once.
pub(super) fn apply_content(
    switchboard: &Switchboard,
    id: &EntityId,
    body: &[u8],
) -> Result<Reply, HubError> {
    let content = ConfigurationContent::read(body)?;
    switchboard.change(|state, now| {
        let effects = state.hub.apply_content(id, content, new_key, now.wall)?;
        state.carry_out(effects);
        Ok(Reply::no_content())
    })
}

pub(super) fn test_queries(body: &[u8]) -> Result<Reply, HubError> {
    Ok(Reply::json(&hub::test_queries(body)?))
}
