//! Takes up changed certificates, keys and rules without a restart.
//!
//! The settings are read again, whole, from time to time and when told to, with every file that they
//! name. What can change while the service runs is taken up; settings with a mistake in them change
//! nothing, and the log says what is wrong.

use std::{fmt, sync::Arc};

use daemon::settings::Mistakes;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{access::Access, config::Config, tls::Tls};

/// Reads the settings again.
type Read = dyn Fn() -> Result<Config, Mistakes> + Send + Sync;

/// Where changed settings come from.
#[derive(Clone)]
pub struct Reload {
    read: Arc<Read>,
    now: Arc<Notify>,
}

impl Reload {
    /// Reads the settings again with `read`, which may take a moment: every interval of the settings,
    /// and at once on [`Reload::now`].
    pub fn new(read: impl Fn() -> Result<Config, Mistakes> + Send + Sync + 'static) -> Self {
        Self {
            read: Arc::new(read),
            now: Arc::default(),
        }
    }

    /// Reads the settings again at once.
    pub fn now(&self) {
        self.now.notify_one();
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

/// The parts that take up changes.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// TLS for new connections; `None` where connections are not secured.
    pub(crate) tls: Option<watch::Sender<Tls>>,
    /// Who may do what.
    pub(crate) access: Access,
}

/// Takes up changes until the shutdown.
pub(crate) async fn follow(
    reload: Reload,
    mut present: Config,
    parts: Reloaded,
    shutdown: CancellationToken,
) {
    // So that a mistake that stays is told once.
    let mut told = None;
    loop {
        tokio::select! {
            () = reload.now.notified() => {}
            () = tokio::time::sleep(present.reload_interval) => {}
            () = shutdown.cancelled() => return,
        }
        let read = reload.read.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || read()).await else {
            // It panicked, which is logged; what is in use stays.
            continue;
        };
        match read {
            Ok(new) => {
                told = None;
                if new != present {
                    take_up(&mut present, new, &parts);
                }
            }
            Err(mistakes) => {
                if told.as_ref() != Some(&mistakes) {
                    tracing::error!("kept the settings in force: {mistakes}");
                }
                told = Some(mistakes);
            }
        }
    }
}

fn take_up(present: &mut Config, new: Config, parts: &Reloaded) {
    if let (Some(sender), Some(old), Some(tls)) = (&parts.tls, &mut present.tls, &new.tls)
        && old.options != tls.options
    {
        let renewed = sender.borrow().renew(&old.options, &tls.options);
        match renewed {
            Ok(renewed) => {
                old.options = tls.options.clone();
                sender.send_replace(renewed);
                tracing::info!("the listener's certificates have changed");
            }
            Err(error) => {
                tracing::error!(%error, "failed to use the new certificates; the old ones stay")
            }
        }
    }
    if present.access != new.access {
        match parts.access.change(new.access.clone()) {
            Ok(()) => {
                present.access = new.access.clone();
                tracing::info!("the rules of who may do what have changed");
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!("failed to {error:#}; the old rules stay");
            }
        }
    }
    present.reload_interval = new.reload_interval;
    // Its filter is followed by whoever has the log.
    present.log = new.log.clone();
    if *present != new {
        tracing::warn!("some of the changed settings wait for a restart");
        // Told once for each change.
        *present = new;
    }
}
