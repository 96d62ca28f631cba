//! Direct methods.

use axum::body::Bytes;
use iot_hub::error::HubError;
use iot_hub::method::{MethodCall, splice};

use super::reply::Reply;
use crate::hub::EntityId;
use crate::switchboard::Switchboard;

pub(super) async fn invoke(
    switchboard: &Switchboard,
    id: &EntityId,
    body: Bytes,
) -> Result<Reply, HubError> {
    let call = MethodCall::from_json(&body)?;
    let (status, payload) = crate::invoke::invoke(switchboard, id, &call).await?;
    Ok(Reply::raw_json(splice(status, &payload)))
}
