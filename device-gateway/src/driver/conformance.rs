//! What holds for every driver: whatever its device does with the command, an attempt through the
//! real engine ends with the right verdict, and the device gets the command once.
//!
//! A driver's test makes a fake of its protocol around a [`FakeDevice`] and hands it to [`check`]:
//!
//! ```text
//!   check ─► engine ─► driver ══ its protocol ══► fake of the protocol ─► FakeDevice: the behavior
//!              └────────────── verdict
//! ```
//!
//! Time runs several times as fast for the engine and for the device; a driver's own limits are in
//! real time.

mod clock;
mod device;
mod run;

use std::sync::Arc;

use clock::FastClock;
pub(crate) use device::{Behavior, FakeDevice, Look};
use futures_util::future;
use iot_hub::reboot::{Grade, Mode, State};
use run::{Dies, Verdict};

use super::Driver;

/// What a driver's protocol can show of a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shows {
    /// What a normal reboot is proved with, without regard to health.
    pub(crate) proof: Grade,
    /// It tells a second new boot from the first, however soon it comes. An uptime does when it has
    /// come so far that it goes back.
    pub(crate) each_boot: bool,
    /// It tells whether the device does its work.
    pub(crate) health: bool,
}

/// Has a device of each behavior rebooted once, all at the same time, and compares the verdicts.
///
/// `start` makes the driver and the fake that it reaches; the latter is kept until the attempt ends.
pub(crate) async fn check<G>(
    shows: Shows,
    start: impl AsyncFn(Arc<FakeDevice>) -> (Arc<dyn Driver>, G),
) {
    check_in(Mode::Graceful, shows, start).await;
}

/// As [`check`], by another mode.
pub(crate) async fn check_in<G>(
    mode: Mode,
    shows: Shows,
    start: impl AsyncFn(Arc<FakeDevice>) -> (Arc<dyn Driver>, G),
) {
    let expected = |behavior, unexpected| shows.expected(behavior, unexpected);
    compare(mode, Dies::Never, expected, start).await;
}

/// As [`check`], for the machine that the gateway runs on: the gateway goes down with it, and a new process
/// begins where the journal ends.
pub(crate) async fn check_machine<G>(start: impl AsyncFn(Arc<FakeDevice>) -> (Arc<dyn Driver>, G)) {
    let shows = Shows {
        proof: Grade::Caused,
        // The gateway may not be up again before the second boot.
        each_boot: false,
        health: false,
    };
    let expected = |behavior, unexpected| {
        let verdict = shows.expected(behavior, unexpected);
        match behavior {
            // A new process in the old boot.
            Behavior::StaleOnline => Verdict {
                error: Some("AGENT_RESTARTED".to_owned()),
                ..verdict
            },
            // Nobody is left to give a verdict; the journal says what was commanded.
            Behavior::NeverReturns => Verdict {
                state: State::Rebooting,
                error: None,
                ..verdict
            },
            Behavior::WellBehaved
            | Behavior::AckAndNothing
            | Behavior::NoAck
            | Behavior::Twice
            | Behavior::Unhealthy
            | Behavior::Instant => verdict,
        }
    };
    compare(Mode::Graceful, Dies::WithTheDevice, expected, start).await;
}

async fn compare<G>(
    mode: Mode,
    dies: Dies,
    expected: impl Fn(Behavior, u64) -> Verdict,
    start: impl AsyncFn(Arc<FakeDevice>) -> (Arc<dyn Driver>, G),
) {
    let (start, expected) = (&start, &expected);
    let attempts = Behavior::ALL.map(|behavior| async move {
        let clock = FastClock::start();
        let device = Arc::new(FakeDevice::new(behavior, clock));
        let (driver, kept) = start(device.clone()).await;
        let error = expected(behavior, 0).error;
        let verdict = run::attempt(driver, mode, &device, dies, error.as_deref(), clock).await;
        drop(kept);
        (behavior, device.commands(), verdict)
    });
    let wrong: Vec<_> = future::join_all(attempts)
        .await
        .into_iter()
        .map(|(behavior, commands, verdict)| {
            let expected = expected(behavior, verdict.unexpected);
            (behavior, commands, verdict, expected)
        })
        .filter(|(_, commands, verdict, expected)| *commands != 1 || verdict != expected)
        .map(|(behavior, commands, verdict, expected)| {
            format!("{behavior:?}: {verdict:?} after {commands} commands, expected {expected:?}")
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Shows {
    /// The verdict about a device that was seen to boot so often unasked.
    fn expected(self, behavior: Behavior, unexpected: u64) -> Verdict {
        let grade = if self.proof == Grade::Caused && self.health {
            Grade::Healthy
        } else {
            self.proof
        };
        let success = Verdict {
            state: State::Succeeded,
            error: None,
            proved: Some(grade),
            unexpected: 0,
        };
        let ends = |state, code: &str, proved| Verdict {
            state,
            error: Some(code.to_owned()),
            proved,
            unexpected: 0,
        };
        let unchanged = ends(State::Failed, "NO_SHUTDOWN", None);
        // A device that shows nothing but its presence cannot be told from one that only went away.
        let only_returns = self.proof == Grade::Returned;
        match behavior {
            Behavior::WellBehaved | Behavior::NoAck => success,
            Behavior::AckAndNothing => unchanged,
            Behavior::Twice => Verdict {
                unexpected: match self.each_boot {
                    true => 1,
                    false => unexpected.min(1),
                },
                ..success
            },
            Behavior::StaleOnline if only_returns => success,
            Behavior::StaleOnline => unchanged,
            Behavior::Unhealthy if self.health => {
                ends(State::Failed, "UNHEALTHY", Some(self.proof))
            }
            Behavior::Unhealthy => success,
            Behavior::NeverReturns => ends(State::Lost, "NO_RETURN", None),
            Behavior::Instant if only_returns => unchanged,
            Behavior::Instant => success,
        }
    }
}

#[cfg(test)]
mod tests;
