//! Messages to devices.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::devices::entity;
use super::problem::Problem;
use super::{Admin, no_content, read_body};
use crate::fields::Fields;
use crate::hub::{CloudToDeviceMessage, Feedback};

/// Sends a message, which waits for the device.
pub(super) async fn send(
    State(admin): State<Admin>,
    Path(device): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let id = entity(&device, None)?;
    let message = read_body(body, read)?;
    admin.switchboard.change(|state, now| {
        let effects = state.hub.send_to_device(&id, message, now.wall)?;
        state.carry_out(effects);
        Ok::<(), Problem>(())
    })?;
    Ok(no_content())
}

fn read(fields: &mut Fields<'_>) -> Option<CloudToDeviceMessage> {
    let text = fields.text("body");
    let encoded = fields.text("body_base64");
    let payload = match (text, encoded) {
        (Some(_), Some(_)) => {
            fields.mistake("body_base64", None, "no body beside it");
            Bytes::new()
        }
        (Some(text), None) => text.into(),
        (None, Some(encoded)) => match STANDARD.decode(encoded) {
            Ok(bytes) => bytes.into(),
            Err(error) => {
                fields.mistake("body_base64", None, format!("base64: {error}"));
                Bytes::new()
            }
        },
        (None, None) => Bytes::new(),
    };
    let feedback = fields.choice(
        "feedback",
        &[
            ("none", Feedback::None),
            ("positive", Feedback::Positive),
            ("negative", Feedback::Negative),
            ("full", Feedback::Full),
        ],
    );
    let properties = fields.object("properties").unwrap_or_default();
    Some(CloudToDeviceMessage {
        message_id: fields.text("message_id"),
        correlation_id: fields.text("correlation_id"),
        user_id: fields.text("user_id"),
        content_type: fields.text("content_type"),
        content_encoding: fields.text("content_encoding"),
        expiry: fields.parsed("expiry", "a time such as \"2026-11-23T03:30:00Z\""),
        feedback,
        properties: read_properties(fields, properties),
        payload,
    })
}

fn read_properties(
    fields: &mut Fields<'_>,
    properties: Map<String, Value>,
) -> Vec<(String, Option<String>)> {
    let mut read = Vec::new();
    for (name, value) in properties {
        match value {
            Value::String(text) => read.push((name, Some(text))),
            Value::Null => read.push((name, None)),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                let field = format!("properties.{name}");
                fields.mistake(&field, Some(value.to_string()), "a text or null");
            }
        }
    }
    read
}
