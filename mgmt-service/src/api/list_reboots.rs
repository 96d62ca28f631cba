//! `ListReboots`.

use iothubdm_proto::v1::{ListRebootsRequest, ListRebootsResponse};

use super::{
    convert, filter, parse,
    parse::Fields,
    permit::Permit,
    token::{RebootsToken, fingerprint},
};
use crate::{
    access::right::Right,
    error::Error,
    service::Service,
    store::{ListQuery, position},
};

/// How many attempts a page has when the caller does not say.
const DEFAULT_PAGE: u32 = 50;

/// The most attempts on a page.
const MAX_PAGE: u32 = 1000;

/// How many pages of the store are looked through for one page of what the caller may see. A page may
/// be short, or empty, and still not be the last.
const MAX_LOOKS: usize = 10;

pub(super) async fn list(
    service: &Service,
    request: &ListRebootsRequest,
    permit: &Permit,
) -> Result<ListRebootsResponse, Error> {
    let (mut query, size) = read(request)?;
    permit.list();
    // One more than wanted tells whether there is another page.
    query.limit = size + 1;
    let mut reboots = Vec::new();
    for _ in 0..MAX_LOOKS {
        let mut views = service.list(query.clone()).await?;
        let more = views.len() > size;
        views.truncate(size);
        let seen = permit
            .among(Right::View, views.iter().map(|view| &view.device))
            .await?;
        let mut left = views.into_iter();
        while reboots.len() < size
            && let Some(view) = left.next()
        {
            query.after = Some(position(&view));
            if seen.contains(&view.device) {
                reboots.push(convert::attempt(&view));
            }
        }
        if !more && left.len() == 0 {
            query.after = None;
        }
        if query.after.is_none() || reboots.len() == size {
            break;
        }
    }
    let token = query.after.map(|last| RebootsToken {
        request: stamp(request),
        last,
    });
    Ok(ListRebootsResponse {
        reboots,
        next_page_token: token.map(RebootsToken::print).unwrap_or_default(),
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
