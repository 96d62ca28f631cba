//! `ListReboots`.

use iothubdm_proto::v1::{ListRebootsRequest, ListRebootsResponse};

use super::{
    convert, filter, parse,
    parse::Fields,
    token::{RebootsToken, fingerprint},
};
use crate::{
    error::Error,
    service::Service,
    store::{ListQuery, position},
};

/// How many attempts a page has when the caller does not say.
const DEFAULT_PAGE: u32 = 50;

/// The most attempts on a page.
const MAX_PAGE: u32 = 1000;

pub(super) async fn list(
    service: &Service,
    request: &ListRebootsRequest,
) -> Result<ListRebootsResponse, Error> {
    let (mut query, size) = read(request)?;
    // One more than wanted tells whether there is another page.
    query.limit = size + 1;
    let mut views = service.list(query).await?;
    let more = views.len() > size;
    views.truncate(size);
    let next_page_token = match views.last() {
        Some(last) if more => RebootsToken {
            request: stamp(request),
            last: position(last),
        }
        .print(),
        Some(_) | None => String::new(),
    };
    Ok(ListRebootsResponse {
        reboots: views.iter().map(convert::attempt).collect(),
        next_page_token,
    })
}

fn read(request: &ListRebootsRequest) -> Result<(ListQuery, usize), Error> {
    let mut fields = Fields::default();
    let parent = match request.parent.as_str() {
        "devices/-" => Ok(None),
        parent => parse::device_name(parent)
            .map(Some)
            .map_err(|rule| format!("{rule}, or devices/- for all")),
    };
    let device = fields.take("parent", parent);
    let size = fields.take(
        "page_size",
        parse::page_size(request.page_size, DEFAULT_PAGE, MAX_PAGE),
    );
    let conditions = fields.take("filter", filter::parse(&request.filter));
    let after = fields.take("page_token", page_token(request));
    fields.check()?;
    let query = ListQuery {
        device: device.flatten(),
        conditions: conditions.unwrap_or_default(),
        after: after.flatten().map(|token| token.last),
        limit: 0,
    };
    let size = size.and_then(|size| usize::try_from(size).ok());
    Ok((query, size.unwrap_or_default()))
}

fn page_token(request: &ListRebootsRequest) -> Result<Option<RebootsToken>, &'static str> {
    if request.page_token.is_empty() {
        return Ok(None);
    }
    let token = RebootsToken::parse(&request.page_token)
        .ok_or("must be the next_page_token of an earlier answer")?;
    if token.request == stamp(request) {
        Ok(Some(token))
    } else {
        Err("must be used with the parent and filter it was given for")
    }
}

/// Stands for what has to be the same on every page.
fn stamp(request: &ListRebootsRequest) -> u64 {
    fingerprint(&[&request.parent, &request.filter])
}
