//! Devices that are reached by running configured commands: whatever a script can do.
//!
//! | command | when | what counts |
//! | --- | --- | --- |
//! | `baseline` | before the reboot | what it prints; a failure says that the device is not reachable |
//! | `trigger` | once | its exit status: 0 acknowledged, another refused, a signal or a timeout nothing |
//! | `observe` | again and again | what it prints; a failure says that the device does not answer |
//! | `health` | once it is back | its exit status: 0 healthy |
//!
//! `baseline` and `observe` print one JSON object, `{"bootId", "uptimeSec", "bootCount", "present",
//! "causeId"}`, each field optional; or one line, which is the boot id. `trigger` finds
//! `DM_REQUEST_ID`, `DM_MODE` and `DM_REASON` in its environment.
//!
//! A rehearsal does not run `trigger`: a script that overlooks a flag must not reboot a device.

mod reading;
pub(crate) mod run;

use futures_util::future::BoxFuture;
pub(crate) use reading::fuzz;
pub(super) use reading::parse;
use run::{End, Finished, run};

use super::{
    Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered,
    reading::{Proofs, Reading},
};
use crate::config::{CommandConfig, CommandLine};

/// How evidence from a command is named.
const METHOD: &str = "command";

/// A device that is reached by running commands.
#[derive(Debug)]
pub struct CommandDriver {
    config: CommandConfig,
}

impl CommandDriver {
    /// A device behind those commands.
    pub fn new(config: CommandConfig) -> Self {
        Self { config }
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
    async fn read(&self, doing: &'static str, line: &CommandLine) -> Result<Reading, DriverError> {
        let finished = self.run(doing, line, &[]).await?;
        if finished.end != End::Exited(0) {
            return Err(DriverError::Unreachable(finished.why()));
        }
        let reading = parse(&finished.printed).map_err(|error| DriverError::Failed {
            doing,
            message: format!("{}: {error}", line.program),
        })?;
        reading.ok_or_else(|| DriverError::Absent("it is said to be absent".to_owned()))
    }

    async fn read_baseline(&self) -> Result<Reading, DriverError> {
        self.read("run the baseline command", &self.config.baseline)
            .await
    }
}

impl Driver for CommandDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            let reading = Reading::if_present(self.read_baseline().await)?;
            let proofs = Proofs::of(reading.as_ref(), self.config.health.is_some());
            Ok(proofs.probe(reading))
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async { Ok(self.read_baseline().await?.baseline()) })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(async {
            order.needs_no_outlet()?;
            if order.dry_run {
                self.read_baseline().await?;
                return Ok(Triggered::Rehearsed);
            }
            let environment = [
                ("DM_REQUEST_ID", order.id.to_string()),
                ("DM_MODE", order.mode.to_string()),
                ("DM_REASON", order.one_line_reason()),
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
            let reading = self
                .read("run the observe command", &self.config.observe)
                .await?;
            Ok(reading.observation(METHOD))
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

#[cfg(test)]
#[path = "command/tests.rs"]
mod tests;
