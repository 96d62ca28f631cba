//! The gRPC server: the API, health and reflection on one listener.

use std::{sync::Arc, time::Duration};

use iothubdm_proto::v1::{FILE_DESCRIPTOR_SET, device_management_server::DeviceManagementServer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{Api, web};
use crate::{config::WebOptions, service::Service};

/// How many calls one connection may have open: a watcher is one.
const MAX_STREAMS: u32 = 100_000;

/// How often an idle connection is asked whether it lives: a watcher's peer may be gone.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How long it may take to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest message taken; the largest meaningful one is a few kilobytes.
const MAX_MESSAGE: usize = 64 * 1024;

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
    /// How long a watch is idle before it gets a bookmark.
    pub bookmark_interval: Duration,
    /// How browsers may call; `None` where they may not.
    pub web: Option<WebOptions>,
    /// Ends when the service is ready: until then health says that it is not.
    pub ready: CancellationToken,
    /// Ends the server.
    pub shutdown: CancellationToken,
}

/// Serves until the shutdown, and then until the open calls are over.
pub async fn serve(listener: TcpListener, served: Served) -> Result<(), ServeError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    report(&reporter, ServingStatus::NotServing).await;
    let reporter = Arc::new(reporter);
    tokio::spawn(follow_readiness(
        reporter,
        served.ready.clone(),
        served.shutdown.clone(),
    ));
    let api = Api {
        service: served.service,
        bookmark_interval: served.bookmark_interval,
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        // Browsers speak gRPC-Web over any HTTP; nobody else has a use for the old one.
        .accept_http1(served.web.is_some())
        .max_concurrent_streams(Some(MAX_STREAMS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(web::layer(served.web.as_ref()))
        .add_service(health)
        .add_service(reflection().build_v1().map_err(ServeError::Reflection)?)
        .add_service(
            reflection()
                .build_v1alpha()
                .map_err(ServeError::Reflection)?,
        )
        .add_service(DeviceManagementServer::new(api).max_decoding_message_size(MAX_MESSAGE))
        .serve_with_incoming_shutdown(incoming, served.shutdown.cancelled_owned())
        .await
        .map_err(ServeError::Transport)
}

/// Tells health when the service is ready and when it stops.
async fn follow_readiness(
    reporter: Arc<HealthReporter>,
    ready: CancellationToken,
    shutdown: CancellationToken,
) {
    tokio::select! {
        () = ready.cancelled() => report(&reporter, ServingStatus::Serving).await,
        () = shutdown.cancelled() => {}
    }
    shutdown.cancelled().await;
    report(&reporter, ServingStatus::NotServing).await;
}

/// The empty name stands for the whole server.
async fn report(reporter: &HealthReporter, status: ServingStatus) {
    let name = <DeviceManagementServer<Api> as tonic::server::NamedService>::NAME;
    for service in ["", name] {
        reporter.set_service_status(service, status).await;
    }
}
