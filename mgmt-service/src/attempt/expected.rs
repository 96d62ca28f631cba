//! When a device should be back.

use std::time::Duration;

use iot_hub::reboot::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Attempt, reading::Reading, time::later, turn::Turn};
use crate::{durations::Estimate, poller::Forecast};

/// How exactly a gateway foretells the end of a reboot, as the standard deviation of its logarithm,
/// and how far it is trusted to know.
const FORETOLD_SPREAD: f64 = 0.03;
const FORETOLD_KNOWN: f64 = 0.95;

/// What is expected of a device's return.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Expected {
    /// What devices it is like; empty until its twin was read.
    class: String,
    /// How long such reboots take.
    estimate: Option<Estimate>,
    /// How long the device's own reboots take, by its twin.
    typical: Option<Duration>,
    /// The gateway has said when.
    foretold: bool,
    /// When the device went, by our clock.
    gone: Option<Timestamp>,
    /// When nineteen of twenty would be back.
    late_at: Option<Timestamp>,
}

impl Attempt {
    /// What devices its device is like, until it is known how long such reboots take.
    pub fn wants_estimate(&self) -> bool {
        !self.view.state.is_terminal() && self.progress.expected.estimate.is_none()
    }

    /// When the device is likely to be back: since when, and the forecast from then on. `None` while
    /// it is not away.
    pub fn return_forecast(&self) -> Option<(Timestamp, Forecast)> {
        let expected = &self.progress.expected;
        let gone = expected.gone?;
        if let Some(eta) = self.view.eta.filter(|_| expected.foretold) {
            let takes = Duration::try_from(eta.duration_since(gone)).unwrap_or_default();
            return Some((
                gone,
                Forecast::around(takes, FORETOLD_SPREAD, FORETOLD_KNOWN),
            ));
        }
        Some((gone, expected.estimate?.forecast()))
    }

    /// Of which class a reboot was that succeeded, and how long the device was away.
    pub fn learned(&self) -> Option<(&str, Duration)> {
        if self.view.state != State::Succeeded {
            return None;
        }
        let mut timeline = self.view.timeline.iter().rev();
        let (_, gone) = timeline.find(|(state, _)| *state == State::Rebooting)?;
        // Both by the same clock; one that was set meanwhile tells nothing.
        let took = Duration::try_from(self.view.state_time.duration_since(*gone)).ok()?;
        (!took.is_zero()).then_some((&self.progress.expected.class, took))
    }
}

impl Expected {
    /// When the attempt has to be looked at for this.
    pub(super) fn wake_at(&self, late: bool) -> Option<Timestamp> {
        self.late_at.filter(|_| !late)
    }
}

impl Turn<'_> {
    /// Takes over what is known of such reboots.
    pub(super) fn estimate(&mut self, reading: &Reading) {
        let expected = &mut self.attempt.progress.expected;
        expected.typical = reading.typical_duration().or(expected.typical);
        if let Some(estimate) = reading.estimate.filter(|_| expected.estimate.is_none()) {
            expected.estimate = Some(estimate);
            expected.class.clone_from(&reading.class);
        }
    }

    /// The gateway says how long it will take.
    pub(super) fn foretold(&mut self, takes: Duration) {
        self.attempt.view.eta = Some(later(self.now, takes));
        self.attempt.progress.expected.foretold = true;
    }

    /// The attempt enters a state: its device goes, or is back.
    pub(super) fn expect_return(&mut self, state: State, time: Timestamp) {
        let view = &mut self.attempt.view;
        let expected = &mut self.attempt.progress.expected;
        match state {
            State::Rebooting => {
                // The device's clock may be wrong; it cannot have gone before it was asked.
                let gone = time.clamp(view.create_time, self.now.max(view.create_time));
                expected.gone = Some(gone);
                // Nobody had an answer to the call, or it said nothing of this.
                if let (None, Some(takes)) = (view.eta, expected.typical) {
                    view.eta = Some(later(gone, takes));
                    expected.foretold = true;
                }
                if let Some(estimate) = expected.estimate {
                    if view.eta.is_none() && estimate.is_learned() {
                        view.eta = Some(later(gone, estimate.p50()));
                    }
                    let late_at = later(gone, estimate.p95());
                    expected.late_at = Some(view.eta.map_or(late_at, |eta| eta.max(late_at)));
                }
            }
            State::Down => {}
            State::Pending
            | State::Dispatching
            | State::Scheduled
            | State::Blocked
            | State::Accepted
            | State::Preparing
            | State::Verifying
            | State::Succeeded
            | State::Failed
            | State::Cancelled
            | State::Rejected
            | State::Expired
            | State::Lost => {
                expected.gone = None;
                expected.late_at = None;
                view.late = false;
            }
        }
    }

    /// The device should be back by now.
    pub(super) fn check_late(&mut self) {
        let due = self.attempt.progress.expected.late_at;
        if !self.attempt.view.late && due.is_some_and(|due| self.now >= due) {
            self.attempt.view.late = true;
            self.note("the device is late: most such reboots are over by now");
        }
    }
}
