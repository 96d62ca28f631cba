//! `ListDevices`.

use iot_hub::{query::Query, twin::Twin};
use iothubdm_proto::v1::{ListDevicesRequest, ListDevicesResponse};

use super::{
    convert, get_device, parse,
    parse::Fields,
    permit::Permit,
    token::{Continuation, next_page_token, read_page_token},
};
use crate::{
    access::right::Right,
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

/// What is asked of the hub, without a filter.
const SELECT: &str = "SELECT * FROM devices";

pub(super) async fn list(
    service: &Service,
    request: &ListDevicesRequest,
    permit: &Permit,
) -> Result<ListDevicesResponse, Error> {
    let (size, continuation, text) = read(request)?;
    permit.list();
    let page = service
        .query(&text, size, continuation.as_deref(), &permit.caller)
        .await;
    let page = page.map_err(|error| match error {
        // The hub's only reason to refuse a query of ours is the caller's part of it, and the filter of a
        // further page was taken with the first.
        Error::Hub(Trouble::HubRefused(why)) => {
            let field = continuation.as_ref().map_or("filter", |_| "page_token");
            Violation::new(field, why).into()
        }
        other @ (Error::Invalid(_)
        | Error::IdUsed
        | Error::NoAttempt(..)
        | Error::Busy { .. }
        | Error::Trouble { .. }
        | Error::Hub(_)
        | Error::Refused { .. }
        | Error::Exhausted(_)
        | Error::TooLate(_)
        | Error::TokenTooOld
        | Error::Unauthenticated(_)
        | Error::NotPermitted(_)
        | Error::NoSuchCall
        | Error::Stopping
        | Error::TooMany { .. }
        | Error::WatchAged
        | Error::Store(_)
        | Error::Unsettled { .. }) => other,
    })?;
    let open = service.open();
    let devices = page.rows.iter().filter_map(|row| {
        let twin = Twin::from_value(row).ok()?;
        let seen = permit.covers(Right::View, &twin.device, Some(&twin.tags));
        if seen != Some(true) {
            return None;
        }
        let mut device = get_device::of_twin(&twin);
        if let Some(id) = open.get(&twin.device) {
            device.open_reboot = convert::reboot_name(&twin.device, *id);
        }
        Some(device)
    });
    Ok(ListDevicesResponse {
        devices: devices.collect(),
        next_page_token: next_page_token(page.continuation.map(Continuation), &fixed(request)),
    })
}

fn read(request: &ListDevicesRequest) -> Result<(u32, Option<String>, String), Error> {
    let mut fields = Fields::default();
    let size = parse::page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE);
    let size = fields.take("page_size", size);
    let text = fields.take("filter", query(&request.filter));
    let token = read_page_token(&request.page_token, &fixed(request), "filter");
    let token = fields.take("page_token", token);
    fields.check()?;
    Ok((
        size.unwrap_or(DEFAULT_PAGE),
        token.flatten().map(|Continuation(text)| text),
        text.unwrap_or_default(),
    ))
}

/// What has to be the same on every page.
fn fixed(request: &ListDevicesRequest) -> [&str; 1] {
    [&request.filter]
}

/// The query that a filter stands for. A mistake in it is found here, with its place in the filter:
/// the hub allows few queries, and says less.
fn query(filter: &str) -> Result<String, String> {
    if filter.trim().is_empty() {
        return Ok(SELECT.to_owned());
    }
    if filter.chars().count() > MAX_FILTER_CHARS {
        return Err(format!("must have at most {MAX_FILTER_CHARS} characters"));
    }
    let before = format!("{SELECT} WHERE ");
    let text = format!("{before}{filter}");
    match Query::parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let position = error.position.saturating_sub(before.len()).max(1);
            Err(format!("{} at character {position}", error.message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_becomes_a_query() {
        for (filter, expected) in [
            ("", "SELECT * FROM devices"),
            (" ", "SELECT * FROM devices"),
            (
                "tags.site = 'north'",
                "SELECT * FROM devices WHERE tags.site = 'north'",
            ),
        ] {
            assert_eq!(query(filter).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place_in_the_filter() {
        for (filter, place) in [
            ("tags.site =", "at character 12"),
            ("tags.site == 'x'", "at character 12"),
            ("= 1", "at character 1"),
            ("é.x = 1 AND", ""),
        ] {
            let told = query(filter).unwrap_err();
            assert!(told.contains(place), "{filter}: {told}");
        }
        assert!(query(&"x".repeat(8001)).is_err());
    }
}
