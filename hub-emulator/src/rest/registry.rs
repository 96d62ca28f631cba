//! Identities and statistics.

use axum::http::HeaderMap;
use iot_hub::error::HubError;
use iot_hub::etag::IfMatch;
use serde_json::Value;

use super::parameters::Parameters;
use super::reply::{Reply, argument_invalid, condition};
use crate::emulator::new_key;
use crate::hub::{EntityId, Identity, IdentityRequest};
use crate::switchboard::Switchboard;

/// The most identities that one list shows.
const MAX_LIST: usize = 1_000;

pub(super) fn list(switchboard: &Switchboard, parameters: &Parameters) -> Result<Reply, HubError> {
    let top = parameters.top(MAX_LIST)?;
    let devices = switchboard.read(|state| state.hub.list_devices(top));
    Ok(Reply::json(&Value::Array(devices)))
}

pub(super) fn list_modules(switchboard: &Switchboard, id: &EntityId) -> Result<Reply, HubError> {
    let modules = switchboard.read(|state| state.hub.list_modules(id))?;
    Ok(Reply::json(&Value::Array(modules)))
}

pub(super) fn get(switchboard: &Switchboard, id: &EntityId) -> Result<Reply, HubError> {
    let value = switchboard.read(|state| state.hub.identity_value(id))?;
    Ok(Reply::document(&value))
}

/// Creates without `If-Match`, updates with it.
pub(super) fn put(
    switchboard: &Switchboard,
    id: &EntityId,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Reply, HubError> {
    let request: IdentityRequest = serde_json::from_slice(body)
        .map_err(|error| argument_invalid(format!("the identity cannot be read: {error}")))?;
    if request
        .device_id
        .as_deref()
        .is_some_and(|device| device != id.device.as_ref())
    {
        return Err(argument_invalid(
            "deviceId in the body must be the one in the path",
        ));
    }
    let condition = condition(headers);
    let value = switchboard.change(|state, now| {
        match condition {
            None => {
                let identity = Identity::new(request, new_key);
                state.hub.create(id.clone(), identity, now.wall)?;
            }
            Some(condition) => {
                let effects = state
                    .hub
                    .update(id, request, &condition, new_key, now.wall)?;
                state.carry_out(effects);
            }
        }
        state.hub.identity_value(id)
    })?;
    Ok(Reply::document(&value))
}

pub(super) fn delete(
    switchboard: &Switchboard,
    id: &EntityId,
    headers: &HeaderMap,
) -> Result<Reply, HubError> {
    let condition = condition(headers).unwrap_or(IfMatch::Any);
    switchboard.change(|state, now| {
        let effects = state.hub.delete(id, &condition, now.wall)?;
        state.carry_out(effects);
        Ok::<(), HubError>(())
    })?;
    Ok(Reply::no_content())
}

pub(super) fn device_statistics(switchboard: &Switchboard) -> Reply {
    Reply::json(&switchboard.read(|state| state.hub.device_statistics()))
}

pub(super) fn service_statistics(switchboard: &Switchboard) -> Reply {
    Reply::json(&switchboard.read(|state| state.hub.service_statistics()))
}
