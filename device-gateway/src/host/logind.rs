//! systemd-logind, over the system's message bus.

use std::{
    os::fd,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::StreamExt as _;
use tokio::time;
use zbus::{DBusError as _, connection::Builder, wire::OwnedFd};

/// How long to wait for the bus and for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What we are called on logind's list of inhibitors.
const WHO: &str = "device-gateway";

/// The errors by which the bus says that whoever was asked went away before it answered.
const UNANSWERED: [&str; 4] = [
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Disconnected",
    "org.freedesktop.DBus.Error.Timeout",
    "org.freedesktop.DBus.Error.TimedOut",
];

/// The errors by which the bus says that there is nobody to ask.
const NOBODY: [&str; 2] = [
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
];

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Manager {
    fn can_reboot(&self) -> zbus::Result<String>;
    fn list_inhibitors(&self) -> zbus::Result<Vec<(String, String, String, String, u32, u32)>>;
    fn schedule_shutdown(&self, kind: &str, at_usec: u64) -> zbus::Result<()>;
    fn reboot(&self, interactive: bool) -> zbus::Result<()>;
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;
    #[zbus(signal)]
    fn prepare_for_shutdown(&self, start: bool) -> zbus::Result<()>;
}

/// Why logind did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogindError {
    /// It could not be asked.
    #[error("no connection to the system bus: {0}")]
    Bus(String),
    /// It is not there.
    #[error("systemd-logind does not run on this machine")]
    Nobody,
    /// It said no, and did nothing.
    #[error("{0}")]
    Refused(String),
    /// It was asked and did not answer; it may have done it.
    #[error("no answer from systemd-logind: {0}")]
    Unanswered(String),
}

/// Somebody who forbids a shutdown for now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inhibitor {
    pub(crate) who: String,
    pub(crate) why: String,
}

/// What logind tells everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announcement {
    /// The machine goes down, once nobody delays it any more.
    GoingDown,
    /// It does not, after all.
    StayingUp,
}

/// Logind's announcements, over a connection of their own.
pub(crate) struct Announcements {
    manager: ManagerProxy<'static>,
    stream: PrepareForShutdownStream,
}

impl Announcements {
    /// Waits for the next one. There is none once the bus is gone.
    pub(crate) async fn next(&mut self) -> Option<Announcement> {
        loop {
            let signal = self.stream.next().await?;
            // One that cannot be read is none.
            if let Ok(arguments) = signal.args() {
                return Some(match arguments.start {
                    true => Announcement::GoingDown,
                    false => Announcement::StayingUp,
                });
            }
        }
    }
}

/// systemd-logind on one bus.
#[derive(Debug, Clone)]
pub(crate) struct Logind {
    /// The bus; absent, the system's own.
    bus: Option<String>,
    limit: Duration,
}

impl Logind {
    pub(crate) fn new(bus: Option<String>) -> Self {
        Self {
            bus,
            limit: ANSWER_LIMIT,
        }
    }

    /// The same, with less patience.
    #[cfg(test)]
    pub(crate) fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Asks whether we may reboot the machine: `yes`, or `no`, `challenge` or `na`.
    pub(crate) async fn can_reboot(&self) -> Result<String, LogindError> {
        Ok(self.manager().await?.can_reboot().await?)
    }

    /// Lists who forbids a shutdown; those who only delay it are not asked by us.
    pub(crate) async fn shutdown_inhibitors(&self) -> Result<Vec<Inhibitor>, LogindError> {
        let mut inhibitors: Vec<_> = self
            .manager()
            .await?
            .list_inhibitors()
            .await?
            .into_iter()
            .filter(|(what, _, _, mode, _, _)| {
                mode == "block" && what.split(':').any(|what| what == "shutdown")
            })
            .map(|(_, who, why, _, _, _)| Inhibitor { who, why })
            .collect();
        inhibitors.sort();
        Ok(inhibitors)
    }

    /// Lists who delays a shutdown.
    #[cfg(test)]
    pub(crate) async fn delays(&self) -> Result<Vec<String>, LogindError> {
        let inhibitors = self.manager().await?.list_inhibitors().await?;
        let delays = inhibitors.into_iter().filter(|(what, _, _, mode, _, _)| {
            mode == "delay" && what.split(':').any(|what| what == "shutdown")
        });
        Ok(delays.map(|(_, who, _, _, _, _)| who).collect())
    }

    /// Has something of that kind, `reboot` or `dry-reboot`, done at that moment.
    pub(crate) async fn schedule(&self, kind: &str, at: SystemTime) -> Result<(), LogindError> {
        let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let usec = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX);
        Ok(self.manager().await?.schedule_shutdown(kind, usec).await?)
    }

    /// Reboots at once. Nobody is there to be asked for a password.
    pub(crate) async fn reboot(&self) -> Result<(), LogindError> {
        Ok(self.manager().await?.reboot(false).await?)
    }

    /// Listens from now on.
    pub(crate) async fn announcements(&self) -> Result<Announcements, LogindError> {
        let manager = self.manager().await?;
        let stream = manager.receive_prepare_for_shutdown().await?;
        Ok(Announcements { manager, stream })
    }

    /// Has every shutdown announced before it begins, and delayed until what is returned is closed.
    /// Logind sees who asked by the connection, which therefore is that of the announcements.
    pub(crate) async fn delay_shutdowns(
        &self,
        announcements: &Announcements,
    ) -> Result<fd::OwnedFd, LogindError> {
        let held = announcements
            .manager
            .inhibit(
                "shutdown",
                WHO,
                "records that the machine goes down",
                "delay",
            )
            .await?;
        Ok(held.into())
    }

    /// Connects anew for each question, so that a bus that was restarted needs no care.
    async fn manager(&self) -> Result<ManagerProxy<'static>, LogindError> {
        let builder = match &self.bus {
            Some(address) => Builder::address(address.as_str()),
            // A test that forgot its own bus must not reboot the machine it runs on.
            None if cfg!(test) => {
                return Err(LogindError::Bus("a test has to name its bus".into()));
            }
            None => Builder::system(),
        };
        let connected = builder.method_timeout(self.limit).build();
        let connection = time::timeout(self.limit, connected)
            .await
            .map_err(|_| LogindError::Bus("it does not answer".into()))?
            .map_err(|error| LogindError::Bus(error.to_string()))?;
        let manager = ManagerProxy::builder(&connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build();
        manager
            .await
            .map_err(|error| LogindError::Bus(error.to_string()))
    }
}

impl From<zbus::Error> for LogindError {
    fn from(error: zbus::Error) -> Self {
        // An answer that is an error comes in two forms, by whether its name is a standard one.
        let (name, text) = if let zbus::Error::MethodError(name, text, _) = &error {
            (name.to_string(), text.clone())
        } else if let zbus::Error::FDO(error) = &error {
            let text = error.description().map(str::to_owned);
            (error.name().to_string(), text)
        } else {
            return Self::Unanswered(error.to_string());
        };
        let text = text.unwrap_or_else(|| name.clone());
        if NOBODY.contains(&name.as_str()) {
            Self::Nobody
        } else if UNANSWERED.contains(&name.as_str()) {
            Self::Unanswered(text)
        } else {
            Self::Refused(text)
        }
    }
}
