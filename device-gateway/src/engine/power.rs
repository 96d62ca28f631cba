//! Power that a command took away, until somebody has seen that the device has it again.
//!
//! ```text
//!   power cycle ──► owed, journalled with the command ──► seen on again, or certainly not taken: settled
//!                        │         ▲
//!                        ▼         │ not yet
//!                   nobody saw its end: the driver sees to the power, before anything else
//! ```
//!
//! That is no part of the attempt: it may have ended meanwhile, and the device needs its power no less. It
//! is no second cycle either, so it may be repeated.

use std::time::Duration;

use iot_hub::reboot::{Mode, State};

use super::{DriverStep, Engine, Out, Ticket, clock::Stopwatch};
use crate::driver::{DriverError, Triggered};

/// What is done about power that is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restoring {
    Asked(Ticket),
    /// It was not possible, and is tried again then, on the monotonic clock.
    Again(Duration),
}

impl Engine {
    /// Has the power seen to that is owed, unless its command is still under way.
    pub(super) fn advance_power(&mut self, out: &mut Out) {
        if self.power_wakes_at() <= self.now.mono {
            let asked = self.ask(DriverStep::RestorePower, out);
            self.restoring = Some(Box::new(Restoring::Asked(asked)));
        }
    }

    pub(super) fn power_wakes_at(&self) -> Duration {
        let commanded = self.live.as_ref().and_then(|live| live.triggering);
        match self.restoring.as_deref() {
            _ if !self.journal.power_owed || commanded.is_some() => Duration::MAX,
            None => Duration::ZERO,
            Some(Restoring::Asked(_)) => Duration::MAX,
            Some(Restoring::Again(at)) => *at,
        }
    }

    /// A command is about to leave.
    pub(super) fn owe_power(&mut self, mode: Mode) {
        if mode == Mode::PowerCycle {
            self.journal.power_owed = true;
            self.restoring = None;
        }
    }

    /// The newest command has ended. Without a word of the power, nobody knows.
    pub(super) fn on_commanded(&mut self, result: &Result<Triggered, DriverError>) {
        let newest = self.journal.open.as_ref().map(|attempt| attempt.mode());
        if newest != Some(Mode::PowerCycle) {
            return;
        }
        match result {
            Ok(Triggered::Seen(_)) => self.settle_power(),
            // It did not leave.
            Err(
                DriverError::Unreachable(_)
                | DriverError::Absent(_)
                | DriverError::Refused(_)
                | DriverError::Unsupported(_),
            ) => self.journal.power_owed = false,
            Ok(Triggered::Acknowledged | Triggered::Unacknowledged | Triggered::Rehearsed)
            | Err(DriverError::Failed { .. }) => {}
        }
    }

    pub(super) fn on_power_restored(&mut self, ticket: Ticket, result: &Result<(), DriverError>) {
        if self.restoring.as_deref() != Some(&Restoring::Asked(ticket)) {
            return;
        }
        if result.is_ok() {
            self.restoring = None;
            self.settle_power();
        } else {
            let again = self.now.mono + self.settings.block_interval;
            self.restoring = Some(Box::new(Restoring::Again(again)));
        }
    }

    /// The device has its power. From now on it can boot, however long it was without: that happens once
    /// for each command, so there is an end all the same.
    fn settle_power(&mut self) {
        self.journal.power_owed = false;
        let (Some(attempt), Some(live)) = (&self.journal.open, &mut self.live) else {
            return;
        };
        let waits = matches!(attempt.report.state, State::Rebooting | State::Down);
        if waits && attempt.mode() == Mode::PowerCycle {
            live.command = Some(Stopwatch::begin(self.now));
        }
    }
}
