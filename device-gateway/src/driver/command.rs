//! Devices that are reached by running configured commands: whatever a script can do.
//!
//! | command | when | what counts |
//! | --- | --- | --- |
//! | `baseline` | before the reboot | what it prints; a failure says that the device is not reachable |
//! | `trigger` | once | its exit status: 0 acknowledged, another refused, a signal or a timeout nothing |
//! | `observe` | again and again | what it prints; a failure says that the device is absent |
//! | `health` | once it is back | its exit status: 0 healthy |
//!
//! `baseline` and `observe` print one JSON object, `{"bootId", "uptimeSec", "bootCount", "present",
//! "causeId"}`, each field optional; or one line, which is the boot id. `trigger` finds
//! `DM_REQUEST_ID`, `DM_MODE` and `DM_REASON` in its environment.
//!
//! A rehearsal does not run `trigger`: a script that overlooks a flag must not reboot a device.

mod reading;
mod run;

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use iot_hub::reboot::{Grade, Mode};
use reading::Reading;
pub(crate) use reading::fuzz;
use run::{End, Finished, run};

use super::{Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered};
use crate::config::{CommandConfig, CommandLine};

/// How evidence from a command is named.
const METHOD: &str = "command";

/// A device that is reached by running commands.
#[derive(Debug)]
pub struct CommandDriver {
    config: CommandConfig,
    was_absent: AtomicBool,
}

impl CommandDriver {
    /// A device behind those commands.
    pub fn new(config: CommandConfig) -> Self {
        Self {
            config,
            was_absent: AtomicBool::new(false),
        }
    }

    async fn run(
        &self,
        doing: &'static str,
        line: &CommandLine,
        environment: &[(&str, String)],
    ) -> Result<Finished, DriverError> {
        run(line, environment, self.config.timeout)
            .await
            .map_err(|error| DriverError::Failed {
                doing,
                message: format!("{}: {error}", line.program),
            })
    }

    /// Runs a command that prints what the device looks like. A device that it cannot reach is
    /// one that is not there, and that is no failure of ours.
    async fn read(
        &self,
        doing: &'static str,
        line: &CommandLine,
    ) -> Result<Result<Reading, String>, DriverError> {
        let finished = self.run(doing, line, &[]).await?;
        if finished.end != End::Exited(0) {
            return Ok(Err(finished.why()));
        }
        let reading = reading::parse(&finished.printed).map_err(|error| DriverError::Failed {
            doing,
            message: format!("{}: {error}", line.program),
        })?;
        if reading.absent {
            return Ok(Err("it is said to be absent".to_owned()));
        }
        Ok(Ok(reading))
    }

    async fn read_baseline(&self) -> Result<Reading, DriverError> {
        self.read("run the baseline command", &self.config.baseline)
            .await?
            .map_err(DriverError::Unreachable)
    }

    /// The strongest evidence that such readings can give.
    fn best_grade(&self, reading: Option<&Reading>) -> Grade {
        let identity =
            reading.is_none_or(|seen| seen.boot_id.is_some() || seen.boot_count.is_some());
        let uptime = reading.is_some_and(|seen| seen.uptime.is_some());
        match (identity, uptime) {
            (true, _) if self.config.health.is_some() => Grade::Healthy,
            (true, _) => Grade::Caused,
            (false, true) => Grade::UptimeReset,
            (false, false) => Grade::Returned,
        }
    }
}

impl Driver for CommandDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            let reading = match self.read_baseline().await {
                Ok(reading) => Some(reading),
                // What it can do does not depend on where it is.
                Err(DriverError::Unreachable(_)) => None,
                Err(error) => return Err(error),
            };
            let best_grade = self.best_grade(reading.as_ref());
            Ok(Probe {
                modes: vec![Mode::Graceful, Mode::Forced],
                best_grade,
                required_grade: best_grade.min(Grade::BootChanged),
                boot_id: reading.and_then(|reading| reading.boot_id),
                typical_duration: None,
                restarts_gateway: false,
            })
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let reading = self.read_baseline().await?;
            Ok(Baseline {
                detail: describe(&reading),
                boot_id: reading.boot_id,
                uptime: reading.uptime,
                boot_count: reading.boot_count,
            })
        })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(async {
            match order.mode {
                Mode::Graceful | Mode::Forced => {}
                Mode::PowerCycle => {
                    return Err(DriverError::Unsupported(
                        "a command gives no power cycle".into(),
                    ));
                }
            }
            if order.dry_run {
                self.read_baseline().await?;
                return Ok(Triggered::Rehearsed);
            }
            self.was_absent.store(false, Ordering::Relaxed);
            let environment = [
                ("DM_REQUEST_ID", order.id.to_string()),
                ("DM_MODE", order.mode.to_string()),
                // An environment cannot hold a NUL, and a script expects one line.
                ("DM_REASON", order.reason.replace(char::is_control, " ")),
            ];
            let finished = self
                .run(
                    "run the trigger command",
                    &self.config.trigger,
                    &environment,
                )
                .await?;
            match finished.end {
                End::Exited(0) => Ok(Triggered::Acknowledged),
                End::Exited(_) => Err(DriverError::Refused(finished.why())),
                // It may have gone down with the device, or be stuck in a dead connection to it.
                End::Killed(_) | End::TimedOut => Ok(Triggered::Unacknowledged),
            }
        })
    }

    fn observe<'a>(
        &'a self,
        _baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            let read = self
                .read("run the observe command", &self.config.observe)
                .await?;
            if read.is_err() {
                self.was_absent.store(true, Ordering::Relaxed);
            }
            let present = read.is_ok();
            let (reading, detail) = match read {
                Ok(reading) => {
                    let detail = describe(&reading);
                    (reading, detail)
                }
                Err(why) => (Reading::default(), why),
            };
            Ok(Observation {
                present,
                was_absent: self.was_absent.load(Ordering::Relaxed),
                boot_id: reading.boot_id,
                uptime: reading.uptime,
                boot_count: reading.boot_count,
                caused_by: reading.cause,
                method: METHOD,
                detail,
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async {
            let Some(line) = &self.config.health else {
                return Ok(Health::Unknown);
            };
            let finished = self.run("run the health command", line, &[]).await?;
            Ok(match finished.end {
                End::Exited(0) => Health::Healthy,
                End::Exited(_) | End::Killed(_) | End::TimedOut => {
                    Health::Unhealthy(finished.why())
                }
            })
        })
    }
}

fn describe(reading: &Reading) -> String {
    let words = [
        reading.boot_id.as_ref().map(|id| format!("boot {id}")),
        reading
            .boot_count
            .map(|count| format!("boot number {count}")),
        reading
            .uptime
            .map(|time| format!("up {} s", time.as_secs())),
    ];
    let words: Vec<_> = words.into_iter().flatten().collect();
    if words.is_empty() {
        return "it answers".to_owned();
    }
    words.join(", ")
}

#[cfg(test)]
#[path = "command/tests.rs"]
mod tests;
