//! Puts the parts together, and takes them apart again.

use std::{future, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Access, AccessError, Changes},
    api::{self, ServeError, Served},
    audit::Auditor,
    config::Config,
    hub::{Hub, SetupError},
    listener::{self, Secured},
    metrics::Instruments,
    poller::Poller,
    reload::{self, Reload, Reloaded, TlsInUse},
    service::Service,
    store::{Measured, Sqlite, Store, StoreError},
    tls::{Tls, TlsError},
    vital::Vital,
};

/// The first pause between two attempts to reach the hub.
const PROBE_MIN: Duration = Duration::from_secs(1);

/// The longest pause between two looks at the hub and the store.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// The least pause, whatever the settings say.
const PROBE_LEAST: Duration = Duration::from_millis(50);

/// Why the service ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store could not be opened or read.
    #[error("open the store")]
    Store(#[from] StoreError),
    /// The hub's client could not be made.
    #[error(transparent)]
    Hub(#[from] SetupError),
    /// The certificates cannot be used.
    #[error("secure the listener")]
    Tls(#[from] TlsError),
    /// The rules of who may do what cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The API could not be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A task of the service's own start panicked.
    #[error("start the service")]
    Start(#[from] tokio::task::JoinError),
    /// A task panicked without which nothing works.
    #[error("the service's {0} died")]
    Died(&'static str),
}

/// Serves on `listener` until `shutdown`, with these settings throughout.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let instruments = config.instruments();
    let same = config.clone();
    let reload = Reload::new(move || Ok(same.clone()));
    serve_observed(listener, config, instruments, reload, shutdown).await
}

/// As [`serve`], and tells `instruments` how it goes, and takes up changed certificates, keys and rules.
pub async fn serve_observed(
    listener: TcpListener,
    config: Config,
    instruments: Instruments,
    reload: Reload,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let options = config.store.clone();
    let store = tokio::task::spawn_blocking(move || Sqlite::open(&options)).await??;
    serve_from(
        Arc::new(store),
        listener,
        config,
        instruments,
        reload,
        shutdown,
    )
    .await
}

/// As [`serve_observed`], from a store that is open already.
pub async fn serve_from(
    store: Arc<dyn Store>,
    listener: TcpListener,
    config: Config,
    instruments: Instruments,
    reload: Reload,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    // Whatever ends this function, and be it that its caller drops it, ends all its tasks.
    let shutdown = shutdown.child_token();
    let _stop = shutdown.clone().drop_guard();
    let ca = config.hub.ca.as_deref();
    let hub = Hub::new(&config.hub.credential, config.hub.https_port, ca)?;
    let hub = Arc::new(hub.observed(instruments.clone()));
    let vital = Vital::new();
    // The poller serves the attempts' tasks, so it stops after them.
    let poller_shutdown = CancellationToken::new();
    let _stop_poller = poller_shutdown.clone().drop_guard();
    let poller = Poller::start(hub.clone(), &config.cadence, &vital, poller_shutdown);
    let store: Arc<dyn Store> = Arc::new(Measured::new(store, instruments.clone()));
    let auditor = Auditor::start(store.clone(), &vital, shutdown.clone());
    let access = Access::start(config.access.clone(), shutdown.clone())?;
    let service = Service::start(
        store.clone(),
        hub.clone(),
        poller,
        &config.quota,
        config.timing.clone(),
        &vital,
        shutdown.clone(),
    )
    .await?;
    let (secured, tls) = secure(&config)?.unzip();
    let connections = listener::accept(listener, secured, &vital, shutdown.clone());
    let reloaded = Reloaded {
        tls,
        access: access.clone(),
    };
    let follow = reload::follow(reload, config.clone(), reloaded, shutdown.clone());
    vital.spawn("reload", follow);
    service.measure_staleness(&instruments);
    let look = look(hub, store.clone(), instruments.clone(), shutdown.clone());
    vital.spawn("look at the hub", look);
    let wake = wake_watchers(service.clone(), access.changes());
    vital.spawn("what wakes watchers", wake);
    let served = Served {
        service: service.clone(),
        access,
        auditor,
        bookmark_interval: config.bookmark_interval,
        web: config.web.clone(),
        limits: config.limits.clone(),
        instruments,
        vital: vital.clone(),
        shutdown: shutdown.clone(),
    };
    let work = async {
        let result = api::serve(connections, served).await;
        service.stopped().await;
        if let Err(error) = store.close().await {
            // What is in its log is found there by the next start.
            let error = anyhow::Error::from(error);
            tracing::warn!("failed to {error:#}");
        }
        result
    };
    let limit = async {
        shutdown.cancelled().await;
        tokio::time::sleep(config.drain_timeout).await;
    };
    let death = async {
        vital.one_dies().await;
        shutdown.cancel();
        future::pending().await
    };
    tokio::select! {
        result = work => result?,
        () = limit => tracing::warn!("stopped before all that was under way was over"),
        () = death => {}
    }
    vital
        .dead()
        .map_or(Ok(()), |task| Err(RunError::Died(task)))
}

/// How connections are secured, and what changes that.
fn secure(config: &Config) -> Result<Option<(Secured, TlsInUse)>, TlsError> {
    let Some(tls) = &config.tls else {
        return Ok(None);
    };
    let sender = watch::Sender::new(Tls::new(&tls.options)?);
    let secured = Secured {
        tls: sender.subscribe(),
        handshake_limit: tls.handshake_limit,
    };
    let options = tls.options.clone();
    Ok(Some((secured, TlsInUse { sender, options })))
}

/// Has watchers look again when the rules change, and when the service stops.
async fn wake_watchers(service: Service, mut changes: Changes) {
    let shutdown = service.shutdown().clone();
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = changes.next() => {}
            () = shutdown.cancelled() => {}
        }
        service.wake_watchers();
    }
}

/// Looks after the hub and the store, as far as the service's work does not: whether the service is
/// ready has to be known while nobody asks for anything, too.
async fn look(
    hub: Arc<Hub>,
    store: Arc<dyn Store>,
    instruments: Instruments,
    shutdown: CancellationToken,
) {
    let readiness = instruments.readiness();
    let longest = PROBE_MAX.min(readiness.hub_limit() / 3).max(PROBE_LEAST);
    let mut pause = PROBE_MIN.min(longest);
    while !shutdown.is_cancelled() {
        let reached = match hub.probe().await {
            Ok(()) => true,
            Err(trouble) => {
                tracing::warn!(%trouble, "failed to reach the hub");
                false
            }
        };
        if readiness.condition().is_store_failing() {
            // What came of it is noted by the store itself.
            let _ = store.check().await;
        }
        // A hub that does not answer is asked more often, for somebody may wait for it.
        pause = if reached {
            longest
        } else {
            (pause * 2).min(longest)
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
    readiness.stop();
}
