//! What has left and is not known to have arrived.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Publishes that the hub has to acknowledge, by the packets that carry them.
#[derive(Debug)]
pub(super) struct Unacknowledged<T>(BTreeMap<u16, Sent<T>>);

#[derive(Debug)]
struct Sent<T> {
    what: T,
    /// When the acknowledgement is overdue.
    until: Instant,
}

impl<T> Unacknowledged<T> {
    pub(super) fn insert(&mut self, pkid: u16, what: T, until: Instant) {
        self.0.insert(pkid, Sent { what, until });
    }

    pub(super) fn remove(&mut self, pkid: u16) -> Option<T> {
        self.0.remove(&pkid).map(|sent| sent.what)
    }

    pub(super) fn contains(&self, pkid: u16) -> bool {
        self.0.contains_key(&pkid)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the first acknowledgement is overdue.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.0.values().map(|sent| sent.until).min()
    }

    pub(super) fn into_items(self) -> impl Iterator<Item = T> {
        self.0.into_values().map(|sent| sent.what)
    }
}

impl<T> Default for Unacknowledged<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}
