//! Merge patch, RFC 7396.

use serde_json::Value;

use super::{Properties, SectionKind, TwinError, limits, validate};

/// Applies a patch: objects merge, `null` removes, everything else replaces. No `null` is left by
/// it, not even inside an object that is new.
pub fn merge(target: &mut Properties, patch: &Properties) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(key);
            }
            Value::Object(patch) => {
                let place = target.entry(key.clone()).or_insert_with(nothing);
                if !place.is_object() {
                    *place = nothing();
                }
                if let Value::Object(old) = place {
                    merge(old, patch);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
}

fn nothing() -> Value {
    Value::Object(Properties::new())
}

/// As [`merge`], after checking that the patch and its result respect the limits of the section; on
/// an error the target is as it was.
pub fn patch(
    kind: SectionKind,
    target: &mut Properties,
    patch: &Properties,
) -> Result<(), TwinError> {
    validate(kind, patch)?;
    let mut result = target.clone();
    merge(&mut result, patch);
    limits::check_size(kind, &result)?;
    *target = result;
    Ok(())
}
