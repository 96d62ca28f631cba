//! The gRPC server: the API, health and reflection on one listener.

use std::{convert::Infallible, sync::Arc, time::Duration};

use iothubdm_proto::v1::{FILE_DESCRIPTOR_SET, device_management_server::DeviceManagementServer};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Connected};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{
    Api, Means,
    authenticate::Authenticated,
    door::{Door, Guarded, PorterLayer},
    watch_reboot::Pace,
    web,
};
use crate::{
    access::Access,
    audit::Auditor,
    config::{Limits, WebOptions},
    listener::{Connection, Peer},
    metrics::Instruments,
    service::Service,
    traces::TraceLayer,
    vital::Vital,
};

/// How much of its requests one connection may send ahead of what is read of them.
///
/// HTTP/2's library takes half of it as what small frames may cost, 256 bytes each, and ends a
/// connection that goes beyond: this is enough for the two thousand calls that may begin at once.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How many calls a connection may reset before they were looked at. A caller that gives up resets
/// some; one that resets more is out for harm, and its connection ends.
const PENDING_RESETS: usize = 32;

/// What health calls the process itself: it serves for as long as it lives, ready or not. A probe
/// that restarts what is not alive must not restart what waits for the hub.
const LIVENESS: &str = "liveness";

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The reflection service could not be made from the API's descriptors.
    #[error("set up reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The listener failed.
    #[error("serve the API")]
    Transport(#[source] tonic::transport::Error),
}

/// What the server serves, and when.
#[derive(Debug)]
pub struct Served {
    /// The service.
    pub service: Service,
    /// Who may do what.
    pub access: Access,
    /// Where refusals are noted.
    pub auditor: Auditor,
    /// How long nothing happens before a watch gets its first bookmark.
    pub bookmark_interval: Duration,
    /// How browsers may call; `None` where they may not.
    pub web: Option<WebOptions>,
    /// What callers may ask at most.
    pub limits: Limits,
    /// What counts watchers and knows whether the service is ready.
    pub instruments: Instruments,
    /// What ends the service when a task dies that nobody can do without.
    pub vital: Vital,
    /// Ends the server.
    pub shutdown: CancellationToken,
}

/// Serves until the shutdown, and then until the open calls are over.
pub async fn serve(
    connections: mpsc::Receiver<Connection>,
    served: Served,
) -> Result<(), ServeError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    report(&reporter, ServingStatus::NotServing).await;
    reporter
        .set_service_status(LIVENESS, ServingStatus::Serving)
        .await;
    let reporter = Arc::new(reporter);
    let follow = follow_readiness(
        reporter,
        served.instruments.clone(),
        served.shutdown.clone(),
    );
    served.vital.spawn("readiness", follow);
    let limits = &served.limits;
    let instruments = served.instruments.clone();
    let means = Means {
        service: served.service,
        instruments: served.instruments,
        access: served.access.clone(),
        auditor: served.auditor.clone(),
        pace: Pace {
            bookmarks: served.bookmark_interval,
            age: limits.watch_age,
        },
    };
    let api = Api {
        means: Arc::new(means),
    };
    let api = DeviceManagementServer::new(api).max_decoding_message_size(limits.message);
    let api = Authenticated::new(api, served.access, served.auditor);
    let door = Door::new(limits.clone());
    let incoming = ReceiverStream::new(connections).filter_map(move |connection| {
        let address = connection.peer().address.ip();
        let seat = door.enter(Some(address));
        if seat.is_none() {
            tracing::debug!(%address, "closed a connection: there are too many");
        }
        Some(Ok::<_, Infallible>(Guarded::new(connection, seat?)))
    });
    Server::builder()
        // Browsers speak gRPC-Web over any HTTP; nobody else has a use for the old one.
        .accept_http1(served.web.is_some())
        .max_concurrent_streams(Some(limits.calls_per_connection))
        .initial_connection_window_size(Some(CONNECTION_WINDOW))
        .http2_max_header_list_size(Some(limits.headers))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        // Calls that are open go on; the next ones are made on another connection.
        .max_connection_age(limits.connection_age)
        .http2_keepalive_interval(Some(limits.keepalive))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        // The outer layer comes first: what the door refuses is told to browsers in their way.
        .layer(web::layer(served.web.as_ref()))
        .layer(PorterLayer::<Peer>::new(limits.patience, instruments))
        .layer(TraceLayer)
        .add_service(health)
        .add_service(reflection().build_v1().map_err(ServeError::Reflection)?)
        .add_service(
            reflection()
                .build_v1alpha()
                .map_err(ServeError::Reflection)?,
        )
        .add_service(api)
        .serve_with_incoming_shutdown(incoming, served.shutdown.cancelled_owned())
        .await
        .map_err(ServeError::Transport)
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer().clone()
    }
}

/// Tells health whether the service is ready, until it stops.
async fn follow_readiness(
    reporter: Arc<HealthReporter>,
    instruments: Instruments,
    shutdown: CancellationToken,
) {
    let mut changes = instruments.readiness().changes();
    let mut told = None;
    loop {
        let ready = changes.borrow_and_update().trouble().is_none();
        // Why it is not ready may change without a word to those who watch its health.
        if told.replace(ready) != Some(ready) {
            let status = if ready {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            report(&reporter, status).await;
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            () = shutdown.cancelled() => break,
        }
    }
    report(&reporter, ServingStatus::NotServing).await;
}

/// The empty name stands for the whole server.
async fn report(reporter: &HealthReporter, status: ServingStatus) {
    let name = <DeviceManagementServer<Api> as tonic::server::NamedService>::NAME;
    for service in ["", name] {
        reporter.set_service_status(service, status).await;
    }
}
