//! One device, as its driver shows it: what it offers, and its reboot but for the command.

use iot_hub::reboot::{Grade, Mode, RequestId};
use uuid::Uuid;

use crate::driver::{Driver, DriverError, Order, Probe, Triggered};

/// What a device offers, if that is enough for a reboot that counts, and the evidence it takes.
async fn offer(
    required: Option<Grade>,
    driver: &dyn Driver,
) -> Result<(Probe, Grade), DriverError> {
    let probe = driver.probe().await?;
    let required = required.unwrap_or(probe.required_grade);
    if required > probe.best_grade {
        return Err(DriverError::Unsupported(format!(
            "evidence of grade {}: {} is its best",
            required.name(),
            probe.best_grade.name()
        )));
    }
    if probe.modes.is_empty() {
        return Err(DriverError::Unsupported("a reboot in any mode".to_owned()));
    }
    Ok((probe, required))
}

/// Reads what a device can do, and how it is: a device that is away still offers what it did.
pub(super) async fn probe(
    required: Option<Grade>,
    driver: &dyn Driver,
) -> Result<String, DriverError> {
    let (probe, required) = offer(required, driver).await?;
    driver.baseline().await?;
    let modes: Vec<_> = probe.modes.iter().map(|mode| mode.name()).collect();
    Ok(format!(
        "answers; reboots {}; can prove {}, has to prove {}",
        modes.join(", "),
        probe.best_grade.name(),
        required.name()
    ))
}

/// Goes through the mildest reboot that is offered.
pub(super) async fn go_through(
    required: Option<Grade>,
    driver: &dyn Driver,
) -> Result<String, DriverError> {
    let (probe, _) = offer(required, driver).await?;
    let offered = Mode::ALL
        .into_iter()
        .find(|mode| probe.modes.contains(mode));
    let mode = offered.unwrap_or_default();
    driver.baseline().await?;
    let blockers = driver.blockers(mode).await?;
    let order = Order {
        id: RequestId(Uuid::new_v4()),
        mode,
        force: false,
        dry_run: true,
        reason: "a rehearsal".to_owned(),
    };
    match driver.trigger(&order).await? {
        Triggered::Rehearsed => {}
        Triggered::Acknowledged | Triggered::Unacknowledged | Triggered::Seen(_) => {
            return Err(DriverError::Failed {
                doing: "rehearse",
                message: "the driver gave the command".to_owned(),
            });
        }
    }
    let how = match mode {
        Mode::Graceful => "would be rebooted",
        Mode::Forced => "would be rebooted by force",
        Mode::PowerCycle => "would be rebooted by taking its power away",
    };
    let blockers: Vec<_> = blockers
        .values()
        .map(|blocker| format!("{} ({})", blocker.who, blocker.why))
        .collect();
    Ok(if blockers.is_empty() {
        how.to_owned()
    } else {
        format!("{how} after: {}", blockers.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::driver::{Baseline, Health, Observation};

    /// A device that offers what it is made with, and is there or is not.
    #[derive(Debug)]
    struct Made {
        modes: Vec<Mode>,
        there: bool,
        rehearsed: Mutex<Vec<Mode>>,
    }

    impl Made {
        fn of(modes: &[Mode]) -> Self {
            Self {
                modes: modes.to_vec(),
                there: true,
                rehearsed: Mutex::default(),
            }
        }

        fn away() -> Self {
            Self {
                there: false,
                ..Self::of(&Mode::ALL)
            }
        }
    }

    impl Driver for Made {
        fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
            Box::pin(async {
                Ok(Probe {
                    modes: self.modes.clone(),
                    best_grade: Grade::BootChanged,
                    required_grade: Grade::Returned,
                    boot_id: None,
                    restarts_gateway: false,
                })
            })
        }

        fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
            Box::pin(async {
                if self.there {
                    Ok(Baseline::default())
                } else {
                    Err(DriverError::Unreachable("nobody is there".to_owned()))
                }
            })
        }

        fn trigger<'a>(
            &'a self,
            order: &'a Order,
        ) -> BoxFuture<'a, Result<Triggered, DriverError>> {
            assert!(order.dry_run, "a rehearsal reboots nothing");
            self.rehearsed.lock().unwrap().push(order.mode);
            Box::pin(async { Ok(Triggered::Rehearsed) })
        }

        fn observe<'a>(
            &'a self,
            _: &'a Baseline,
        ) -> BoxFuture<'a, Result<Observation, DriverError>> {
            unreachable!("nothing is observed")
        }

        fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
            unreachable!("nobody asks for health")
        }
    }

    #[tokio::test]
    async fn a_device_that_is_away_neither_answers_nor_would_be_rebooted() {
        let there = probe(None, &Made::of(&Mode::ALL)).await.unwrap();
        assert!(there.starts_with("answers; reboots graceful, "), "{there}");
        let away = Made::away();
        for said in [probe(None, &away).await, go_through(None, &away).await] {
            assert!(matches!(said, Err(DriverError::Unreachable(_))), "{said:?}");
        }
        assert_eq!(*away.rehearsed.lock().unwrap(), []);
    }

    #[tokio::test]
    async fn the_mildest_reboot_that_is_offered_is_rehearsed() {
        for (offered, rehearsed, how) in [
            (&Mode::ALL[..], Mode::Graceful, "would be rebooted"),
            (&Mode::ALL[1..], Mode::Forced, "by force"),
            (&Mode::ALL[2..], Mode::PowerCycle, "its power away"),
        ] {
            let device = Made::of(offered);
            let said = go_through(None, &device).await.unwrap();
            assert_eq!(*device.rehearsed.lock().unwrap(), [rehearsed]);
            assert!(said.ends_with(how), "{said}");
        }
    }

    #[tokio::test]
    async fn a_device_that_offers_no_reboot_or_too_little_proof_is_not_well() {
        let (able, unable) = (Made::of(&Mode::ALL), Made::of(&[]));
        for (required, device) in [(None, &unable), (Some(Grade::Caused), &able)] {
            for said in [
                probe(required, device).await,
                go_through(required, device).await,
            ] {
                assert!(matches!(said, Err(DriverError::Unsupported(_))), "{said:?}");
            }
            assert_eq!(*device.rehearsed.lock().unwrap(), []);
        }
    }
}
