//! The service's front door: the hub's REST API over HTTPS.
//!
//! ```text
//! request ─► Call::parse ─► api-version ─► token ─► faults ─► body ─► handler ─► reply
//! ```
//!
//! Devices may come in here too, as a [WebSocket](crate::websocket).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Router};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use iot_hub::error::{ErrorCode, HubError};
use mqtt_wire::tls::ServerStream;
use tokio::net::TcpStream;

use self::call::{Call, ErrorStyle};
pub(crate) use self::fuzzing::fuzz;
use self::parameters::Parameters;
pub(crate) use self::reply::new_tracking;
use self::reply::{Failure, Reply};
use crate::certificate::DeviceCertificate;
use crate::door::Door;
use crate::switchboard::{Switchboard, hold_up};
use crate::timely::Timely;
use crate::websocket::{self, Handover};
use crate::{auth, mqtt};

mod bulk;
mod call;
mod configurations;
mod fuzzing;
mod jobs;
mod messages;
mod methods;
mod paging;
mod parameters;
mod query;
mod registry;
mod reply;
mod twins;

/// Above every limit that the API names for a body, which have errors of their own.
const MAX_BODY: usize = 1024 * 1024;

/// Serves the REST API.
pub(crate) async fn serve(door: Door) {
    let app = Router::new()
        .route(websocket::PATH, any(websocket::upgrade))
        .fallback(answer)
        .with_state(Arc::clone(&door.switchboard));
    door.serve(
        |meters| &mut meters.http_connections,
        move |stream, switchboard| serve_connection(stream, switchboard, app.clone()),
    )
    .await;
}

async fn serve_connection(
    stream: ServerStream<TcpStream>,
    switchboard: Arc<Switchboard>,
    app: Router,
) {
    let certificate = DeviceCertificate::of(stream.state());
    let limits = switchboard.config.limits;
    let stream = Timely::new(stream, limits.write);
    let (handover, mut websocket) = Handover::new();
    let app = app.layer(Extension(handover));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.http_header)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
    if let Some(socket) = websocket.recv().await {
        let stream = Box::new(websocket::into_bytes(socket));
        mqtt::serve_connection(stream, certificate, switchboard).await;
    }
}

async fn answer(State(switchboard): State<Arc<Switchboard>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (call, result) = match Call::parse(&parts.method, parts.uri.path()) {
        Ok(call) => {
            let result = perform(&switchboard, &call, &parts, body).await;
            (Some(call), result)
        }
        Err(error) => (None, Err(Failure::new(error, ErrorStyle::Name))),
    };
    let response = match result {
        Ok(reply) => reply.into_response(),
        Err(failure) => failure.into_response(),
    };
    tracing::debug!(
        method = %parts.method,
        path = parts.uri.path(),
        ?call,
        status = response.status().as_u16(),
        "answered"
    );
    response
}

