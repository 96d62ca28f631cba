//! Who may sign in at the endpoint.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use secrecy::SecretString;
use tokio::sync::watch;

use super::{LocalDevice, LocalMqttError, account::Account, topics::Topics};

/// The longest device id: as long as a hub allows.
const DEVICE_ID_CHARS: usize = 128;

/// Who may sign in. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    accounts: Arc<RwLock<HashMap<String, Arc<Account>>>>,
    admitted: watch::Sender<()>,
}

impl Accounts {
    /// Lets a device sign in with that password, and use topics outside its corner that begin with
    /// one of those. Where it could with another, that one is worth
    /// nothing any more, and a connection that used it ends.
    pub(crate) fn admit(
        &self,
        device: &str,
        password: SecretString,
        elsewhere: impl IntoIterator<Item = String>,
    ) -> Result<LocalDevice, LocalMqttError> {
        if device.is_empty()
            || device.chars().count() > DEVICE_ID_CHARS
            || device.contains(['/', '+', '#', '\0'])
        {
            return Err(LocalMqttError::DeviceId(device.to_owned()));
        }
        let topics = Topics::of(device, elsewhere);
        let account = Arc::new(Account::new(device, topics, password));
        let mut accounts = self
            .accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let former = accounts.insert(device.to_owned(), account.clone());
        drop(accounts);
        self.admitted.send_replace(());
        if let Some(former) = former {
            former.close_for_good();
        }
        Ok(LocalDevice { account })
    }

    /// Lets a device sign in no more; its connection ends.
    pub(crate) fn dismiss(&self, device: &str) {
        let mut accounts = self
            .accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let former = accounts.remove(device);
        drop(accounts);
        if let Some(former) = former {
            former.close_for_good();
        }
    }

    /// Changes whenever a device is let in.
    pub(crate) fn admitted(&self) -> watch::Receiver<()> {
        self.admitted.subscribe()
    }

    /// How many devices are connected.
    pub(crate) fn connected(&self) -> usize {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let accounts = accounts.values();
        accounts.filter(|account| account.is_connected()).count()
    }

    /// Whether a device is connected; nothing, where it may not sign in at all.
    pub(crate) fn is_connected(&self, device: &str) -> Option<bool> {
        Some(self.find(device)?.is_connected())
    }

    /// The gateway's end of one device.
    pub(crate) fn device(&self, device: &str) -> Option<LocalDevice> {
        let account = self.find(device)?;
        Some(LocalDevice { account })
    }

    pub(super) fn find(&self, device: &str) -> Option<Arc<Account>> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.get(device).cloned()
    }
}
