//! What SNMP shows of a device: its own agent's counters, or no more than whether its outlet is on.
//!
//! An agent's counters start anew with the agent, and on a general computer the agent is a program
//! among others: one that restarts is no reboot. `hrSystemUptime` is the computer's own, so where
//! there is one it alone counts. Where there is none the agent is taken for the device, and
//! `snmpEngineBoots` for the number of its boots.

use std::time::Duration;

use futures_util::future::BoxFuture;
use iot_hub::reboot::{Grade, Mode};

use super::{
    SnmpAgent, SnmpOutlet,
    family::Power,
    session::{Oid, Value, get},
};
use crate::driver::{
    Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered, reading::Reading,
};

const HR_SYSTEM_UPTIME: [u64; 10] = [1, 3, 6, 1, 2, 1, 25, 1, 1, 0];
const SYS_UP_TIME: [u64; 9] = [1, 3, 6, 1, 2, 1, 1, 3, 0];
const SNMP_ENGINE_BOOTS: [u64; 11] = [1, 3, 6, 1, 6, 3, 10, 2, 1, 2, 0];

/// How evidence from the computer's own uptime is named, and how from the agent's.
const HOST: &str = "snmp-host-uptime";
const AGENT: &str = "snmp-agent";
const OUTLET: &str = "snmp-outlet";

/// A device that its own agent shows. It offers no reboot: that is its outlet's business.
#[derive(Debug)]
pub(crate) struct AgentDriver {
    agent: SnmpAgent,
}

impl AgentDriver {
    /// A device behind that agent.
    pub(crate) fn new(agent: SnmpAgent) -> Self {
        Self { agent }
    }

    /// The counters, and which of them they are.
    async fn counters(&self) -> Result<(&'static str, Reading), DriverError> {
        let names = [&HR_SYSTEM_UPTIME[..], &SYS_UP_TIME, &SNMP_ENGINE_BOOTS].map(Oid::new);
        let values = get(&self.agent, names.to_vec()).await?;
        let ticks = |index: usize| match values.get(index) {
            Some(Value::Ticks(ticks)) => Some(Duration::from_millis(u64::from(*ticks) * 10)),
            Some(_) | None => None,
        };
        let boot_count = match values.get(2) {
            Some(Value::Number(boots)) => u64::try_from(*boots).ok(),
            Some(_) | None => None,
        };
        let shown = |uptime, boot_count| Reading {
            uptime,
            boot_count,
            ..Reading::default()
        };
        match (ticks(0), ticks(1)) {
            (Some(own), _) => Ok((HOST, shown(Some(own), None))),
            (None, Some(agents)) => Ok((AGENT, shown(Some(agents), boot_count))),
            (None, None) => Err(DriverError::Unsupported(
                "the agent does not tell how long it has been up".to_owned(),
            )),
        }
    }
}

impl Driver for AgentDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            let (_, reading) = self.counters().await?;
            Ok(probe(match reading.boot_count {
                Some(_) => Grade::BootChanged,
                None => Grade::UptimeReset,
            }))
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let (method, reading) = self.counters().await?;
            Ok(Baseline {
                detail: format!("{method}: {reading}"),
                ..reading.baseline()
            })
        })
    }

    fn trigger<'a>(&'a self, _: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(async { Err(no_command()) })
    }

    fn observe<'a>(
        &'a self,
        baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            let (method, mut reading) = self.counters().await?;
            // An agent that lost its power may forget that it had counted: the same number is no
            // proof that it runs on.
            reading.boot_count = reading
                .boot_count
                .filter(|_| reading.boot_count != baseline.boot_count);
            if !baseline.detail.starts_with(method) {
                // An agent that has just started may not know its computer's uptime yet.
                return Err(DriverError::Failed {
                    doing: "compare the agent's counters",
                    message: format!("{method} now, and before the reboot it was another"),
                });
            }
            Ok(Observation {
                detail: format!("{method}: {reading}"),
                ..reading.observation(method)
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async { Ok(Health::Unknown) })
    }
}

/// A device of which nothing is known but its outlet.
#[derive(Debug)]
pub(crate) struct OutletDriver {
    outlet: SnmpOutlet,
}

impl OutletDriver {
    /// A device behind that outlet.
    pub(crate) fn new(outlet: SnmpOutlet) -> Self {
        Self { outlet }
    }

    async fn power(&self) -> Result<Power, DriverError> {
        let (_, power) = self.outlet.look().await?;
        Ok(power)
    }
}

impl Driver for OutletDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async { Ok(probe(Grade::Returned)) })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            match self.power().await? {
                Power::On => Ok(Baseline {
                    detail: "the outlet is on".to_owned(),
                    ..Baseline::default()
                }),
                Power::Off => Err(DriverError::Absent("the outlet is off".to_owned())),
            }
        })
    }

    fn trigger<'a>(&'a self, _: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(async { Err(no_command()) })
    }

    fn observe<'a>(&'a self, _: &'a Baseline) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            // A PDU that does not answer says nothing of the device behind it.
            let power = self.power().await.map_err(|error| DriverError::Failed {
                doing: "look at the outlet",
                message: error.to_string(),
            })?;
            match power {
                Power::On => Ok(Observation {
                    detail: "the outlet is on".to_owned(),
                    ..Reading::default().observation(OUTLET)
                }),
                Power::Off => Err(DriverError::Absent("the outlet is off".to_owned())),
            }
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async { Ok(Health::Unknown) })
    }
}

fn probe(best_grade: Grade) -> Probe {
    Probe {
        modes: Vec::<Mode>::new(),
        best_grade,
        required_grade: best_grade,
        boot_id: None,
        restarts_gateway: false,
    }
}

fn no_command() -> DriverError {
    DriverError::Unsupported("SNMP reboots a device by its outlet alone".to_owned())
}