async fn perform(
    switchboard: &Switchboard,
    call: &Call,
    parts: &Parts,
    body: Body,
) -> Result<Reply, Failure> {
    let style = call.error_style();
    let fail = |error: HubError| Failure::new(error, style);

    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default());
    if parameters.get("api-version").is_none_or(str::is_empty) {
        return Err(fail(HubError::new(
            ErrorCode::InvalidProtocolVersion,
            "the parameter api-version is missing",
        )));
    }
    check_token(switchboard, call, parts)?;
    pass_faults(switchboard, call, style).await?;

    let body = read_body(switchboard, body).await.map_err(fail)?;
    let headers = &parts.headers;
    if !matches!(call, Call::InvokeMethod(_)) {
        let passed = switchboard.pass(call.operation().into(), 1).await;
        passed.map_err(fail)?;
    }
    let asked = body.len();
    let reply = match call {
        Call::ListDevices => registry::list(switchboard, &parameters),
        Call::BulkIdentities => bulk::bulk(switchboard, &body),
        Call::ListModules(id) => registry::list_modules(switchboard, id),
        Call::GetIdentity(id) => registry::get(switchboard, id),
        Call::PutIdentity(id) => registry::put(switchboard, id, headers, &body),
        Call::DeleteIdentity(id) => registry::delete(switchboard, id, headers),
        Call::DeviceStatistics => Ok(registry::device_statistics(switchboard)),
        Call::ServiceStatistics => Ok(registry::service_statistics(switchboard)),
        Call::GetTwin(id) => twins::get(switchboard, id),
        Call::PatchTwin(id) => twins::patch(switchboard, id, headers, &body),
        Call::ReplaceTwin(id) => twins::replace(switchboard, id, headers, &body),
        Call::InvokeMethod(id) => methods::invoke(switchboard, id, body).await,
        Call::Query => query::query(switchboard, headers, &body),
        Call::ListJobs => jobs::list(switchboard, headers, &parameters),
        Call::GetJob(id) => jobs::get(switchboard, id),
        Call::PutJob(id) => jobs::put(switchboard, id, &body),
        Call::CancelJob(id) => jobs::cancel(switchboard, id),
        Call::ListConfigurations => configurations::list(switchboard, &parameters),
        Call::TestConfigurationQueries => configurations::test_queries(&body),
        Call::GetConfiguration(id) => configurations::get(switchboard, id),
        Call::PutConfiguration(id) => configurations::put(switchboard, id, headers, &body),
        Call::DeleteConfiguration(id) => configurations::delete(switchboard, id, headers),
        Call::ApplyContent(id) => configurations::apply_content(switchboard, id, &body),
        Call::PurgeMessages(id) => messages::purge(switchboard, id),
        Call::TakeFeedback => Ok(messages::take_feedback(switchboard)),
        Call::SettleFeedback { token, kept } => {
            messages::settle_feedback(switchboard, *token, *kept)
        }
    }
    .map_err(fail)?;
    if let Some(bytes) = call.metered(asked, reply.len()) {
        switchboard.change(|state, now| state.quota.charge(bytes, now.wall));
    }
    Ok(reply)
}

async fn read_body(switchboard: &Switchboard, body: Body) -> Result<Bytes, HubError> {
    let limit = switchboard.config.limits.http_body;
    match tokio::time::timeout(limit, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(HubError::new(
            ErrorCode::MessageTooLarge,
            format!("the body could not be read or has more than {MAX_BODY} bytes"),
        )),
        Err(_) => Err(HubError::new(
            ErrorCode::GenericBadRequest,
            "the body did not come in time",
        )),
    }
}

/// Fails with 401 unless the request carries a token that allows the call.
fn check_token(switchboard: &Switchboard, call: &Call, parts: &Parts) -> Result<(), Failure> {
    let header = parts
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let (policies, names) = (&switchboard.policies, switchboard.names());
    let allowed = switchboard.change(|state, now| {
        let now = now.skewed(state.faults.clock_skew(None));
        let bearers = &state.bearer_tokens;
        auth::authorize(policies, names, bearers, header, call.permission(), now)
    });
    allowed.map_err(|denied| {
        tracing::info!(?call, reason = %denied, "refused a call");
        let error = HubError::new(ErrorCode::IotHubUnauthorizedAccess, "Unauthorized");
        Failure::new(error, ErrorStyle::Nested)
    })
}

/// Counts the operation, and lets faults hold it up or answer it.
async fn pass_faults(
    switchboard: &Switchboard,
    call: &Call,
    style: ErrorStyle,
) -> Result<(), Failure> {
    let (operation, device) = (call.operation(), call.device());
    let (delay, answer) = switchboard.change(|state, now| {
        state.meters.of(operation).count_one(now.instant);
        (
            state.faults.delay(operation, device),
            state.faults.answer(operation, device),
        )
    });
    hold_up(delay).await;
    match answer {
        None => Ok(()),
        Some(answer) => Err(Failure::injected(answer, style)),
    }
}
