//! What went through the hub: methods, telemetry, and what clients cost.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_hub::identity::DeviceId;
use serde_json::{Map, Value, json};

use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::{Admin, Answer, no_content};
use crate::counters::Meters;
use crate::hub::{MethodOutcome, MethodRecord, Telemetry};

/// How much a list shows when nothing is said; it is also all that the hub remembers.
const TOP: u64 = 1_000;

/// Methods in flight, oldest first, and the newest ones, newest first.
pub(super) async fn methods(State(admin): State<Admin>, parameters: Parameters) -> Answer {
    let (device, top) = selection(parameters)?;
    let of_device = |record: &&MethodRecord| {
        device
            .as_ref()
            .is_none_or(|device| *device == record.device)
    };
    let (in_flight, recent) = admin.switchboard.read(|state| {
        let in_flight = state.hub.methods_in_flight();
        let in_flight: Vec<Value> = in_flight.iter().filter(of_device).map(method).collect();
        let recent = state.hub.method_records().rev().filter(of_device);
        let recent: Vec<Value> = recent.take(top).map(method).collect();
        (in_flight, recent)
    });
    Ok(Json(json!({"inFlight": in_flight, "recent": recent})))
}

/// The newest messages to the cloud, newest first.
pub(super) async fn telemetry(State(admin): State<Admin>, parameters: Parameters) -> Answer {
    let (device, top) = selection(parameters)?;
    let messages: Vec<Value> = admin.switchboard.read(|state| {
        let messages = state.hub.telemetry().rev();
        messages
            .filter(|message| {
                device
                    .as_ref()
                    .is_none_or(|device| *device == message.device)
            })
            .take(top)
            .map(message)
            .collect()
    });
    Ok(Json(Value::from(messages)))
}

/// Every counter by its name.
pub(super) async fn counters(State(admin): State<Admin>) -> Json<Value> {
    let counters = admin.switchboard.read(|state| state.meters.read());
    Json(json!(counters))
}

pub(super) async fn reset_counters(State(admin): State<Admin>) -> Response {
    admin
        .switchboard
        .change(|state, _| state.meters = Meters::default());
    no_content()
}

fn selection(parameters: Parameters) -> Result<(Option<DeviceId>, usize), Problem> {
    parameters::read(parameters, |fields| {
        let device = fields.parsed("device", "a device's id");
        let top = fields.count("top", 0, TOP).unwrap_or(TOP);
        Some((device, usize::try_from(top).unwrap_or(usize::MAX)))
    })
}

fn method(record: &MethodRecord) -> Value {
    let (outcome, status) = match record.outcome {
        MethodOutcome::Waiting => ("waiting", None),
        MethodOutcome::Answered(status) => ("answered", Some(status)),
        MethodOutcome::DeviceGone => ("deviceGone", None),
        MethodOutcome::GivenUp => ("givenUp", None),
    };
    json!({
        "deviceId": record.device,
        "moduleId": record.module,
        "name": record.name,
        "payload": record.payload,
        "deliveries": record.deliveries,
        "outcome": outcome,
        "status": status,
        "startTime": record.started,
        "endTime": record.ended,
    })
}

/// A body that is no text comes as base64.
fn message(message: &Telemetry) -> Value {
    let properties: Map<String, Value> = message
        .properties
        .iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let text = std::str::from_utf8(&message.payload).ok();
    let base64 = text.is_none().then(|| STANDARD.encode(&message.payload));
    json!({
        "deviceId": message.device,
        "moduleId": message.module,
        "properties": properties,
        "body": text,
        "bodyBase64": base64,
        "enqueuedTime": message.enqueued,
    })
}
