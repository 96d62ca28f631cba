//! The machine that the gateway runs on, rebooted by systemd-logind.
//!
//! The reboot ends this process too. So what is observed afterwards is observed by the next one:
//! a boot identity that is not the journalled one. The proof that we were the cause is the journal
//! itself, and is the engine's to give.
//!
//! ```text
//!   systemd-logind ── is not there ──► systemctl ── reached nobody ──► a signal to process 1
//! ```
//!
//! Each is asked only when the one before has certainly done nothing. One that says no is obeyed.

mod blockers;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use iot_hub::reboot::{Blocker, Grade, Mode};
use tokio::{sync::mpsc, task, time};

use super::{Baseline, Driver, DriverError, Health, Notice, Observation, Order, Probe, Triggered};
use crate::{
    config::{HostConfig, HostMethod},
    host::{
        boot,
        last_resort::{Done, LastResort, Way},
        logind::{Logind, LogindError},
        shutdowns,
    },
};

/// How evidence from the kernel is named.
const METHOD: &str = "linux-boot-id";

/// How far ahead a shutdown is scheduled: time for the journal to learn that the command left.
const SCHEDULE_AHEAD: Duration = Duration::from_secs(2);

/// How long storage may take to be written. A disk that takes longer is one that a reboot may
/// have been asked for.
const SYNC_LIMIT: Duration = Duration::from_secs(30);

/// The machine that the gateway runs on.
#[derive(Debug)]
pub struct HostDriver {
    config: HostConfig,
    logind: Logind,
    last_resort: LastResort,
    /// Writes what the kernel holds back to storage. A test puts another in its place.
    sync: fn(),
    sync_limit: Duration,
}

/// Who would carry a reboot out.
enum Offer {
    Logind,
    LastResort(Vec<Way>),
}

impl HostDriver {
    /// The machine that those settings describe.
    pub fn new(config: HostConfig) -> Self {
        Self {
            logind: Logind::new(config.bus_address.clone()),
            last_resort: LastResort::new(),
            config,
            sync: rustix::fs::sync,
            sync_limit: SYNC_LIMIT,
        }
    }

    /// Makes sure that a reboot would be carried out, and finds out by whom.
    async fn check_offered(&self) -> Result<Offer, DriverError> {
        let answer = match self.logind.can_reboot().await {
            Ok(answer) => answer,
            Err(error) => {
                return match self.last_resort(&error) {
                    Some(ways) => Ok(Offer::LastResort(ways)),
                    None => Err(unasked(error)),
                };
            }
        };
        let why = match answer.as_str() {
            "yes" => return Ok(Offer::Logind),
            "no" => "systemd-logind does not let this user reboot the machine",
            "challenge" => {
                "systemd-logind would ask a person for a password: polkit has to allow \
                 org.freedesktop.login1.reboot to this user"
            }
            "na" => "this machine cannot be rebooted by systemd-logind",
            other => {
                let why = format!("systemd-logind answers {other:?} to whether it can reboot");
                return Err(DriverError::Unsupported(why));
            }
        };
        Err(DriverError::Unsupported(why.into()))
    }

    async fn inhibitors(&self) -> Result<BTreeMap<String, Blocker>, DriverError> {
        match self.logind.shutdown_inhibitors().await {
            Ok(inhibitors) => Ok(blockers::named(inhibitors)),
            // Whoever would keep the list is not there, and neither is anybody on it.
            Err(error) if self.last_resort(&error).is_some() => Ok(BTreeMap::new()),
            Err(error) => Err(unasked(error)),
        }
    }

    async fn give(&self, order: &Order) -> Result<Triggered, DriverError> {
        let asks_first = match order.mode {
            Mode::Graceful => !order.force,
            Mode::Forced => false,
            Mode::PowerCycle => {
                return Err(DriverError::Unsupported(
                    "a machine cannot take its own power away".into(),
                ));
            }
        };
        let ways = self.check_offered().await?;
        if asks_first && let Some(blocker) = self.inhibitors().await?.into_values().next() {
            let why = format!("{} forbids it: {}", blocker.who, blocker.why);
            return Err(DriverError::Refused(why));
        }
        self.sync_storage().await;
        let rehearse = order.dry_run || self.config.dry_run;
        match ways {
            Offer::Logind => match self.ask_logind(rehearse).await {
                Ok(()) if rehearse => Ok(Triggered::Rehearsed),
                Ok(()) => Ok(Triggered::Acknowledged),
                // It may be going down already.
                Err(LogindError::Unanswered(_)) => Ok(Triggered::Unacknowledged),
                Err(error) => match self.last_resort(&error) {
                    Some(ways) => self.resort(ways, rehearse).await,
                    None => Err(unasked(error)),
                },
            },
            Offer::LastResort(ways) => self.resort(ways, rehearse).await,
        }
    }

