//! What systemd is told over `sd_notify`. Without systemd, which is without `NOTIFY_SOCKET` in the
//! environment, all of this does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// The program serves.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The program reads its settings again; [`ready`] tells that it has.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot notify systemd"),
    }
}

/// The program was told to stop and does so.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The state of the program in a few words, as `systemctl status` shows it.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// systemd's watchdog, which ends and restarts a program that does not feed it in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdog {
    limit: Duration,
}

impl Watchdog {
    /// The watchdog over this process, when its unit has `WatchdogSec=`.
    pub fn over_us() -> Option<Self> {
        let limit = sd_notify::watchdog_enabled()?;
        (!limit.is_zero()).then_some(Self { limit })
    }

    /// How often to feed it: twice within its limit, as systemd recommends.
    pub fn interval(&self) -> Duration {
        self.limit / 2
    }

    /// Feeds it. To be called from what has to be alive, not from a task beside it.
    pub fn feed(&self) {
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, ?states, "cannot notify systemd");
    }
}
