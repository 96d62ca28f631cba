//! Devices that are reached by SSH: a command for each step, on the device itself.
//!
//! The device has to prove itself by the host key that the settings name before anything is sent to it;
//! another key is an error that says so. A trigger whose connection is cut, as it is when a device goes
//! down, is no error.
//!
//! - `trust`: host keys, and what the gateway signs in with.
//! - `session`: one connection for one command.

mod session;
mod trust;

use futures_util::future::BoxFuture;
use iot_hub::reboot::Mode;
use session::{Finished, SshError};
pub use trust::{ClientKey, Credential, HostKey, Trust};

use super::{
    Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered, command,
    reading::{Proofs, Reading, last_line},
};
use crate::config::SshConfig;

/// How evidence by SSH is named.
const METHOD: &str = "ssh";

/// A device that is reached by SSH.
#[derive(Debug)]
pub struct SshDriver {
    config: SshConfig,
}

impl SshDriver {
    /// A device behind those settings.
    pub fn new(config: SshConfig) -> Self {
        Self { config }
    }

    async fn read(&self) -> Result<Reading, DriverError> {
        let finished = self.run(&self.config.look).await?;
        let failed = |message: String| DriverError::Failed {
            doing: "look at the device",
            message,
        };
        match finished.status {
            Some(0) => {
                let reading = command::parse(&finished.printed);
                let reading = reading.map_err(|error| failed(error.to_string()))?;
                reading.ok_or_else(|| DriverError::Absent("it is said to be absent".into()))
            }
            Some(_) => Err(failed(finished.why())),
            // It goes down.
            None => Err(DriverError::Unreachable(finished.why())),
        }
    }

    /// Runs a command that changes nothing.
    async fn run(&self, command: &str) -> Result<Finished, DriverError> {
        session::run(&self.config, command)
            .await
            .map_err(|error| match error {
                SshError::Unreachable(why) => DriverError::Unreachable(why),
                SshError::TurnedAway(why) => DriverError::Absent(why),
                // Somebody is there, and nothing is known of the device.
                SshError::HostKeyChanged { .. }
                | SshError::NotAccepted(_)
                | SshError::HostKeyFile(_) => DriverError::Failed {
                    doing: "sign in",
                    message: error.to_string(),
                },
            })
    }

    async fn give(&self, order: &Order) -> Result<Triggered, DriverError> {
        order.needs_no_outlet()?;
        if order.dry_run {
            self.read().await?;
            return Ok(Triggered::Rehearsed);
        }
        let command = match (order.mode, &self.config.forced) {
            (Mode::Forced, Some(forced)) => forced,
            (Mode::Graceful | Mode::Forced | Mode::PowerCycle, _) => &self.config.reboot,
        };
        let command = order.fill(command);
        let finished = session::run(&self.config, &command).await;
        // Whatever is wrong here, the command was not given.
        let finished = finished.map_err(|error| match error {
            SshError::Unreachable(why) => DriverError::Unreachable(why),
            SshError::TurnedAway(why) => DriverError::Absent(why),
            SshError::HostKeyChanged { .. }
            | SshError::NotAccepted(_)
            | SshError::HostKeyFile(_) => DriverError::Refused(error.to_string()),
        })?;
        match finished.status {
            Some(0) => Ok(Triggered::Acknowledged),
            Some(_) => Err(DriverError::Refused(finished.why())),
            None => Ok(Triggered::Unacknowledged),
        }
    }
}

impl Driver for SshDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            let reading = Reading::if_present(self.read().await)?;
            let proofs = Proofs::of(reading.as_ref(), self.config.health.is_some());
            Ok(proofs.probe(reading))
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async { Ok(self.read().await?.baseline()) })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(self.give(order))
    }

    fn observe<'a>(
        &'a self,
        _baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async { Ok(self.read().await?.observation(METHOD)) })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async {
            let Some(command) = &self.config.health else {
                return Ok(Health::Unknown);
            };
            let finished = self.run(command).await?;
            Ok(match finished.status {
                Some(0) => Health::Healthy,
                Some(_) | None => Health::Unhealthy(finished.why()),
            })
        })
    }
}

impl Finished {
    /// The command's own words on why it failed, or how it ended.
    fn why(&self) -> String {
        last_line(&self.complaints).unwrap_or_else(|| match self.status {
            Some(status) => format!("exit status {status}"),
            None => "the connection was cut".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
