//! Many identities in one request.

use axum::http::StatusCode;
use iot_hub::error::HubError;
use serde_json::{Value, json};

use super::reply::{Reply, argument_invalid};
use crate::emulator::new_key;
use crate::hub::MAX_BULK;
use crate::switchboard::Switchboard;

pub(super) fn bulk(switchboard: &Switchboard, body: &[u8]) -> Result<Reply, HubError> {
    let entries: Vec<Value> = serde_json::from_slice(body)
        .map_err(|error| argument_invalid(format!("the identities cannot be read: {error}")))?;
    if entries.len() > MAX_BULK {
        return Err(argument_invalid(format!(
            "{} identities are more than {MAX_BULK}",
            entries.len()
        )));
    }
    let errors = switchboard.change(|state, now| {
        let outcome = state.hub.bulk(&entries, new_key, now.wall);
        state.carry_out(outcome.effects);
        outcome.errors
    });
    let status = if errors.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    let result = json!({"isSuccessful": errors.is_empty(), "errors": errors, "warnings": []});
    Ok(Reply::json(&result).with_status(status))
}
