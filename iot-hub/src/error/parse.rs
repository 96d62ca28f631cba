//! Reading the body of a failed answer, whatever its style.

use serde_json::{Map, Value};

use super::{ErrorCode, HubError};

/// The most characters of a foreign body that are kept as a message: it may be a proxy's whole
/// error page.
const MAX_FOREIGN_CHARS: usize = 300;

impl HubError {
    /// Makes the best of a failed answer: its status, the header [`super::ERROR_CODE_HEADER`], and
    /// its body in any of the hub's styles, an edge gateway's `{"message":…}`, or plain text.
    pub fn parse(status: u16, header: Option<&str>, body: &str) -> Self {
        let mut found = match serde_json::from_str(body) {
            Ok(Value::Object(fields)) => from_fields(&fields),
            Ok(Value::String(text)) => from_text(&text),
            Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | Err(_) => {
                from_text(body)
            }
        };
        if found.code.is_none() {
            found.code = header.and_then(ErrorCode::from_name);
        }
        Self { status, ..found }
    }
}

fn from_fields(fields: &Map<String, Value>) -> HubError {
    if fields.contains_key("errorCode") {
        return from_envelope(fields);
    }
    let text = ["Message", "message", "ErrorMessage", "errorMessage"]
        .into_iter()
        .find_map(|key| fields.get(key)?.as_str());
    match text {
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(inner)) => from_envelope(&inner),
            _ => from_text(text),
        },
        None => from_text(&Value::Object(fields.clone()).to_string()),
    }
}

/// Reads the object of style B and of MQTT; the code is a number, or in bulk answers a name.
fn from_envelope(fields: &Map<String, Value>) -> HubError {
    let raw = fields.get("errorCode");
    let code = match raw {
        Some(Value::Number(number)) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .and_then(ErrorCode::from_number),
        Some(Value::String(name)) => ErrorCode::from_name(name),
        _ => None,
    };
    let text = fields
        .get("message")
        .or_else(|| fields.get("Message"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let message = match (code, raw) {
        (None, Some(raw)) => format!("undocumented code {raw}: {text}"),
        _ => text.to_owned(),
    };
    HubError {
        code,
        info: fields.get("info").and_then(Value::as_object).cloned(),
        ..plain(message)
    }
}

/// Reads style A, or keeps the text as it is.
fn from_text(text: &str) -> HubError {
    let Some((name, rest)) = text
        .strip_prefix("ErrorCode:")
        .and_then(|rest| rest.split_once(';'))
    else {
        return plain(text.trim().chars().take(MAX_FOREIGN_CHARS).collect());
    };
    match ErrorCode::from_name(name) {
        Some(code) => HubError {
            code: Some(code),
            ..plain(rest.to_owned())
        },
        None => plain(format!("undocumented code {name}: {rest}")),
    }
}

fn plain(message: String) -> HubError {
    HubError {
        status: 0,
        code: None,
        message,
        info: None,
    }
}
