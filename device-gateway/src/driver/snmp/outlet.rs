//! The power cycle of an outlet: commanded once, and watched until the power is back.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{self, Instant};

use super::{
    SnmpAgent, SnmpOutletSettings,
    family::{Family, Power},
    session::{Answered, Oid, Value, get, set},
};
use crate::driver::{DriverError, Triggered, power::Outlet};

/// What an agent says it is.
const SYS_OBJECT_ID: [u64; 9] = [1, 3, 6, 1, 2, 1, 1, 2, 0];

/// How often an outlet is looked at while it is cycled.
const PACE: Duration = Duration::from_millis(500);

/// How long an outlet may take to switch off.
const SWITCH_LIMIT: Duration = Duration::from_secs(10);

/// How long an outlet may take to be on after it was switched on explicitly.
const ON_LIMIT: Duration = Duration::from_secs(10);

/// An outlet of a switched PDU.
#[derive(Debug, Clone)]
pub(crate) struct SnmpOutlet {
    settings: SnmpOutletSettings,
    pace: Duration,
    switch_limit: Duration,
}

/// How the watch over a cycle ended.
enum Watched {
    /// It went off and is on again.
    Cycled { off: Duration, on: Duration },
    /// It was on all the time.
    NeverOff,
    /// It is off, or was when it was last seen.
    StaysOff,
}

impl SnmpOutlet {
    /// An outlet that is watched at the usual pace.
    pub(crate) fn new(settings: SnmpOutletSettings) -> Self {
        Self {
            settings,
            pace: PACE,
            switch_limit: SWITCH_LIMIT,
        }
    }

    #[cfg(test)]
    pub(super) fn watched_faster(mut self) -> Self {
        self.pace = Duration::from_millis(10);
        self.switch_limit = Duration::from_millis(500);
        self
    }

    fn agent(&self) -> &SnmpAgent {
        &self.settings.agent
    }

    /// Finds out which family the PDU is of, and whether the outlet is on.
    pub(super) async fn look(&self) -> Result<(Family, Power), DriverError> {
        let object_id = get(self.agent(), vec![Oid::new(&SYS_OBJECT_ID)]).await?;
        let family = match object_id.first() {
            Some(Value::Name(name)) => Family::of(name).ok_or_else(|| {
                unsupported(format!("nobody knows a PDU that calls itself {name}"))
            })?,
            Some(_) | None => return Err(unsupported("it does not say what it is".to_owned())),
        };
        Ok((family, self.power(family).await?))
    }

    async fn power(&self, family: Family) -> Result<Power, DriverError> {
        let outlet = self.settings.outlet;
        let state = get(self.agent(), vec![family.status(outlet)]).await?;
        match state.first() {
            Some(Value::Number(state)) => family.power(*state).ok_or_else(|| DriverError::Failed {
                doing: "read the outlet's state",
                message: format!("{state} is neither on nor off"),
            }),
            Some(_) | None => Err(unsupported(format!("it has no switched outlet {outlet}"))),
        }
    }

    async fn watch(&self, family: Family) -> Watched {
        let began = Instant::now();
        let mut off = None;
        loop {
            let elapsed = began.elapsed();
            match (self.power(family).await, off) {
                (Ok(Power::Off), None) => off = Some(began.elapsed()),
                (Ok(Power::On), Some(off)) => {
                    let on = began.elapsed();
                    return Watched::Cycled { off, on };
                }
                // A PDU that does not answer for a moment may be busy switching.
                (Ok(_) | Err(_), _) => {}
            }
            match off {
                None if elapsed >= self.switch_limit => return Watched::NeverOff,
                Some(_) if elapsed >= self.settings.off_limit => return Watched::StaysOff,
                Some(_) | None => time::sleep(self.pace).await,
            }
        }
    }

    /// Gives the power back to an outlet that stays off. That is no second cycle, so it may be
    /// repeated.
    async fn switch_on(&self, family: Family) -> Result<Triggered, DriverError> {
        let began = Instant::now();
        while began.elapsed() < ON_LIMIT {
            let command = family.command(self.settings.outlet);
            let told = set(self.agent(), command, family.on()).await;
            if let Err(error) = told {
                tracing::warn!(%error, "cannot switch the outlet on yet");
            }
            time::sleep(self.pace).await;
            if let Ok(Power::On) = self.power(family).await {
                return Ok(self.seen("went off, stayed off, and was switched on".to_owned()));
            }
        }
        Err(failed("it went off and cannot be switched on"))
    }

    async fn do_cycle(&self) -> Result<Triggered, DriverError> {
        let (family, power) = self.look().await?;
        if power == Power::Off {
            let outlet = self.settings.outlet;
            return Err(DriverError::Refused(format!(
                "outlet {outlet} is off already"
            )));
        }
        let command = family.command(self.settings.outlet);
        let answered = set(self.agent(), command, family.cycle()).await?;
        if let Answered::No(why) = answered {
            return Err(DriverError::Refused(why));
        }
        match self.watch(family).await {
            Watched::Cycled { off, on } => {
                let (off, on) = (off.as_secs_f32(), on.as_secs_f32());
                Ok(self.seen(format!("off after {off:.1} s, on again after {on:.1} s")))
            }
            Watched::StaysOff => self.switch_on(family).await,
            Watched::NeverOff if answered == Answered::Nothing => Ok(Triggered::Unacknowledged),
            Watched::NeverOff => Err(failed("the outlet was not seen off")),
        }
    }

    fn seen(&self, what: String) -> Triggered {
        Triggered::Seen(format!("outlet {}: {what}", self.settings.outlet))
    }
}

impl Outlet for SnmpOutlet {
    fn check(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(async { self.look().await.map(|_| ()) })
    }

    fn cycle(&self) -> BoxFuture<'_, Result<Triggered, DriverError>> {
        Box::pin(self.do_cycle())
    }
}

fn unsupported(why: String) -> DriverError {
    DriverError::Unsupported(why)
}

fn failed(what: &str) -> DriverError {
    DriverError::Failed {
        doing: "cycle the outlet",
        message: what.to_owned(),
    }
}
