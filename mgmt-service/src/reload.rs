//! Takes up changed certificates, keys and rules without a restart.
//!
//! The settings are read again, whole, from time to time and when told to, with every file that they
//! name. What can change while the service runs is taken up; settings with a mistake in them change
//! nothing, and the log says what is wrong.

use std::{fmt, sync::Arc};

use daemon::settings::Mistakes;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    config::Config,
    tls::{Tls, TlsOptions},
};

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
    pub(crate) tls: Option<TlsInUse>,
    /// Who may do what.
    pub(crate) access: Access,
}

/// TLS as it is spoken with new connections, and what it was made of.
#[derive(Debug)]
pub(crate) struct TlsInUse {
    pub(crate) sender: watch::Sender<Tls>,
    pub(crate) options: TlsOptions,
}

/// Takes up changes until the shutdown.
pub(crate) async fn follow(
    reload: Reload,
    mut present: Config,
    mut parts: Reloaded,
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
                    take_up(&mut present, new, &mut parts);
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

fn take_up(present: &mut Config, new: Config, parts: &mut Reloaded) {
    if let (Some(in_use), Some(tls)) = (&mut parts.tls, &new.tls)
        && in_use.options != tls.options
    {
        let renewed = in_use.sender.borrow().renew(&in_use.options, &tls.options);
        match renewed {
            Ok(renewed) => {
                in_use.options = tls.options.clone();
                if let Some(present) = &mut present.tls {
                    present.options = tls.options.clone();
                }
                in_use.sender.send_replace(renewed);
                tracing::info!("the listener's certificates have changed");
            }
            Err(error) => {
                tracing::error!(%error, "failed to use the new certificates; the old ones stay")
            }
        }
    }
    // Rules that let everybody in were checked beside an address of the same settings, and it is not theirs
    // that is listened on.
    let opens = new.access.policy.open && !parts.access.is_open();
    if present.access != new.access && !opens {
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::access::{right::Right, who::Identity};

    const HUB: &str = "[hub]\nconnection_string = \"HostName=hub.example;\
        SharedAccessKeyName=service;SharedAccessKey=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"\n";
    const TOKEN: &str = "[[access.static_token]]\nname = \"laptop\"\nfile = \"laptop.token\"\n";
    const ADMIN: &str = "[[access.binding]]\nwho = \"token:laptop\"\nrole = \"admin\"\n";
    const TLS: &str = "[tls]\ncert_file = \"server.pem\"\nkey_file = \"server.key\"\n";

    fn config(folder: &Path, parts: &[&str]) -> Config {
        Config::parse(&parts.concat(), folder, None).unwrap()
    }

    fn access(config: &Config) -> Access {
        Access::start(config.access.clone(), CancellationToken::new()).unwrap()
    }

    #[tokio::test]
    async fn nobody_is_let_in_by_the_loss_of_the_credentials() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("laptop.token"), "0123456789abcdef").unwrap();
        let config = |parts: &[&str]| config(folder.path(), parts);
        let mut present = config(&[HUB, TOKEN, ADMIN]);
        let access = access(&present);
        let mut parts = Reloaded {
            tls: None,
            access: access.clone(),
        };
        for _ in 0..2 {
            take_up(&mut present, config(&[HUB]), &mut parts);
            let grants = access.grants(&Identity::Anonymous);
            assert!(!grants.somewhere(Right::View) && !access.is_open());
        }
        let viewer = ADMIN.replace("admin", "viewer");
        take_up(&mut present, config(&[HUB, TOKEN, &viewer]), &mut parts);
        let grants = access.grants(&Identity::Token(present.access.tokens[0].clone()));
        assert!(grants.somewhere(Right::View) && !grants.somewhere(Right::Force));
    }

    #[tokio::test]
    async fn a_certificate_is_renewed_although_the_settings_had_none_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let write = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let certificate = params.self_signed(&key).unwrap();
            fs::write(folder.path().join("server.pem"), certificate.pem()).unwrap();
            fs::write(folder.path().join("server.key"), key.serialize_pem()).unwrap();
        };
        let config = |parts: &[&str]| config(folder.path(), parts);
        write();
        let mut present = config(&[HUB, TLS]);
        let options = present.tls.clone().unwrap().options;
        let sender = watch::Sender::new(Tls::new(&options).unwrap());
        let mut shown = sender.subscribe();
        let mut parts = Reloaded {
            tls: Some(TlsInUse { sender, options }),
            access: access(&present),
        };
        take_up(&mut present, config(&[HUB]), &mut parts);
        assert!(!shown.has_changed().unwrap(), "it stays in use");
        write();
        take_up(&mut present, config(&[HUB, TLS]), &mut parts);
        assert!(shown.has_changed().unwrap());
        shown.mark_unchanged();
        take_up(&mut present, config(&[HUB, TLS]), &mut parts);
        assert!(!shown.has_changed().unwrap());
    }
}
