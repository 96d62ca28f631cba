//! Merge laws, limits, versions and metadata, and the document as captured.

use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> Properties {
    serde_json::from_value(value).unwrap()
}

#[test]
fn merges_as_documented() {
    #[track_caller]
    fn check(stored: Value, patch: Value, expected: Value) {
        let mut target = object(stored);
        merge(&mut target, &object(patch));
        assert_eq!(Value::Object(target), expected);
    }
    check(
        json!({"a": {"b": 1, "c": 2}}),
        json!({"a": {"b": null}}),
        json!({"a": {"c": 2}}),
    );
    check(
        json!({"a": 1}),
        json!({"a": {"x": 1}}),
        json!({"a": {"x": 1}}),
    );
    check(json!({"l": [1, 2]}), json!({"l": [3]}), json!({"l": [3]}));
    check(json!({"a": 1}), json!({"b": null}), json!({"a": 1}));
    check(json!({"a": {"b": 1}}), json!({}), json!({"a": {"b": 1}}));
    check(
        json!({}),
        json!({"a": {"b": null, "c": {"d": null}}}),
        json!({"a": {"c": {}}}),
    );
}
