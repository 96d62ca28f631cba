//! Keys from an address on the web, kept fresh.

use std::{
    sync::{Arc, RwLock, Weak},
    time::Duration,
};

use daemon::panics::caught_in;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::keys::KeySet;
use crate::http::Document;

/// The first pause after a failure; it doubles up to the refresh interval.
const RETRY: Duration = Duration::from_secs(5);

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAddress {
    /// The address of a JSON Web Key Set.
    pub url: String,
    /// The certificates that sign its server's, as PEM; the platform's when absent.
    pub ca: Option<Vec<u8>>,
    /// How often it is read.
    pub refresh: Duration,
    /// The least time between two readings because of a token with an unknown key: nobody can make
    /// this service hammer the address.
    pub refetch_pause: Duration,
}

/// The keys of an address. While it cannot be reached the old ones stay.
#[derive(Debug)]
pub(super) struct RemoteKeys {
    address: KeyAddress,
    document: Document,
    keys: RwLock<Option<Arc<KeySet>>>,
    /// When a reading was last begun. Whoever holds it is reading.
    last: Mutex<Option<Instant>>,
}

impl RemoteKeys {
    /// Reads the keys until nobody holds them any more, or until the shutdown.
    pub(super) fn start(
        address: KeyAddress,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, String> {
        let document = Document::new(&address.url, address.ca.as_deref())?;
        let keys = Arc::new(Self {
            address,
            document,
            keys: RwLock::default(),
            last: Mutex::default(),
        });
        tokio::spawn(refresh(Arc::downgrade(&keys), shutdown));
        Ok(keys)
    }

    pub(super) fn address(&self) -> &KeyAddress {
        &self.address
    }

    /// The newest keys, if there ever were any.
    pub(super) fn present(&self) -> Option<Arc<KeySet>> {
        match self.keys.read() {
            Ok(keys) => keys.clone(),
            // It is set in one step.
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// Reads the keys again unless that was done a moment ago; waits for a reading under way.
    pub(super) async fn refetch(&self) {
        // An error is told by whoever refreshes, and there is none to tell a caller.
        let _ = self.read(self.address.refetch_pause).await;
    }

    async fn read(&self, pause: Duration) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if last.is_some_and(|last| last.elapsed() < pause) {
            return Ok(());
        }
        *last = Some(Instant::now());
        let body = self.document.fetch().await?;
        let keys = KeySet::parse(&body).map_err(|error| error.to_string())?;
        match self.keys.write() {
            Ok(mut present) => *present = Some(Arc::new(keys)),
            Err(poisoned) => *poisoned.into_inner() = Some(Arc::new(keys)),
        }
        Ok(())
    }
}

async fn refresh(keys: Weak<RemoteKeys>, shutdown: CancellationToken) {
    let mut retry = RETRY;
    loop {
        let Some(keys) = keys.upgrade() else { return };
        // A fault in one reading must not be the last of all: the keys are others the next time.
        let read = caught_in(keys.read(Duration::ZERO)).await;
        let pause = match read.unwrap_or_else(|panicked| Err(format!("the reading {panicked}"))) {
            Ok(()) => {
                retry = RETRY;
                keys.address.refresh
            }
            Err(error) => {
                let url = &keys.address.url;
                let kept = keys.present().is_some();
                tracing::warn!(url, error, kept, "failed to read the keys for tokens");
                let pause = retry.min(keys.address.refresh);
                retry = (retry * 2).min(keys.address.refresh);
                pause
            }
        };
        drop(keys);
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
