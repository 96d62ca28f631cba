//! Which devices a job or a configuration is for.

use iot_hub::error::{ErrorCode, HubError};
use iot_hub::query::{Query, Source};

/// Reads the text after WHERE, `FROM source [WHERE …]`, or `*` for every device.
pub(super) fn target(condition: &str) -> Result<Query, HubError> {
    let condition = condition.trim();
    let from = condition
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("from "));
    let query = match condition {
        "*" => "SELECT * FROM devices".to_owned(),
        _ if from => format!("SELECT * {condition}"),
        _ => format!("SELECT * FROM devices WHERE {condition}"),
    };
    let query = Query::parse(&query)
        .map_err(|error| invalid(format!("The query is invalid: {}", error.message)))?;
    match query.source() {
        Source::Devices | Source::Modules => Ok(query),
        Source::Jobs => Err(invalid("devices.jobs holds no devices".to_owned())),
    }
}

fn invalid(text: String) -> HubError {
    HubError::new(ErrorCode::ArgumentInvalid, text)
}
