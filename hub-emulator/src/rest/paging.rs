//! Answers that come page by page.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iot_hub::error::HubError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reply::{Reply, argument_invalid};

const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");
const MAX_ITEMS: HeaderName = HeaderName::from_static("x-ms-max-item-count");
const ITEM_TYPE: HeaderName = HeaderName::from_static("x-ms-item-type");

/// Which part of an answer is wanted.
#[derive(Debug)]
pub(super) struct Page {
    query: u64,
    offset: usize,
    size: usize,
}

/// Where the next page begins. Clients treat it as opaque.
#[derive(Serialize, Deserialize)]
struct Continuation {
    /// Of which query: a token of another one is an error, not a wrong page.
    query: u64,
    offset: usize,
}

impl Page {
    /// What the headers ask for, of the answer to `query`.
    pub(super) fn asked(headers: &HeaderMap, query: &str, max: usize) -> Result<Self, HubError> {
        let mut hasher = DefaultHasher::new();
        query.hash(&mut hasher);
        let query = hasher.finish();
        Ok(Self {
            query,
            offset: offset(headers, query)?,
            size: size(headers, max)?,
        })
    }
}

/// One page of `items`, and how to ask for the next if there is one.
pub(super) fn paged(items: &[Value], page: &Page, item_type: &str) -> Reply {
    let end = items.len().min(page.offset.saturating_add(page.size));
    let shown = items.get(page.offset..end).unwrap_or_default();
    let reply = Reply::json(&Value::from(shown)).with_header(ITEM_TYPE, item_type);
    if end == items.len() {
        return reply;
    }
    let next = Continuation {
        query: page.query,
        offset: end,
    };
    let token = STANDARD.encode(json!(next).to_string());
    reply.with_header(CONTINUATION, &token)
}

/// A larger page than the hub gives is cut down, not refused.
fn size(headers: &HeaderMap, max: usize) -> Result<usize, HubError> {
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

fn offset(headers: &HeaderMap, query: u64) -> Result<usize, HubError> {
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
        .filter(|token| token.query == query)
        .map(|token| token.offset)
        .ok_or_else(|| argument_invalid(format!("{CONTINUATION} is not a token of this query")))
}
