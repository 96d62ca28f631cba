//! Puts the parts together, and takes them apart again.

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, ServeError, Served},
    config::Config,
    hub::{Hub, SetupError},
    poller::Poller,
    service::Service,
    store::{Sqlite, StoreError},
};

/// The first and the longest pause between two attempts to reach the hub.
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(30);

/// Why the service ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store could not be opened or read.
    #[error("open the store")]
    Store(#[from] StoreError),
    /// The hub's client could not be made.
    #[error(transparent)]
    Hub(#[from] SetupError),
    /// The API could not be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A task of the service's own start panicked.
    #[error("start the service")]
    Start(#[from] tokio::task::JoinError),
}

/// Serves on `listener` until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    // Whatever ends this function, and be it that its caller drops it, ends all its tasks.
    let shutdown = shutdown.child_token();
    let _stop = shutdown.clone().drop_guard();
    let options = config.store.clone();
    let store = tokio::task::spawn_blocking(move || Sqlite::open(&options)).await??;
    let connection = config.hub.connection.clone();
    let host = connection.host.to_string();
    let ca = config.hub.ca.as_deref();
    let hub = Arc::new(Hub::new(connection, config.hub.https_port, ca)?);
    // The poller serves the attempts' tasks, so it stops after them.
    let poller_shutdown = CancellationToken::new();
    let _stop_poller = poller_shutdown.clone().drop_guard();
    let poller = Poller::start(
        hub.clone(),
        config.cadence.clone(),
        config.reads_per_second,
        poller_shutdown,
    );
    let service = Service::start(
        Arc::new(store),
        hub.clone(),
        poller,
        config.timing.clone(),
        shutdown.clone(),
    )
    .await?;
    let ready = CancellationToken::new();
    tokio::spawn(reach(hub, host, ready.clone(), shutdown.clone()));
    let served = Served {
        service: service.clone(),
        bookmark_interval: config.bookmark_interval,
        web: config.web.clone(),
        limits: config.limits.clone(),
        ready,
        shutdown: shutdown.clone(),
    };
    let work = async {
        let result = api::serve(listener, served).await;
        service.stopped().await;
        result
    };
    let limit = async {
        shutdown.cancelled().await;
        tokio::time::sleep(config.drain_timeout).await;
    };
    tokio::select! {
        result = work => result?,
        () = limit => tracing::warn!("stopped before all that was under way was over"),
    }
    Ok(())
}

/// Tries to reach the hub until that succeeds; the service is ready from then on.
async fn reach(hub: Arc<Hub>, host: String, ready: CancellationToken, shutdown: CancellationToken) {
    let mut pause = PROBE_MIN;
    loop {
        match hub.probe().await {
            Ok(()) => {
                tracing::info!(host, "the hub is reached, the service is ready");
                ready.cancel();
                return;
            }
            Err(trouble) => {
                tracing::warn!(host, %trouble, ?pause, "not ready: trying to reach the hub again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PROBE_MAX),
            () = shutdown.cancelled() => return,
        }
    }
}
