//! The side door: what the emulator sees, and faults on demand, over HTTP on the loopback
//! interface, for tests in any language; and a page that shows the same to a person.
//!
//! ```text
//! request ─► guard (loopback names, no foreign pages) ─► route ─► JSON, or the page
//! ```
//!
//! It asks for no credentials and tells none: keys and connection strings do not come out of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::problem::Problem;
use crate::config::ClientLimits;
use crate::faults::Faults;
use crate::fields::Fields;
use crate::switchboard::{self, Switchboard};
use crate::timely::Timely;

mod devices;
mod faults;
mod guard;
mod messages;
mod page;
mod parameters;
mod problem;
mod provisioning;
mod traffic;

/// How long a request may wait for a state.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// How long to let others close their files when there are none left to open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every request may use.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) switchboard: Arc<Switchboard>,
    pub(crate) https_port: u16,
    pub(crate) mqtt_port: u16,
}

/// What goes back: a document, or what is wrong.
type Answer = Result<Json<Value>, Problem>;

impl Admin {
    fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.switchboard))
    }
}

/// Serves until shutdown, each connection in a task of its own.
pub(crate) async fn serve(
    listener: TcpListener,
    admin: Admin,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    let limits = admin.switchboard.config.limits;
    let app = routes(admin);
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((socket, _)) => {
                let connection = serve_connection(socket, app.clone(), limits);
                tasks.spawn(shutdown.clone().run_until_cancelled_owned(connection));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(socket: TcpStream, app: Router, limits: ClientLimits) {
    let stream = Timely::new(socket, limits.write);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.http_header)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}

fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/api", get(overview))
        .route("/api/devices", get(devices::list))
        .route("/api/devices/{device}", get(devices::show))
        .route("/api/devices/{device}/twin", get(devices::twin))
        .route("/api/devices/{device}/messages", post(messages::send))
        .route("/api/methods", get(traffic::methods))
        .route("/api/telemetry", get(traffic::telemetry))
        .route(
            "/api/counters",
            get(traffic::counters).delete(traffic::reset_counters),
        )
        .route(
            "/api/faults",
            get(faults::list).post(faults::inject).delete(faults::clear),
        )
        .route(
            "/api/faults/{fault}",
            get(faults::show).delete(faults::remove),
        )
        .route("/api/enrollments", get(provisioning::list))
        .route(
            "/api/enrollments/{id}",
            put(provisioning::put_device).delete(provisioning::delete_device),
        )
        .route(
            "/api/enrollment-groups/{name}",
            put(provisioning::put_group).delete(provisioning::delete_group),
        )
        .route("/api/registrations/{id}", get(provisioning::registration))
        .route("/api/cut", post(faults::cut))
        .route("/api/forget-sessions", post(faults::forget_sessions))
        .route("/api/pause", post(faults::pause))
        .route("/api/resume", post(faults::resume))
        .fallback(problem::no_such_resource)
        .method_not_allowed_fallback(problem::method_not_offered)
        .layer(from_fn(guard::check))
        .with_state(admin)
}

/// The hub's name and ports, and how it is.
async fn overview(State(admin): State<Admin>) -> Json<Value> {
    let holdings = admin.switchboard.read(switchboard::State::holdings);
    Json(json!({
        "hostName": admin.switchboard.config.host_name.to_string(),
        "httpsPort": admin.https_port,
        "mqttPort": admin.mqtt_port,
        "version": env!("CARGO_PKG_VERSION"),
        "paused": admin.faults().is_paused(),
        "holdings": {
            "connections": holdings.connections,
            "devices": holdings.devices,
            "callers": holdings.callers,
            "withheld": holdings.withheld,
        },
    }))
}

/// Reads a JSON object and refuses it with all that is wrong. No body at all is an empty object.
fn read_body<T>(
    body: Result<Bytes, BytesRejection>,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<T, Problem> {
    let body = body.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let values: Map<String, Value> = if body.is_empty() {
        Map::new()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| Problem::bad_request(format!("expected a JSON object: {error}")))?
    };
    read_fields(values, read)
}

fn read_fields<T>(
    values: Map<String, Value>,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<T, Problem> {
    let mut mistakes = Vec::new();
    let mut fields = Fields::new(values, &mut mistakes);
    let found = read(&mut fields);
    fields.finish();
    match found {
        Some(found) if mistakes.is_empty() => Ok(found),
        Some(_) | None => Err(Problem::mistakes(&mistakes)),
    }
}

/// Waits for a state as long as the client wants to. `what` says what it is that did not come.
async fn wait<T>(
    limit: Duration,
    state: impl Future<Output = T>,
    what: impl FnOnce() -> String,
) -> Result<T, Problem> {
    match tokio::time::timeout(limit, state).await {
        Ok(found) => Ok(found),
        Err(_) => Err(Problem::timeout(what())),
    }
}

/// Where it listens: never anywhere but on this machine.
pub(crate) fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// An answer with nothing in it.
fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
