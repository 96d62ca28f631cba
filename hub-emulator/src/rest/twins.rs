//! Twins: read, merge, replace.

use axum::http::HeaderMap;
use iot_hub::error::HubError;
use iot_hub::twin::Twin;
use serde_json::{Map, Value};

use super::reply::{Reply, argument_invalid, condition};
use crate::hub::{EntityId, TwinChange};
use crate::switchboard::Switchboard;

pub(super) fn get(switchboard: &Switchboard, id: &EntityId) -> Result<Reply, HubError> {
    let value = switchboard.read(|state| state.hub.twin(id).map(Twin::to_value))?;
    Ok(Reply::document(&value))
}

/// Merges tags and desired properties.
pub(super) fn patch(
    switchboard: &Switchboard,
    id: &EntityId,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Reply, HubError> {
    let change = TwinChange::merge(&object(body)?)?;
    apply(switchboard, id, headers, change)
}

/// Replaces tags and desired properties; a section that the body leaves out is emptied.
pub(super) fn replace(
    switchboard: &Switchboard,
    id: &EntityId,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Reply, HubError> {
    let change = TwinChange::replace(&object(body)?)?;
    apply(switchboard, id, headers, change)
}

fn apply(
    switchboard: &Switchboard,
    id: &EntityId,
    headers: &HeaderMap,
    change: TwinChange,
) -> Result<Reply, HubError> {
    let condition = condition(headers);
    let value = switchboard.change(|state, now| {
        let effects = state
            .hub
            .change_twin(id, change, condition.as_ref(), now.wall)?;
        state.carry_out(effects);
        state.hub.twin(id).map(Twin::to_value)
    })?;
    Ok(Reply::document(&value))
}

fn object(body: &[u8]) -> Result<Map<String, Value>, HubError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(argument_invalid("the twin must be a JSON object")),
        Err(error) => Err(argument_invalid(format!("the twin is not JSON: {error}"))),
    }
}
