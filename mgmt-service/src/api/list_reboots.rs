//! `ListReboots`.

use iothubdm_proto::v1::{ListRebootsRequest, ListRebootsResponse};

use super::{
    convert, filter, page, parse,
    parse::Fields,
    permit::Permit,
    token::{next_page_token, read_page_token},
};
use crate::{
    access::right::Right,
    error::Error,
    service::Service,
    store::{ListQuery, position},
};

pub(super) async fn list(
    service: &Service,
    request: &ListRebootsRequest,
    permit: &Permit,
) -> Result<ListRebootsResponse, Error> {
    let (query, size) = read(request)?;
    permit.list();
    let (views, last) = page::visible(
        permit,
        Right::View,
        size,
        query.after,
        |after, limit| {
            service.list(ListQuery {
                after,
                limit,
                ..query.clone()
            })
        },
        position,
        |view| Some(&view.device),
    )
    .await?;
    Ok(ListRebootsResponse {
        reboots: views.iter().map(convert::attempt).collect(),
        next_page_token: next_page_token(last, &fixed(request)),
    })
}

fn read(request: &ListRebootsRequest) -> Result<(ListQuery, usize), Error> {
    let mut fields = Fields::default();
    let device = fields.take("parent", page::parent(&request.parent));
    let size = parse::page_size(request.page_size, page::DEFAULT_SIZE, page::MAX_SIZE);
    let size = fields.take("page_size", size);
    let conditions = fields.take("filter", filter::parse(&request.filter));
    let after = read_page_token(&request.page_token, &fixed(request), "parent and filter");
    let after = fields.take("page_token", after);
    fields.check()?;
    let query = ListQuery {
        device: device.flatten(),
        conditions: conditions.unwrap_or_default(),
        after: after.flatten(),
        limit: 0,
    };
    let size = size.and_then(|size| usize::try_from(size).ok());
    Ok((query, size.unwrap_or_default()))
}

/// What has to be the same on every page.
fn fixed(request: &ListRebootsRequest) -> [&str; 2] {
    [&request.parent, &request.filter]
}
