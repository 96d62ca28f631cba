//! Twin queries, page by page.

use axum::http::HeaderMap;
use iot_hub::error::HubError;
use iot_hub::query::Query;
use serde::Deserialize;
use serde_json::Value;

use super::paging::{Page, paged};
use super::reply::{Reply, argument_invalid};
use crate::switchboard::Switchboard;

#[derive(Deserialize)]
struct Request {
    query: String,
}

pub(super) fn query(
    switchboard: &Switchboard,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Reply, HubError> {
    let request: Request = serde_json::from_slice(body)
        .map_err(|error| argument_invalid(format!("The query is invalid: {error}")))?;
    let query = Query::parse(&request.query)
        .map_err(|error| argument_invalid(format!("The query is invalid: {error}")))?;
    let page = Page::asked(headers, &request.query, switchboard.config.query_page_size)?;

    let rows: Vec<Value> = switchboard.change(|state, now| match state.faults.query_delay() {
        None => state.hub.rows(query.source()),
        Some(delay) => state.hub.rows_before(query.source(), delay, now.wall),
    });
    let items = query.evaluate(&mut rows.into_iter());
    Ok(paged(&items, &page, query.item_type().name()))
}
