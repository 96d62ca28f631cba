//! What stands after a path's `?`.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde_json::{Map, Value};

use super::problem::Problem;
use super::read_fields;
use crate::fields::Fields;

/// The parameters, as the router hands them over.
pub(super) type Parameters = Result<Query<BTreeMap<String, String>>, QueryRejection>;

/// Parameters whose values are numbers.
const NUMBERS: [&str; 2] = ["top", "fired"];
/// Parameters whose values are true or false.
const FLAGS: [&str; 1] = ["connected"];

/// Reads parameters and refuses them with all that is wrong.
pub(super) fn read<T>(
    parameters: Parameters,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<T, Problem> {
    let Query(parameters) =
        parameters.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let value = |(name, text): (String, String)| {
        let literal = NUMBERS.contains(&name.as_str()) || FLAGS.contains(&name.as_str());
        let value = match serde_json::from_str(&text) {
            Ok(value) if literal => value,
            Ok(_) | Err(_) => Value::from(text),
        };
        (name, value)
    };
    let values: Map<String, Value> = parameters.into_iter().map(value).collect();
    read_fields(values, read)
}
