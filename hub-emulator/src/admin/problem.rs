//! What a client is told when something is wrong: `{"errors":[{"field":…,"message":…}]}`.

use axum::Json;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use iot_hub::error::HubError;
use serde_json::{Value, json};

use crate::fields::Mistake;

/// Why a request got nothing done.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    errors: Vec<Value>,
}

impl Problem {
    fn new(status: StatusCode, field: Option<&str>, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            status,
            errors: vec![json!({"field": field, "message": message})],
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, None, message)
    }

    pub(super) fn of_field(field: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some(field), message)
    }

    pub(super) fn not_found(field: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Some(field), message)
    }

    pub(super) fn forbidden(field: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Some(field), message)
    }

    /// A state did not come in the time that the client gave it.
    pub(super) fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, None, message)
    }

    pub(super) fn mistakes(mistakes: &[Mistake]) -> Self {
        let error =
            |mistake: &Mistake| json!({"field": mistake.field, "message": mistake.to_string()});
        Self {
            status: StatusCode::BAD_REQUEST,
            errors: mistakes.iter().map(error).collect(),
        }
    }
}

impl From<HubError> for Problem {
    fn from(error: HubError) -> Self {
        let status = StatusCode::from_u16(error.status);
        Self::new(
            status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            None,
            error.message,
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"errors": self.errors}))).into_response()
    }
}

pub(super) async fn no_such_resource(uri: Uri) -> Problem {
    let message = format!("nothing is at {}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, None, message)
}

pub(super) async fn method_not_offered(method: Method, uri: Uri) -> Problem {
    let message = format!("{method} is not offered for {}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, None, message)
}
