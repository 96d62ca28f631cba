//! The last word before the command: the device's hook prepares it, and whatever must say yes is asked
//! once more. Who objects now holds the attempt up, by name, like one who objected before.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::reboot::{Blocker, Mode, RebootCall, State};

use super::{DriverStep, Engine, Out, Ticket};
use crate::{driver::Order, journal::Attempt};

/// How often the pause after an objection may double.
const DOUBLINGS: u32 = 5;

/// How far the preparation of an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preparation {
    Wanted,
    Asked(Ticket),
    Passed,
}

impl Engine {
    /// What of these holds up the reboot that was asked for. Who insists is held up by what is
    /// absolute alone.
    pub(super) fn heeded(
        &self,
        call: &RebootCall,
        mut blockers: BTreeMap<String, Blocker>,
    ) -> BTreeMap<String, Blocker> {
        if call.mode == Mode::Forced || call.force {
            blockers.retain(|name, _| self.settings.absolute.contains(name));
        }
        blockers
    }

    /// Says whether the device is prepared, and has it prepared when nobody has.
    pub(super) fn is_prepared(&mut self, out: &mut Out) -> bool {
        let (Some(attempt), Some(live)) = (&self.journal.open, &self.live) else {
            return false;
        };
        match live.preparation {
            Preparation::Passed => return true,
            Preparation::Asked(_) => return false,
            Preparation::Wanted => {}
        }
        let order = order_of(attempt, attempt.call.mode);
        let asked = Preparation::Asked(self.ask(DriverStep::Prepare(order), out));
        if let Some(live) = &mut self.live {
            live.preparation = asked;
        }
        false
    }

    pub(super) fn on_preparation(&mut self, ticket: Ticket, objections: BTreeMap<String, Blocker>) {
        let (Some(attempt), Some(live)) = (&self.journal.open, &mut self.live) else {
            return;
        };
        if live.preparation != Preparation::Asked(ticket) {
            return;
        }
        let call = attempt.call.clone();
        live.preparation = Preparation::Passed;
        live.next_look = self.now.mono;
        let objections = self.heeded(&call, objections);
        if objections.is_empty() {
            return;
        }
        self.enter(State::Blocked, self.now);
        self.set_blockers(objections);
        let interval = self.settings.block_interval;
        if let Some(live) = &mut self.live {
            live.preparation = Preparation::Wanted;
            // Everything else was in order, so each try costs reports: there are fewer and fewer.
            live.next_look = self.now.mono + pause(interval, live.objections);
            live.objections += 1;
        }
    }
}

/// What the driver is told of an attempt.
pub(super) fn order_of(attempt: &Attempt, mode: Mode) -> Order {
    Order {
        id: attempt.report.request_id,
        mode,
        // Whoever agreed to a forced step agreed that nothing holds it up.
        force: attempt.call.force || mode > attempt.call.mode,
        dry_run: attempt.call.dry_run,
        reason: attempt.call.reason.clone(),
    }
}

fn pause(interval: Duration, objections: u32) -> Duration {
    interval * 2_u32.pow(objections.min(DOUBLINGS))
}
