//! The power cycle of an outlet: commanded once, and watched until the power is back.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{self, Instant};
use tracing::Instrument as _;

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

/// How long it is tried to switch an outlet on that stays off. A PDU may start anew meanwhile.
const ON_LIMIT: Duration = Duration::from_secs(300);

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
    /// It was on, as far as it was seen, and still is.
    NeverOff,
    /// It is off, or was when it was last seen.
    StaysOff,
    /// Whether it went off is not known, nor whether it is on: the PDU does not answer.
    Unseen,
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

    #[cfg(test)]
    pub(super) fn allow_for_an_answer(&mut self, timeout: Duration) {
        self.settings.agent.timeout = timeout;
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

    /// Watches the outlet for as long as its limits allow, however slowly the PDU answers.
    async fn watch(&self, family: Family) -> Watched {
        let began = Instant::now();
        let mut off = None;
        let limit = |off: Option<Duration>| match off {
            None => self.switch_limit + self.settings.off_limit,
            Some(_) => self.settings.off_limit,
        };
        loop {
            let look = time::timeout_at(began + limit(off), self.power(family)).await;
            let elapsed = began.elapsed();
            match (look, off) {
                (Ok(Ok(Power::Off)), None) => off = Some(elapsed),
                (Ok(Ok(Power::On)), Some(off)) => return Watched::Cycled { off, on: elapsed },
                (Ok(Ok(Power::On)), None) if elapsed >= self.switch_limit => {
                    return Watched::NeverOff;
                }
                // A PDU that does not answer for a moment may be busy switching.
                (Ok(Ok(_) | Err(_)) | Err(_), _) => {}
            }
            match off {
                None if elapsed >= limit(off) => return Watched::Unseen,
                Some(_) if elapsed >= limit(off) => return Watched::StaysOff,
                Some(_) | None => time::sleep(self.pace).await,
            }
        }
    }

    /// Gives the power back to an outlet that stays off, or may. That is no second cycle, so it may
    /// be repeated.
    async fn switch_on(&self, family: Family, because: &str) -> Result<Triggered, DriverError> {
        let began = Instant::now();
        while began.elapsed() < ON_LIMIT {
            let command = family.command(self.settings.outlet);
            let told = set(self.agent(), command, family.on()).await;
            if let Err(error) = told {
                tracing::warn!(%error, "cannot switch the outlet on yet");
            }
            time::sleep(self.pace).await;
            if let Ok(Power::On) = self.power(family).await {
                return Ok(self.seen(format!("{because}, and was switched on")));
            }
        }
        let outlet = self.settings.outlet;
        tracing::error!(outlet, "the outlet {because}, and cannot be switched on");
        Err(failed("it cannot be switched on"))
    }

    async fn do_cycle(&self) -> Result<Triggered, DriverError> {
        let (family, power) = self.look().await?;
        if power == Power::Off {
            let outlet = self.settings.outlet;
            return Err(DriverError::Refused(format!(
                "outlet {outlet} is off already"
            )));
        }
        // Once the command has left, somebody has to see to it that the power comes back: also when
        // the caller does not wait that long.
        let own = self.clone();
        let cycling = async move { own.command_and_watch(family).await };
        let cycled = tokio::spawn(cycling.in_current_span()).await;
        cycled.unwrap_or_else(|error| Err(failed(&error.to_string())))
    }

    async fn command_and_watch(&self, family: Family) -> Result<Triggered, DriverError> {
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
            Watched::StaysOff => self.switch_on(family, "went off, stayed off").await,
            Watched::Unseen => self.switch_on(family, "could not be seen").await,
            Watched::NeverOff if answered == Answered::Nothing => Ok(Triggered::Unacknowledged),
            Watched::NeverOff => Err(failed("the outlet was not seen off")),
        }
    }

    async fn do_restore(&self) -> Result<(), DriverError> {
        let (family, _) = self.look().await?;
        // The PDU may be about to take the power away, or to give it back by itself.
        let because = match self.watch(family).await {
            Watched::Cycled { .. } | Watched::NeverOff => return Ok(()),
            Watched::StaysOff => "was left off",
            Watched::Unseen => "could not be seen",
        };
        let outlet = self.settings.outlet;
        tracing::warn!(outlet, "the outlet {because}, and is switched on");
        self.switch_on(family, because).await.map(drop)
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

    fn restore(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        Box::pin(self.do_restore())
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
