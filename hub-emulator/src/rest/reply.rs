//! What goes back: success exactly as SDKs check it, and errors in the hub's two styles.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use iot_hub::error::{ERROR_CODE_HEADER, ErrorCode, HubError, Tracking};
use iot_hub::etag::IfMatch;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::call::ErrorStyle;
use crate::faults::InjectedAnswer;

/// Microsoft's Node SDK reads a body only when it is announced as this.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A call that went well.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    body: Option<Vec<u8>>,
    headers: HeaderMap,
}

impl Reply {
    /// 200 with a document.
    pub(super) fn json(value: &Value) -> Self {
        Self::raw_json(value.to_string().into_bytes())
    }

    /// 200 with bytes that are announced as JSON, whether they are or not: the real hub passes on
    /// what a device answered without looking at it.
    pub(super) fn raw_json(body: Vec<u8>) -> Self {
        Self {
            status: StatusCode::OK,
            body: Some(body),
            headers: HeaderMap::new(),
        }
    }

    /// 204.
    pub(super) fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: None,
            headers: HeaderMap::new(),
        }
    }

    /// The size of its body.
    pub(super) fn len(&self) -> usize {
        self.body.as_ref().map_or(0, Vec::len)
    }

    /// Changes the status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Adds a header. A value that HTTP cannot carry is left out.
    pub(super) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// 200 with something that has an `etag`, which goes into the header too.
    pub(super) fn document(value: &Value) -> Self {
        let reply = Self::json(value);
        match value["etag"].as_str() {
            Some(etag) => reply.with_header(ETAG, &format!("\"{etag}\"")),
            None => reply,
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body.map_or_else(Body::empty, Body::from));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if self.status != StatusCode::NO_CONTENT {
            response.headers_mut().insert(CONTENT_TYPE, JSON);
        }
        response
    }
}

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    error: HubError,
    style: ErrorStyle,
    retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(error: HubError, style: ErrorStyle) -> Self {
        Self {
            error,
            style,
            retry_after: None,
        }
    }

    /// What a fault answers.
    pub(super) fn injected(answer: InjectedAnswer, style: ErrorStyle) -> Self {
        Self {
            error: answer.to_error(),
            style,
            retry_after: answer.retry_after,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let tracking = new_tracking();
        let body = match self.style {
            ErrorStyle::Name => self.error.body_a(&tracking),
            ErrorStyle::Nested => self.error.body_b(&tracking),
        };
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() =
            StatusCode::from_u16(self.error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        if let Some(name) = self.error.header() {
            headers.insert(ERROR_CODE_HEADER, HeaderValue::from_static(name));
        }
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        response
    }
}

/// The `If-Match` header, as far as it is one.
pub(super) fn condition(headers: &HeaderMap) -> Option<IfMatch> {
    IfMatch::parse(headers.get(IF_MATCH)?.to_str().ok()?)
}

/// 400 for a value that is wrong.
pub(super) fn argument_invalid(text: impl Into<String>) -> HubError {
    HubError::new(ErrorCode::ArgumentInvalid, text)
}

/// Names a failure as the real hub does, so that an answer can be found in the log.
pub(crate) fn new_tracking() -> Tracking {
    Tracking {
        id: Uuid::new_v4(),
        at: Timestamp::now(),
    }
}
