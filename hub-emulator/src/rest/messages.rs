//! Messages to devices: removed, and what became of them. They are sent by other ways.

use axum::http::header::ETAG;
use iot_hub::error::{ErrorCode, HubError};
use serde_json::json;
use uuid::Uuid;

use super::reply::Reply;
use crate::hub::EntityId;
use crate::switchboard::Switchboard;

pub(super) fn purge(switchboard: &Switchboard, id: &EntityId) -> Result<Reply, HubError> {
    let count = switchboard.change(|state, now| state.hub.purge_messages(id, now.wall))?;
    Ok(Reply::json(&json!({
        "deviceId": id.device.as_ref(),
        "moduleId": null,
        "totalMessagesPurged": count,
    })))
}

/// All that is known, under a lock token in the `ETag` header; 204 when there is nothing.
pub(super) fn take_feedback(switchboard: &Switchboard) -> Reply {
    match switchboard.change(|state, _| state.hub.take_feedback()) {
        None => Reply::no_content(),
        Some((token, records)) => Reply::json(&records).with_header(ETAG, &format!("\"{token}\"")),
    }
}

pub(super) fn settle_feedback(
    switchboard: &Switchboard,
    token: Uuid,
    kept: bool,
) -> Result<Reply, HubError> {
    if switchboard.change(|state, _| state.hub.settle_feedback(token, kept)) {
        return Ok(Reply::no_content());
    }
    Err(HubError::new(
        ErrorCode::DeviceMessageLockLost,
        "the lock of these records was lost",
    ))
}
