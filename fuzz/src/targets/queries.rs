//! Twin queries: parsed, and asked of a few documents.

use iot_hub::query::Query;
use serde_json::json;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match Query::parse(text) {
        Ok(query) => {
            let rows = [
                json!({"deviceId": "a", "status": "enabled", "tags": {"a": 1, "b": [1, "x", null]}}),
                json!({"deviceId": "b", "tags": {"a": -1.5, "b": {"c": true}}}),
                json!({}),
            ];
            let _ = query.evaluate(&mut rows.into_iter());
        }
        Err(error) => {
            let places = 1..=text.chars().count() + 1;
            assert!(places.contains(&error.position), "{error}");
        }
    }
}
