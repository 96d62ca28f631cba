//! `GetDevice`, and how a device looks to callers.

use iot_hub::{
    reboot::{Dialect, GatewayInfo, Mode, Report},
    twin::Twin,
};
use iothubdm_proto::v1::{self as proto, Device, GetDeviceRequest};

use super::{convert, parse, permit::Permit};
use crate::{
    error::{Error, Violation},
    service::Service,
};

pub(super) async fn get(
    service: &Service,
    request: &GetDeviceRequest,
    permit: &Permit,
) -> Result<Device, Error> {
    let device = parse::device_name(&request.name).map_err(|rule| Violation::new("name", rule))?;
    permit.see_device(&device).await?;
    let twin = service.twin(&device, &permit.caller).await?;
    let open = service.open_on(&device).await?;
    let mut message = of_twin(&twin);
    if let Some(id) = open {
        message.open_reboot = convert::reboot_name(&device, id);
    }
    Ok(message)
}

/// What a twin says of its device; the open attempt is not among it.
pub(super) fn of_twin(twin: &Twin) -> Device {
    let reported = twin.reported.properties();
    let dialect = Dialect::detect(&twin.tags, reported);
    let report = Report::from_reported(reported);
    let gateway = GatewayInfo::from_reported(reported);
    let capabilities = report
        .as_ref()
        .and_then(|report| report.capabilities.as_ref());
    let offers = |mode: &Mode| match capabilities {
        Some(capabilities) => capabilities.modes.get(mode.name()) == Some(&true),
        None => dialect.is_some() && *mode == Mode::Graceful,
    };
    let best = match capabilities {
        Some(capabilities) => convert::grade(capabilities.best_grade),
        None if dialect.is_some() => proto::EvidenceGrade::Claimed,
        None => proto::EvidenceGrade::Unspecified,
    };
    Device {
        name: convert::device_name(&twin.device),
        connected: twin.connected,
        enabled: twin.enabled,
        last_activity_time: twin.last_activity.map(convert::timestamp),
        dialect: dialect
            .map_or(proto::Dialect::Unspecified, convert::dialect)
            .into(),
        modes: Mode::ALL
            .into_iter()
            .filter(offers)
            .map(|mode| convert::mode(mode).into())
            .collect(),
        best_evidence: best.into(),
        can_cancel: capabilities.is_some_and(|capabilities| capabilities.cancel),
        gateway: gateway
            .as_ref()
            .map(|gateway| gateway.id.clone())
            .unwrap_or_default(),
        gateway_version: gateway.map(|gateway| gateway.version).unwrap_or_default(),
        last_reboot_time: report
            .as_ref()
            .and_then(|report| report.last_reboot)
            .map(convert::timestamp),
        open_reboot: String::new(),
        boot_id: report.and_then(|report| report.boot_id).unwrap_or_default(),
    }
}
