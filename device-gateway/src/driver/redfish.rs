//! Computers whose baseboard management controller (BMC) speaks Redfish: it resets the system, and
//! shows what became of that.
//!
//! The BMC is not the system. One that does not answer says nothing of the system behind it, and what
//! it shows is the hardware's reset: whether the system above it is of use is not known here.
//!
//! | what the BMC shows | what that is |
//! | --- | --- |
//! | `LastResetTime` that grew | another boot |
//! | `LastResetTime` as before | the boot of before; or nothing, once the system was seen down |
//! | `PowerState` other than On | the system is away |
//! | `BootProgress` before `OSRunning`, where it had got to that before the command | the system is away |
//! | the task of the command | words for a person |
//!
//! - `document`: what the documents mean.
//! - `service`: the way to them, and signing in.

mod document;
mod service;

pub(crate) use document::fuzz;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use document::{OS_RUNNING, Reset, System};
use futures_util::future::BoxFuture;
use iot_hub::reboot::{Grade, Mode};
use serde_json::json;
use service::{Accepted, Service};

use super::{
    Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered,
    http::{ClientError, Trouble, no_evidence},
    reading::Reading,
};
use crate::config::RedfishConfig;

/// How evidence from a BMC is named.
const METHOD: &str = "redfish";

/// Where every service begins.
const ROOT: &str = "/redfish/v1/";

/// A computer behind its BMC.
#[derive(Debug)]
pub struct RedfishDriver {
    service: Service,
    /// The system that is meant, of several.
    named: Option<String>,
    /// Where the system was found.
    found: Mutex<Option<String>>,
    /// The system was seen down since the baseline.
    went_away: AtomicBool,
    task: Mutex<Option<Task>>,
}

/// What the BMC does because of a command.
#[derive(Debug, Clone)]
struct Task {
    /// Where it tells; nothing once it has ended.
    monitor: Option<String>,
    words: String,
}

impl RedfishDriver {
    /// A computer behind those settings.
    pub fn new(config: RedfishConfig) -> Result<Self, ClientError> {
        Ok(Self {
            service: Service::new(config.endpoint, config.session)?,
            named: config.system,
            found: Mutex::default(),
            went_away: AtomicBool::new(false),
            task: Mutex::default(),
        })
    }

    async fn look(&self) -> Result<System, Trouble> {
        let known = lock(&self.found).clone();
        let path = match known {
            Some(path) => path,
            None => self.find().await?,
        };
        let document = self.service.get(&path).await;
        // Where there is none any more, another one is looked for next time.
        *lock(&self.found) = document.is_ok().then_some(path);
        Ok(System::of(&document?))
    }

    /// Follows the links to the system.
    async fn find(&self) -> Result<String, Trouble> {
        let root = self.service.get(ROOT).await?;
        let systems = document::link(&root, "Systems");
        let systems = systems.ok_or_else(|| Trouble::Error("it has no systems".to_owned()))?;
        let members = document::members(&self.service.get(&systems).await?);
        document::choose(members, self.named.as_deref()).map_err(Trouble::Error)
    }

    /// The ways to reset the system, and where.
    async fn reset_of(&self, system: &System) -> Result<(String, Vec<Mode>), Trouble> {
        let nowhere = || Trouble::Error("it offers no reset of the system".to_owned());
        let Reset {
            target,
            allowed,
            info,
        } = system.reset.clone().ok_or_else(nowhere)?;
        let allowed = match (allowed, info) {
            (None, Some(info)) => document::allowed(&self.service.get(&info).await?),
            (allowed, _) => allowed,
        };
        Ok((target, document::modes(allowed.as_deref())))
    }

    async fn give(&self, order: &Order) -> Result<Triggered, DriverError> {
        let system = self.look().await.map_err(before_command)?;
        let (target, modes) = self.reset_of(&system).await.map_err(before_command)?;
        let kind = document::reset_type(order.mode);
        if !modes.contains(&order.mode) {
            return Err(DriverError::Unsupported(format!("its reset has no {kind}")));
        }
        if order.dry_run {
            return Ok(Triggered::Rehearsed);
        }
        *lock(&self.task) = None;
        let command = json!({ "ResetType": kind });
        match self.service.post(&target, &command).await {
            Ok(Accepted { monitor }) => {
                *lock(&self.task) = monitor.map(|monitor| Task {
                    monitor: Some(monitor),
                    words: "task begun".to_owned(),
                });
                Ok(Triggered::Acknowledged)
            }
            Err(trouble) => trouble.after_command(),
        }
    }

    /// What the BMC says of the command's task: never a proof, but perhaps the reason for its lack.
    async fn task(&self) -> Option<String> {
        let mut task = lock(&self.task).clone()?;
        if let Some(monitor) = &task.monitor {
            // A BMC forgets its tasks, and what it said last is kept.
            if let Ok((ended, words)) = self.service.task(monitor).await {
                task.words = words;
                task.monitor.take_if(|_| ended);
                *lock(&self.task) = Some(task.clone());
            }
        }
        Some(task.words)
    }

    async fn observed(&self, baseline: &Baseline) -> Result<Observation, DriverError> {
        let system = self.look().await.map_err(|trouble| match trouble {
            Trouble::Silence(why) => no_evidence(format!("the BMC does not answer: {why}")),
            Trouble::Status(..) | Trouble::Error(_) => trouble.while_looking(),
        })?;
        if let Some(why) = system.why_away(baseline.detail.contains(OS_RUNNING)) {
            self.went_away.store(true, Ordering::Relaxed);
            return Err(DriverError::Absent(why));
        }
        let detail = match self.task().await {
            Some(task) => format!("{system}, {task}"),
            None => system.to_string(),
        };
        let went_away = self.went_away.load(Ordering::Relaxed);
        let reading = Reading {
            boot_id: system.boot_since(baseline.boot_id.as_deref(), went_away),
            ..Reading::default()
        };
        Ok(Observation {
            detail,
            ..reading.observation(METHOD)
        })
    }
}

impl Driver for RedfishDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            let system = self.look().await.map_err(Trouble::while_looking)?;
            let reset = self.reset_of(&system).await;
            let (_, modes) = reset.map_err(Trouble::while_looking)?;
            let best_grade = match system.last_reset {
                Some(_) => Grade::BootChanged,
                None => Grade::Returned,
            };
            Ok(Probe {
                modes,
                best_grade,
                required_grade: best_grade,
                boot_id: system.boot_id(),
                restarts_gateway: false,
            })
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let system = self.look().await.map_err(Trouble::while_looking)?;
            if let Some(why) = system.why_away(false) {
                return Err(DriverError::Absent(why));
            }
            self.went_away.store(false, Ordering::Relaxed);
            Ok(Baseline {
                boot_id: system.boot_id(),
                detail: system.to_string(),
                ..Baseline::default()
            })
        })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(self.give(order))
    }

    fn observe<'a>(
        &'a self,
        baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(self.observed(baseline))
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async {
            match self.look().await {
                Ok(system) => Ok(system.health),
                Err(trouble) => trouble.while_checking(),
            }
        })
    }
}

/// What a look means that fails before the command is given: there was none.
fn before_command(trouble: Trouble) -> DriverError {
    match trouble.while_looking() {
        DriverError::Failed { message, .. } => DriverError::Refused(message),
        error @ (DriverError::Unreachable(_)
        | DriverError::Absent(_)
        | DriverError::Refused(_)
        | DriverError::Unsupported(_)) => error,
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    // No holder of the lock can leave the value half changed.
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
