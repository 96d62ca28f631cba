//! `ListDevices`.

use iot_hub::twin::Twin;
use iothubdm_proto::v1::{ListDevicesRequest, ListDevicesResponse};

use super::{
    convert, get_device, parse,
    parse::Fields,
    token::{DevicesToken, fingerprint},
};
use crate::{
    attempt::Trouble,
    error::{Error, Violation},
    service::Service,
};

/// How many devices a page has when the caller does not say.
const DEFAULT_PAGE: u32 = 50;

/// The most devices on a page, which is the hub's own limit.
const MAX_PAGE: u32 = 100;

/// The hub's limit for the text of a query.
const MAX_FILTER_CHARS: usize = 8000;

pub(super) async fn list(
    service: &Service,
    request: &ListDevicesRequest,
) -> Result<ListDevicesResponse, Error> {
    let (size, token) = read(request)?;
    let text = query(&request.filter);
    let continuation = token.as_ref().map(|token| token.continuation.as_str());
    let page = service.query(&text, size, continuation).await;
    let page = page.map_err(|error| match error {
        // The hub's only reason to refuse a query of ours is the caller's part of it.
        Error::Hub(Trouble::HubRefused(why)) => Violation::new("filter", why).into(),
        other @ (Error::Invalid(_)
        | Error::IdUsed
        | Error::NoAttempt(..)
        | Error::Busy { .. }
        | Error::Trouble { .. }
        | Error::Hub(_)
        | Error::Refused { .. }
        | Error::TooLate(_)
        | Error::TokenTooOld
        | Error::Stopping
        | Error::TooMany { .. }
        | Error::WatchAged
        | Error::Store(_)) => other,
    })?;
    let open = service.open();
    let devices = page.rows.iter().filter_map(|row| {
        let twin = Twin::from_value(row).ok()?;
        let mut device = get_device::of_twin(&twin);
        if let Some(id) = open.get(&twin.device) {
            device.open_reboot = convert::reboot_name(&twin.device, *id);
        }
        Some(device)
    });
    let next_page_token = page.continuation.map(|continuation| {
        let request = fingerprint(&[&request.filter]);
        DevicesToken {
            request,
            continuation,
        }
        .print()
    });
    Ok(ListDevicesResponse {
        devices: devices.collect(),
        next_page_token: next_page_token.unwrap_or_default(),
    })
}

fn read(request: &ListDevicesRequest) -> Result<(u32, Option<DevicesToken>), Error> {
    let mut fields = Fields::default();
    let size = parse::page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE);
    let size = fields.take("page_size", size);
    let filter = if request.filter.chars().count() > MAX_FILTER_CHARS {
        Err("must have at most 8000 characters")
    } else {
        Ok(())
    };
    fields.take("filter", filter);
    let token = fields.take("page_token", page_token(request));
    fields.check()?;
    Ok((size.unwrap_or(DEFAULT_PAGE), token.flatten()))
}

fn page_token(request: &ListDevicesRequest) -> Result<Option<DevicesToken>, &'static str> {
    if request.page_token.is_empty() {
        return Ok(None);
    }
    let token = DevicesToken::parse(&request.page_token)
        .ok_or("must be the next_page_token of an earlier answer")?;
    if token.request == fingerprint(&[&request.filter]) {
        Ok(Some(token))
    } else {
        Err("must be used with the filter it was given for")
    }
}

fn query(filter: &str) -> String {
    if filter.trim().is_empty() {
        "SELECT * FROM devices".to_owned()
    } else {
        format!("SELECT * FROM devices WHERE {filter}")
    }
}
