//! Devices and modules: who is there, and their twins.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use iot_hub::identity::{DeviceId, ModuleId};
use iot_hub::twin::Twin;
use serde_json::{Value, json};

use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::{Admin, Answer, MAX_WAIT, wait};
use crate::fields::Fields;
use crate::hub::EntityId;
use crate::switchboard;

/// How many devices a list shows when nothing is said, and at most.
const TOP: u64 = 100;
const MAX_TOP: u64 = 10_000;

/// What a request may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Connected,
    Disconnected,
    Callable,
}

/// The first devices and modules by id, of those that fit.
pub(super) async fn list(State(admin): State<Admin>, parameters: Parameters) -> Answer {
    let (contains, connected, top) = parameters::read(parameters, |fields| {
        let contains = fields.text("contains").unwrap_or_default();
        let connected = fields.flag("connected");
        let top = fields.count("top", 0, MAX_TOP).unwrap_or(TOP);
        Some((contains.to_ascii_lowercase(), connected, top))
    })?;
    let (mut registered, mut online, mut matching, mut devices) = (0, 0, 0, Vec::new());
    admin.switchboard.read(|state| {
        for (id, twin) in state.hub.twins() {
            registered += 1;
            online += u64::from(twin.connected);
            let named = id.to_string().to_ascii_lowercase().contains(&contains);
            if named && connected.is_none_or(|wanted| wanted == twin.connected) {
                matching += 1;
                if matching <= top {
                    devices.push(describe(state, id, twin));
                }
            }
        }
    });
    Ok(Json(json!({
        "registered": registered,
        "connected": online,
        "matching": matching,
        "devices": devices,
    })))
}

/// One device, now or as soon as it is as wanted.
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(device): Path<String>,
    parameters: Parameters,
) -> Answer {
    let (module, until, seconds) = parameters::read(parameters, |fields| {
        let module = read_module(fields);
        let until = fields.choice(
            "until",
            &[
                ("connected", Until::Connected),
                ("disconnected", Until::Disconnected),
                ("callable", Until::Callable),
            ],
        );
        let limit = fields.duration("within", MAX_WAIT);
        Some((module, until, limit.unwrap_or(Duration::from_secs(30))))
    })?;
    let id = entity(&device, module)?;
    if let Some(until) = until {
        let there = admin
            .switchboard
            .wait_until(|state| is_as_wanted(state, &id, until));
        wait(seconds, there, || {
            format!("{id} was not {until:?} in time").to_lowercase()
        })
        .await?;
    }
    let described = admin.switchboard.read(|state| {
        let twin = state.hub.twin(&id).ok()?;
        Some(describe(state, &id, twin))
    });
    described.map(Json).ok_or_else(|| unknown(&id))
}

/// A twin as the REST API shows it. Not counted as a read.
pub(super) async fn twin(
    State(admin): State<Admin>,
    Path(device): Path<String>,
    parameters: Parameters,
) -> Answer {
    let module = parameters::read(parameters, |fields| Some(read_module(fields)))?;
    let id = entity(&device, module)?;
    let twin = admin
        .switchboard
        .read(|state| state.hub.twin(&id).map(Twin::to_value));
    twin.map(Json).map_err(|_| unknown(&id))
}

fn is_as_wanted(state: &switchboard::State, id: &EntityId, until: Until) -> bool {
    match until {
        Until::Connected => state.hub.link_of(id).is_some(),
        Until::Disconnected => state.hub.link_of(id).is_none(),
        Until::Callable => state.hub.callable(id).is_ok(),
    }
}

fn describe(state: &switchboard::State, id: &EntityId, twin: &Twin) -> Value {
    let status = if twin.enabled { "enabled" } else { "disabled" };
    json!({
        "deviceId": id.device,
        "moduleId": id.module,
        "status": status,
        "connected": twin.connected,
        "callable": state.hub.callable(id).is_ok(),
        "lastActivityTime": twin.last_activity,
        "cloudToDeviceMessageCount": twin.cloud_to_device_messages,
        "version": twin.version,
    })
}

fn read_module(fields: &mut Fields<'_>) -> Option<ModuleId> {
    fields.parsed("module", "a module's id")
}

/// The identity that a path names.
pub(super) fn entity(device: &str, module: Option<ModuleId>) -> Result<EntityId, Problem> {
    let device: DeviceId = device
        .parse()
        .map_err(|error| Problem::of_field("device", format!("{device:?}: {error}")))?;
    Ok(EntityId { device, module })
}

fn unknown(id: &EntityId) -> Problem {
    Problem::not_found("device", format!("{id} is not registered"))
}
