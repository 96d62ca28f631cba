//! Callers in browsers: gRPC-Web in place of gRPC, which a page cannot speak, and CORS, by which a
//! browser asks whether a page may call at all.
//!
//! Pages prove who calls by a header, as every other caller does. Nothing here allows what a browser
//! adds by itself (cookies, client certificates), so that a page acts with its own rights alone.

mod pages;

use std::time::Duration;

use tonic::codegen::http::{HeaderName, HeaderValue, Method, header};
use tonic_web::GrpcWebLayer;
use tower::{
    layer::util::{Identity, Stack},
    util::{Either, option_layer},
};
use tower_http::cors::CorsLayer;

use self::pages::PagesLayer;

use crate::config::WebOptions;

/// How long a browser may remember what it was told; few believe it for longer.
const REMEMBER: Duration = Duration::from_secs(2 * 3600);

/// What callers send.
const REQUEST_HEADERS: [HeaderName; 7] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
];

/// How a call ended, where that is known before its first message.
const RESPONSE_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// What stands between the listener and the API; nothing, unless browsers may call.
pub(super) type WebLayer =
    Stack<Optional<GrpcWebLayer>, Stack<Optional<PagesLayer>, Optional<CorsLayer>>>;

type Optional<L> = Either<L, Identity>;

/// Makes the layer for browsers. The browser's question is answered first; it is no call.
pub(super) fn layer(options: Option<&WebOptions>) -> WebLayer {
    let cors = option_layer(options.map(cors));
    let translation = option_layer(options.map(|_| GrpcWebLayer::new()));
    let pages = option_layer(options.map(|options| PagesLayer::new(&options.allowed_origins)));
    Stack::new(translation, Stack::new(pages, cors))
}

fn cors(options: &WebOptions) -> CorsLayer {
    let origins = options
        .allowed_origins
        .iter()
        // An origin is visible ASCII, so none is left out.
        .filter_map(|origin| HeaderValue::from_str(origin.as_ref()).ok());
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::POST])
        .allow_headers(REQUEST_HEADERS)
        .expose_headers(RESPONSE_HEADERS)
        .max_age(REMEMBER)
}
