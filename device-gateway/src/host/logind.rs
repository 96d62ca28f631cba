//! systemd-logind, over the system's message bus.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time;
use zbus::{DBusError as _, connection::Builder};

/// How long to wait for the bus and for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

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
