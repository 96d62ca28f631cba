//! Devices that are reached over HTTP: a request for each step, and where in the answers the proof is.
//!
//! - [`Plan`]: what is asked, and what the answers mean; [`preset`] has the plans of known devices.
//! - `client`: the connection and sign-in, and `trust`: whose certificate it takes.
//! - `trouble`: what an answer means that is not the one hoped for.
//! - `fresh`: what an uptime proves that a device renews only now and then.
//!
//! | answer | to a look | to the trigger | to the health check |
//! | --- | --- | --- | --- |
//! | none | unreachable | not sent: unreachable; cut: nobody confirmed it | unreachable |
//! | the connection is refused or reset | absent | the same | the same |
//! | a status that means yes | what it shows | acknowledged | healthy |
//! | 401, 403, other 4xx | no evidence | refused | unhealthy |
//! | 5xx | no evidence | it may have happened: the evidence decides | unhealthy |

pub(crate) mod client;
mod fresh;
mod plan;
pub mod preset;
#[cfg(test)]
pub(crate) mod test_server;
mod trouble;
mod trust;

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

pub use client::{Auth, ClientError, Endpoint, User};
use client::{HttpClient, Request};
use fresh::Freshness;
use futures_util::future::BoxFuture;
use iot_hub::reboot::Mode;
use plan::Body;
pub use plan::{Ask, Check, Condition, Find, Look, Method, Plan, Uptime};
pub(crate) use trouble::{Trouble, no_evidence};
pub use trust::{CertificatePrint, Trust};

use super::{
    Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered,
    reading::{Reading, clip},
};

/// How evidence from HTTP is named.
const METHOD: &str = "http";

/// A device that is reached over HTTP.
#[derive(Debug)]
pub struct HttpDriver {
    client: HttpClient,
    plan: Plan,
    fresh: Mutex<Freshness>,
}

impl HttpDriver {
    /// A device at that address.
    pub fn new(endpoint: Endpoint, plan: Plan) -> Result<Self, ClientError> {
        Ok(Self {
            client: HttpClient::new(endpoint)?,
            plan,
            fresh: Mutex::default(),
        })
    }

    /// Sends a request, with what stands for the attempt's own filled in.
    async fn ask(&self, ask: &Ask, fill: impl Fn(&str) -> String) -> Result<Body, Trouble> {
        let body = ask.body.as_deref().map(&fill);
        let send = async |path: &str| {
            let path = fill(path);
            let request = Request {
                method: ask.method.name(),
                path: &path,
                headers: &[],
                body: body
                    .as_deref()
                    .map(|body| (body, ask.content_type.as_str())),
            };
            self.client.send(request).await.map_err(Trouble::Silence)
        };
        let mut answer = send(&ask.path).await?;
        if let (404, Some(path)) = (answer.status, &ask.or_path) {
            answer = send(path).await?;
        }
        if !ask.accepts(answer.status) {
            let words = clip(String::from_utf8_lossy(&answer.body).trim());
            return Err(Trouble::Status(answer.status, words));
        }
        let body = Body::new(&answer.body);
        match ask.error.as_ref().and_then(|error| error.text(&body)) {
            Some(error) => Err(Trouble::Error(clip(&error))),
            None => Ok(body),
        }
    }

    async fn read(&self) -> Result<Reading, DriverError> {
        let mut reading = Reading::default();
        for look in &self.plan.looks {
            let body = self.ask(&look.ask, str::to_owned).await;
            let body = body.map_err(|trouble| trouble.while_looking())?;
            if look.belongs.as_ref().is_some_and(|own| !own.holds(&body)) {
                return Err(no_evidence("somebody else answers at its address".into()));
            }
            if look
                .present
                .as_ref()
                .is_some_and(|there| !there.holds(&body))
            {
                return Err(DriverError::Absent("it does not run".into()));
            }
            let mut shown = look.read(&body);
            if look.uptime.as_ref().is_some_and(|uptime| uptime.lags) {
                let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
                shown.uptime = fresh.judge(shown.uptime, Instant::now());
            }
            reading = reading.or(shown);
        }
        Ok(reading)
    }

    async fn give(&self, order: &Order) -> Result<Triggered, DriverError> {
        order.needs_no_outlet()?;
        if order.dry_run {
            self.read().await?;
            return Ok(Triggered::Rehearsed);
        }
        let command = match (order.mode, &self.plan.forced) {
            (Mode::Forced, Some(forced)) => forced,
            (Mode::Graceful | Mode::Forced | Mode::PowerCycle, _) => &self.plan.trigger,
        };
        match self.ask(command, |text| order.fill(text)).await {
            Ok(_) => Ok(Triggered::Acknowledged),
            Err(trouble) => trouble.after_command(),
        }
    }
}

impl Driver for HttpDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            let reading = Reading::if_present(self.read().await)?;
            Ok(self.plan.proofs().probe(reading))
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let reading = self.read().await?;
            match self.plan.missing(&reading) {
                Some(what) => Err(no_evidence(format!("the answer has no {what}"))),
                None => Ok(reading.baseline()),
            }
        })
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
            let Some(check) = &self.plan.health else {
                return Ok(Health::Unknown);
            };
            Ok(match self.ask(&check.ask, str::to_owned).await {
                Ok(body) if check.is_unchecked(&body) => Health::Unknown,
                Ok(body) if check.holds.as_ref().is_none_or(|holds| holds.holds(&body)) => {
                    Health::Healthy
                }
                Ok(_) => Health::Unhealthy("its answer is not the healthy one".to_owned()),
                Err(trouble) => return trouble.while_checking(),
            })
        })
    }
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