    async fn ask_logind(&self, rehearse: bool) -> Result<(), LogindError> {
        let at = SystemTime::now() + SCHEDULE_AHEAD;
        match self.config.method {
            _ if rehearse => self.logind.schedule("dry-reboot", at).await,
            HostMethod::Schedule => self.logind.schedule("reboot", at).await,
            HostMethod::Reboot => self.logind.reboot().await,
        }
    }

    /// The ways that are left when logind could not be asked; none when it was, or may have been.
    fn last_resort(&self, error: &LogindError) -> Option<Vec<Way>> {
        let certainly_nothing = match error {
            LogindError::Bus(_) | LogindError::Nobody => true,
            LogindError::Refused(_) | LogindError::Unanswered(_) => false,
        };
        let ways = self.last_resort.ways();
        (certainly_nothing && self.config.fallback && !ways.is_empty()).then_some(ways)
    }

    /// Goes one way after the other, as long as each has certainly done nothing.
    async fn resort(&self, ways: Vec<Way>, rehearse: bool) -> Result<Triggered, DriverError> {
        if rehearse {
            return Ok(Triggered::Rehearsed);
        }
        let mut why = Vec::new();
        for way in ways {
            tracing::warn!(?way, "systemd-logind cannot be asked, rebooting without it");
            match self.last_resort.go(&way).await {
                Done::Taken => return Ok(Triggered::Acknowledged),
                Done::Perhaps => return Ok(Triggered::Unacknowledged),
                Done::Refused(words) => return Err(DriverError::Refused(words)),
                Done::Failed(message) => {
                    let doing = "reboot without systemd-logind";
                    return Err(DriverError::Failed { doing, message });
                }
                Done::Nothing(words) => why.push(words),
            }
        }
        Err(DriverError::Unreachable(why.join(", then ")))
    }

    /// Writes what the kernel holds back to storage, as far as that goes in time.
    async fn sync_storage(&self) {
        let synced = task::spawn_blocking(self.sync);
        if time::timeout(self.sync_limit, synced).await.is_err() {
            tracing::warn!(limit = ?self.sync_limit, "storage is not synced in time, going on");
        }
    }

    async fn boot_id(&self) -> Result<String, DriverError> {
        let file = &self.config.boot_id_file;
        boot::id(file)
            .await
            .map_err(|error| unread("read the boot id", file, &error))
    }

    async fn uptime(&self) -> Result<Duration, DriverError> {
        let file = &self.config.uptime_file;
        boot::uptime(file)
            .await
            .map_err(|error| unread("read the uptime", file, &error))
    }
}

impl Driver for HostDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            self.check_offered().await?;
            Ok(Probe {
                modes: vec![Mode::Graceful, Mode::Forced],
                best_grade: Grade::Caused,
                // The journal is on the machine, so the cause can always be shown.
                required_grade: Grade::Caused,
                boot_id: Some(self.boot_id().await?),
                restarts_gateway: true,
            })
        })
    }

    fn blockers(
        &self,
        mode: Mode,
    ) -> BoxFuture<'_, Result<BTreeMap<String, Blocker>, DriverError>> {
        Box::pin(async move {
            match mode {
                Mode::Graceful => self.inhibitors().await,
                Mode::Forced | Mode::PowerCycle => Ok(BTreeMap::new()),
            }
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let boot_id = self.boot_id().await?;
            let uptime = self.uptime().await?;
            Ok(Baseline {
                detail: describe(&boot_id, uptime),
                boot_id: Some(boot_id),
                uptime: Some(uptime),
                boot_count: None,
            })
        })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(self.give(order))
    }

    fn observe<'a>(
        &'a self,
        _baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            let boot_id = self.boot_id().await?;
            let uptime = self.uptime().await?;
            Ok(Observation {
                // Whoever observes runs on it.
                present: true,
                was_absent: false,
                detail: describe(&boot_id, uptime),
                boot_id: Some(boot_id),
                uptime: Some(uptime),
                boot_count: None,
                caused_by: None,
                method: METHOD,
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async { Ok(Health::Unknown) })
    }

    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        Some(shutdowns::listen(self.logind.clone()))
    }
}

/// Why logind was not asked, or said no: in each case nothing happened.
fn unasked(error: LogindError) -> DriverError {
    let words = error.to_string();
    match error {
        LogindError::Bus(_) | LogindError::Unanswered(_) => DriverError::Unreachable(words),
        LogindError::Nobody => DriverError::Unsupported(words),
        LogindError::Refused(_) => DriverError::Refused(words),
    }
}

fn unread(doing: &'static str, file: &Path, error: &io::Error) -> DriverError {
    DriverError::Failed {
        doing,
        message: format!("{}: {error}", file.display()),
    }
}

fn describe(boot_id: &str, uptime: Duration) -> String {
    format!("boot {boot_id}, up {} s", uptime.as_secs())
}

#[cfg(test)]
mod tests;
