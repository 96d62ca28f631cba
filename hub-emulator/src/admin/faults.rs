//! Faults: injected, watched and ended.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use iot_hub::identity::DeviceId;
use serde_json::{Value, json};

use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::{Admin, Answer, MAX_WAIT, no_content, read_body, wait};
use crate::faults::{FaultId, InjectedFault};

/// Every fault that was not removed, oldest first.
pub(super) async fn list(State(admin): State<Admin>) -> Json<Value> {
    let faults = admin.faults().list();
    faults
        .iter()
        .map(InjectedFault::to_value)
        .collect::<Value>()
        .into()
}

pub(super) async fn inject(
    State(admin): State<Admin>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (fault, times) = read_body(body, crate::faults::read)?;
    let id = admin.faults().inject(fault, times);
    let injected = find(&admin, id)?;
    Ok((StatusCode::CREATED, Json(injected.to_value())))
}

pub(super) async fn clear(State(admin): State<Admin>) -> Response {
    admin.faults().clear();
    no_content()
}

/// A fault, now or as soon as it has taken effect so often.
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(fault): Path<String>,
    parameters: Parameters,
) -> Answer {
    let (fired, limit) = parameters::read(parameters, |fields| {
        let fired = fields.count("fired", 0, u64::MAX).unwrap_or_default();
        let limit = fields.duration("within", MAX_WAIT);
        Some((fired, limit.unwrap_or(Duration::from_secs(30))))
    })?;
    let id = known(&admin, &fault)?.id;
    let faults = admin.faults();
    wait(limit, faults.fired(id, fired), || {
        format!("fault {id} did not take effect {fired} times in time")
    })
    .await?;
    Ok(Json(find(&admin, id)?.to_value()))
}

pub(super) async fn remove(
    State(admin): State<Admin>,
    Path(fault): Path<String>,
) -> Result<Response, Problem> {
    admin.faults().remove(known(&admin, &fault)?.id);
    Ok(no_content())
}

/// Closes the connection of one device, or of all.
pub(super) async fn cut(State(admin): State<Admin>, body: Result<Bytes, BytesRejection>) -> Answer {
    let device: Option<DeviceId> = read_body(body, |fields| {
        Some(fields.parsed("device", "a device's id"))
    })?;
    let cut = match device {
        Some(device) => usize::from(admin.faults().cut(device.as_ref())),
        None => {
            let connected = admin.switchboard.read(|state| state.hub.links().count());
            admin.faults().cut_all();
            connected
        }
    };
    Ok(Json(json!({"cut": cut})))
}

pub(super) async fn forget_sessions(State(admin): State<Admin>) -> Response {
    admin.faults().forget_sessions();
    no_content()
}

pub(super) async fn pause(State(admin): State<Admin>) -> Response {
    admin.faults().pause();
    no_content()
}

pub(super) async fn resume(State(admin): State<Admin>) -> Response {
    admin.faults().resume();
    no_content()
}

fn known(admin: &Admin, fault: &str) -> Result<InjectedFault, Problem> {
    let number = fault
        .parse()
        .map_err(|_| Problem::of_field("fault", format!("{fault:?} is no fault's number")))?;
    find(admin, FaultId::from_number(number))
}

fn find(admin: &Admin, id: FaultId) -> Result<InjectedFault, Problem> {
    let faults = admin.faults().list();
    faults
        .into_iter()
        .find(|fault| fault.id == id)
        .ok_or_else(|| Problem::not_found("fault", format!("there is no fault {id}")))
}
