//! Carries out a step that the engine asks of a driver.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures_util::future::BoxFuture;
use iot_hub::reboot::{Blocker, Mode};
use tokio::time;

use crate::{
    driver::{Driver, DriverError, STEP_LIMIT, Triggered},
    engine::{DriverStep, Outcome, Ticket},
    safety::Safety,
};

/// Carries out one step. What only a reboot needs is in boxes of its own: an idle device is probed for
/// all of its life.
pub(crate) fn drive(
    driver: Arc<dyn Driver>,
    safety: Arc<Safety>,
    ticket: Ticket,
    step: DriverStep,
) -> BoxFuture<'static, (Ticket, Outcome)> {
    Box::pin(async move {
        let outcome = match step {
            DriverStep::Probe => Outcome::Probed(limited("probe", driver.probe()).await),
            DriverStep::CheckBlockers(mode) => Outcome::Blockers(
                limited(
                    "check for blockers",
                    Box::pin(blockers(&*driver, &safety, mode)),
                )
                .await,
            ),
            DriverStep::TakeBaseline => {
                Outcome::BaselineTaken(limited("take the baseline", driver.baseline()).await)
            }
            DriverStep::Prepare(order) => {
                let mut objections = Box::pin(safety.prepare(&order)).await;
                // A device that cannot be asked now is looked at next.
                let checked = limited("check for blockers", driver.blockers(order.mode)).await;
                objections.extend(checked.unwrap_or_default());
                Outcome::Prepared(objections)
            }
            DriverStep::Trigger(order) => {
                let given = time::timeout(STEP_LIMIT, driver.trigger(&order)).await;
                // It may have left.
                Outcome::Triggered(given.unwrap_or(Ok(Triggered::Unacknowledged)))
            }
            // It waits for a cycle, which has limits of its own, and nobody waits for it.
            DriverStep::RestorePower => Outcome::PowerRestored(driver.restore_power().await),
            DriverStep::Observe(baseline) => {
                Outcome::Observed(limited("observe", driver.observe(&baseline)).await)
            }
            DriverStep::CheckHealth => {
                Outcome::HealthChecked(limited("check the health", driver.health()).await)
            }
        };
        (ticket, outcome)
    })
}

async fn blockers(
    driver: &dyn Driver,
    safety: &Safety,
    mode: Mode,
) -> Result<BTreeMap<String, Blocker>, DriverError> {
    let (found, mut blockers) = tokio::join!(driver.blockers(mode), safety.blockers());
    blockers.extend(found?);
    Ok(blockers)
}

async fn limited<T>(
    doing: &'static str,
    step: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    match time::timeout(STEP_LIMIT, step).await {
        Ok(result) => result,
        Err(_) => Err(DriverError::Failed {
            doing,
            message: format!("no end within {} s", STEP_LIMIT.as_secs()),
        }),
    }
}
