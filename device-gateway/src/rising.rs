//! A number that rises, for whoever waits until it does.
//!
//! A channel that tells its value has five times the room, and each device has several of these.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rising {
    number: AtomicU64,
    risen: Notify,
}

impl Rising {
    /// The next number.
    pub(crate) fn rise(&self) -> u64 {
        let number = self.number.fetch_add(1, Ordering::SeqCst) + 1;
        self.risen.notify_waiters();
        number
    }

    /// It is at least that.
    pub(crate) fn rise_to(&self, number: u64) {
        self.number.fetch_max(number, Ordering::SeqCst);
        self.risen.notify_waiters();
    }

    /// The number.
    pub(crate) fn now(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    /// Waits until the number is as it has to be, and returns it.
    pub(crate) async fn until(&self, is_so: impl Fn(u64) -> bool) -> u64 {
        loop {
            // It is told of every rise from here on.
            let risen = self.risen.notified();
            let number = self.now();
            if is_so(number) {
                return number;
            }
            risen.await;
        }
    }
}
