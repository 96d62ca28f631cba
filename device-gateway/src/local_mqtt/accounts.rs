//! Who may sign in at the endpoint.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use secrecy::SecretString;
use tokio::sync::watch;

use super::{
    Elsewhere, Event, LocalDevice, LocalMqttError,
    account::Account,
    broker::Standing,
    topics::{Topics, own_device},
};

/// The longest device id: as long as a hub allows.
const DEVICE_ID_CHARS: usize = 128;

/// Who may sign in. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    accounts: Arc<RwLock<HashMap<String, Arc<Account>>>>,
    admitted: watch::Sender<()>,
    /// How the broker stands that the devices are clients of, if they are not ours.
    broker: Option<Arc<Standing>>,
}

impl Accounts {
    /// For devices at somebody else's broker.
    pub(crate) fn at_broker(standing: Arc<Standing>) -> Self {
        Self {
            broker: Some(standing),
            ..Self::default()
        }
    }

    /// How the broker stands, where the devices are at one.
    pub(crate) fn broker(&self) -> Option<&Standing> {
        self.broker.as_deref()
    }

    /// Whose message that is, and what it is to the gateway.
    pub(super) fn told(&self, topic: &str, payload: &Bytes) -> Option<(Arc<Account>, Event)> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let own = own_device(topic).and_then(|device| accounts.get(device));
        let mut candidates = own.into_iter().chain(accounts.values());
        candidates.find_map(|account| {
            let event = account.topics().event(topic, payload)?;
            Some((account.clone(), event))
        })
    }

    /// Every device that there is.
    pub(super) fn all(&self) -> Vec<Arc<Account>> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.values().cloned().collect()
    }

    /// Lets a device sign in with that password, and use those topics outside its corner. Where it could
    /// with another, that one is worth nothing any more, and a connection that used it ends.
    pub(crate) fn admit(
        &self,
        device: &str,
        password: Option<SecretString>,
        elsewhere: Elsewhere,
    ) -> Result<LocalDevice, LocalMqttError> {
        if device.is_empty()
            || device.chars().count() > DEVICE_ID_CHARS
            || device.contains(['/', '+', '#', '\0'])
        {
            return Err(LocalMqttError::DeviceId(device.to_owned()));
        }
        let topics = Topics::of(device, elsewhere);
        let account = Arc::new(Account::new(
            device,
            topics,
            password,
            self.broker.is_some(),
        ));
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
        self.admitted.send_replace(());
        if let Some(former) = former {
            former.close_for_good();
        }
    }

    /// Changes whenever a device is let in or dismissed.
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
