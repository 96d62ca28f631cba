//! The check itself: a driver that passes on what the device shows holds, and one that makes
//! something up is found out.

use futures_util::future::BoxFuture;
use iot_hub::reboot::Mode;

use super::*;
use crate::driver::{Baseline, DriverError, Health, Observation, Order, Probe, Triggered};

/// A driver without a protocol.
#[derive(Debug)]
struct Direct {
    device: Arc<FakeDevice>,
    passes_on: Proof,
}

/// What it passes on of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Everything,
    BootCount,
    Uptime,
    Presence,
    /// The same, and says nothing of one that is not there.
    Silence,
    /// A boot of its own invention.
    Invented,
}

impl Direct {
    fn start(device: Arc<FakeDevice>, passes_on: Proof) -> (Arc<dyn Driver>, ()) {
        (Arc::new(Self { device, passes_on }), ())
    }

    fn observation(&self) -> Observation {
        let look = self.device.look();
        let seen = |proof| look.as_ref().filter(|_| self.passes_on == proof);
        let boots = |look: &Look| look.boots;
        Observation {
            present: look.is_some(),
            was_absent: look.is_none(),
            boot_id: match self.passes_on {
                Proof::Invented => Some("made-up".to_owned()),
                Proof::Everything
                | Proof::BootCount
                | Proof::Uptime
                | Proof::Presence
                | Proof::Silence => {
                    seen(Proof::Everything).map(|look| format!("boot-{}", look.boots))
                }
            },
            uptime: seen(Proof::Uptime).map(|look| look.uptime),
            boot_count: seen(Proof::BootCount).map(boots).map(u64::from),
            caused_by: seen(Proof::Everything).and_then(|look| look.cause),
            method: "direct",
            detail: String::new(),
        }
    }
}

impl Driver for Direct {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            Ok(Probe {
                modes: vec![Mode::Graceful],
                best_grade: Grade::Healthy,
                required_grade: Grade::Returned,
                boot_id: None,
                restarts_gateway: false,
            })
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let seen = self.observation();
            let invented = self.passes_on == Proof::Invented;
            Ok(Baseline {
                boot_id: if invented {
                    Some("before".into())
                } else {
                    seen.boot_id
                },
                uptime: seen.uptime,
                boot_count: seen.boot_count,
                detail: String::new(),
            })
        })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(async {
            Ok(if self.device.command(Some(order.id)) {
                Triggered::Acknowledged
            } else {
                Triggered::Unacknowledged
            })
        })
    }

    fn observe<'a>(&'a self, _: &'a Baseline) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            let seen = self.observation();
            if self.passes_on == Proof::Silence && !seen.present {
                return Err(DriverError::Unreachable("dark".into()));
            }
            Ok(seen)
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async {
            Ok(match self.device.peek() {
                _ if self.passes_on != Proof::Everything => Health::Unknown,
                Some(look) if look.healthy => Health::Healthy,
                Some(_) => Health::Unhealthy("it is stuck".into()),
                None => return Err(DriverError::Unreachable("dark".into())),
            })
        })
    }
}

async fn passes(passes_on: Proof, proof: Grade) {
    let everything = passes_on == Proof::Everything;
    let shows = Shows {
        proof,
        each_boot: matches!(passes_on, Proof::Everything | Proof::BootCount),
        health: everything,
    };
    check(shows, async |device| Direct::start(device, passes_on)).await;
}

#[tokio::test]
async fn an_echo_of_the_request_tells_every_behavior() {
    passes(Proof::Everything, Grade::Caused).await;
}

#[tokio::test]
async fn a_boot_count_tells_every_behavior() {
    passes(Proof::BootCount, Grade::BootChanged).await;
}

#[tokio::test]
async fn an_uptime_tells_every_behavior() {
    passes(Proof::Uptime, Grade::UptimeReset).await;
}

#[tokio::test]
async fn presence_alone_tells_what_it_can() {
    passes(Proof::Presence, Grade::Returned).await;
}

#[tokio::test]
async fn a_silence_that_lasts_tells_what_presence_can() {
    passes(Proof::Silence, Grade::Returned).await;
}

#[tokio::test]
#[should_panic(expected = "AckAndNothing")]
async fn a_driver_that_makes_up_a_boot_is_found_out() {
    passes(Proof::Invented, Grade::BootChanged).await;
}
