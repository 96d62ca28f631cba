//! Direct methods.

use axum::body::Bytes;
use iot_hub::error::HubError;
use iot_hub::method::{MethodCall, splice};

use super::reply::Reply;
use crate::faults::Operation;
use crate::hub::EntityId;
use crate::switchboard::Switchboard;
use crate::throttle::method_cost;

pub(super) async fn invoke(
    switchboard: &Switchboard,
    id: &EntityId,
    body: Bytes,
) -> Result<Reply, HubError> {
    let call = MethodCall::from_json(&body)?;
    let cost = method_cost(call.payload.to_string().len());
    switchboard.change(|state, now| state.admit(Operation::MethodCall, cost, now.instant))?;
    let (status, payload) = crate::invoke::invoke(switchboard, id, &call).await?;
    Ok(Reply::raw_json(splice(status, &payload)))
}
