//! Direct methods.

use axum::body::Bytes;
use iot_hub::error::HubError;
use iot_hub::method::{MethodCall, splice};

use super::reply::Reply;
use crate::hub::EntityId;
use crate::switchboard::Switchboard;
use crate::throttle::{Kind, messages};

pub(super) async fn invoke(
    switchboard: &Switchboard,
    id: &EntityId,
    body: Bytes,
) -> Result<Reply, HubError> {
    let call = MethodCall::from_json(&body)?;
    let bytes = call.payload.to_string().len();
    switchboard.change(|state, now| state.spend(bytes, now.wall))?;
    switchboard.pass(Kind::Methods, messages(bytes)).await?;
    let (status, payload) = crate::invoke::invoke(switchboard, id, &call).await?;
    Ok(Reply::raw_json(splice(status, &payload)))
}
