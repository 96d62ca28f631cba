//! The machine that the gateway runs on, rebooted by systemd-logind.
//!
//! The reboot ends this process too. So what is observed afterwards is observed by the next one:
//! a boot identity that is not the journalled one. The proof that we were the cause is the journal
//! itself, and is the engine's to give.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use iot_hub::reboot::{Blocker, Grade, Mode};
use tokio::{task, time};

use super::{Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered};
use crate::{
    config::{HostConfig, HostMethod},
    host::{
        boot,
        logind::{Logind, LogindError},
    },
};

/// How evidence from the kernel is named.
const METHOD: &str = "linux-boot-id";

/// How far ahead a shutdown is scheduled: time for the journal to learn that the command left.
const SCHEDULE_AHEAD: Duration = Duration::from_secs(2);

/// How long storage may take to be written. A disk that takes longer is one that a reboot may
/// have been asked for.
const SYNC_LIMIT: Duration = Duration::from_secs(30);

/// The longest word of an inhibitor that is passed on.
const WORDS_CHARS: usize = 128;

/// The machine that the gateway runs on.
#[derive(Debug)]
pub struct HostDriver {
    config: HostConfig,
    logind: Logind,
    /// Writes what the kernel holds back to storage. A test puts another in its place.
    sync: fn(),
    sync_limit: Duration,
}

impl HostDriver {
    /// The machine that those settings describe.
    pub fn new(config: HostConfig) -> Self {
        Self {
            logind: Logind::new(config.bus_address.clone()),
            config,
            sync: rustix::fs::sync,
            sync_limit: SYNC_LIMIT,
        }
    }

    /// Makes sure that a reboot would be carried out.
    async fn check_offered(&self) -> Result<(), DriverError> {
        let answer = self.logind.can_reboot().await.map_err(unasked)?;
        let why = match answer.as_str() {
            "yes" => return Ok(()),
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
        let inhibitors = self.logind.shutdown_inhibitors().await.map_err(unasked)?;
        let mut blockers = BTreeMap::new();
        for inhibitor in inhibitors {
            let name = format!("inhibitor-{}", property_name(&inhibitor.who));
            // The same program may hold several; they are told apart by their order.
            let mut id = name.clone();
            let mut number = 2;
            while blockers.contains_key(&id) {
                id = format!("{name}-{number}");
                number += 1;
            }
            let blocker = Blocker {
                who: clip(&inhibitor.who),
                why: clip(&inhibitor.why),
                until: None,
            };
            blockers.insert(id, blocker);
        }
        Ok(blockers)
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
        self.check_offered().await?;
        if asks_first && let Some(blocker) = self.inhibitors().await?.into_values().next() {
            let why = format!("{} forbids it: {}", blocker.who, blocker.why);
            return Err(DriverError::Refused(why));
        }
        self.sync_storage().await;

        let at = SystemTime::now() + SCHEDULE_AHEAD;
        let asked = if order.dry_run || self.config.dry_run {
            self.logind.schedule("dry-reboot", at).await
        } else {
            match self.config.method {
                HostMethod::Schedule => self.logind.schedule("reboot", at).await,
                HostMethod::Reboot => self.logind.reboot().await,
            }
        };
        match asked {
            Ok(()) if order.dry_run || self.config.dry_run => Ok(Triggered::Rehearsed),
            Ok(()) => Ok(Triggered::Acknowledged),
            // It may be going down already.
            Err(LogindError::Unanswered(_)) => Ok(Triggered::Unacknowledged),
            Err(error @ (LogindError::Bus(_) | LogindError::Nobody | LogindError::Refused(_))) => {
                Err(unasked(error))
            }
        }
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
                typical_duration: None,
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

/// Makes a name fit for a property of a twin.
fn property_name(words: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    words.chars().take(WORDS_CHARS).map(fit).collect()
}

/// Makes somebody's words fit for a report.
fn clip(words: &str) -> String {
    let printable = words.chars().filter(|c| !c.is_control());
    printable.take(WORDS_CHARS).collect()
}

fn describe(boot_id: &str, uptime: Duration) -> String {
    format!("boot {boot_id}, up {} s", uptime.as_secs())
}

#[cfg(test)]
#[path = "host/tests.rs"]
mod tests;
