//! Twin queries, page by page.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_hub::error::HubError;
use iot_hub::query::Query;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reply::{Reply, argument_invalid};
use crate::switchboard::Switchboard;

const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");
const MAX_ITEMS: HeaderName = HeaderName::from_static("x-ms-max-item-count");
const ITEM_TYPE: HeaderName = HeaderName::from_static("x-ms-item-type");

#[derive(Deserialize)]
struct Request {
    query: String,
}

/// Where the next page begins. Clients treat it as opaque.
#[derive(Serialize, Deserialize)]
struct Continuation {
    /// Of which query: a token of another one is an error, not a wrong page.
    query: u64,
    offset: usize,
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
    let page_size = page_size(headers, switchboard.config.query_page_size)?;
    let offset = offset(headers, &request.query)?;

    let rows: Vec<Value> = switchboard.read(|state| state.hub.rows(query.source()));
    let items = query.evaluate(&mut rows.into_iter());
    let end = items.len().min(offset.saturating_add(page_size));
    let page = items.get(offset..end).unwrap_or_default();

    let mut reply =
        Reply::json(&Value::from(page)).with_header(ITEM_TYPE, query.item_type().name());
    if end < items.len() {
        let next = Continuation {
            query: fingerprint(&request.query),
            offset: end,
        };
        let token = STANDARD.encode(serde_json::json!(next).to_string());
        reply = reply.with_header(CONTINUATION, &token);
    }
    Ok(reply)
}

/// A larger page than the hub gives is cut down, not refused.
fn page_size(headers: &HeaderMap, max: usize) -> Result<usize, HubError> {
    let Some(asked) = headers.get(MAX_ITEMS) else {
        return Ok(max);
    };
    asked
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<usize>().ok())
        .filter(|size| *size > 0)
        .map(|size| size.min(max))
        .ok_or_else(|| argument_invalid(format!("{MAX_ITEMS} must be a number above 0")))
}

fn offset(headers: &HeaderMap, query: &str) -> Result<usize, HubError> {
    let Some(token) = headers.get(CONTINUATION) else {
        return Ok(0);
    };
    if token.is_empty() {
        return Ok(0);
    }
    STANDARD
        .decode(token.as_bytes())
        .ok()
        .and_then(|json| serde_json::from_slice::<Continuation>(&json).ok())
        .filter(|token| token.query == fingerprint(query))
        .map(|token| token.offset)
        .ok_or_else(|| argument_invalid(format!("{CONTINUATION} is not a token of this query")))
}

fn fingerprint(query: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    query.hash(&mut hasher);
    hasher.finish()
}
