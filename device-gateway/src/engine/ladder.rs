//! From one command to a stronger one, as far as caller and policy agree.
//!
//! ```text
//!   graceful ──► forced ──► power cycle        each at most once, each journalled before it leaves
//! ```
//!
//! A stronger command is given only to a device that certainly has not rebooted: one that says no,
//! or that is seen in its old boot when the time to go down has passed. One that stays away may have
//! rebooted, and can no longer be told anything: only its power can be taken away.
//!
//! What prepares a device and what must say yes is asked before each command, and only what is absolute
//! holds up a stronger one.
//!
//! Time passes between the reading that raised a doubt and the decision, so the decision takes a
//! look that was begun after it, and waits for the milder command to have ended: a command that
//! still hung somewhere could leave after the stronger one, and reboot the device once more.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::reboot::{Blocker, Failure, Mode, State};

use super::{DriverStep, Engine, Out, Ticket, prepare::order_of};
use crate::{driver::Order, evidence::Sign};

/// How long it may take until a doubt is resolved: the end of a command, and a look.
const DOUBT_LIMIT: Duration = Duration::from_secs(3 * 60);

/// What shows that a command was not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// It was refused, and nothing happened.
    Refusal,
    /// The device is in its old boot, and the time to go down has passed.
    OldBoot,
    /// The device stays away.
    Absence,
}

/// A command that seems not to have been enough, until a fresh look at the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    shown: Shown,
    error: Failure,
    /// A look with a later number was begun after the doubt.
    after: Ticket,
    /// What must say yes is asked about the next command.
    asked: Ticket,
    /// Who objects to it, once that is known.
    objections: Option<BTreeMap<String, Blocker>>,
    /// Until then it has to be resolved, on the monotonic clock.
    pub(super) until: Duration,
}

/// What a fresh look makes of a doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolved {
    /// The command was not enough.
    GoOn,
    /// It was, or may be yet.
    NoDoubt,
    /// The look shows nothing.
    Unclear,
}

impl Doubt {
    fn resolve(&self, sign: Option<Sign>) -> Resolved {
        match (self.shown, sign) {
            (_, None) | (Shown::OldBoot, Some(Sign::Silent)) => Resolved::Unclear,
            (Shown::Refusal, Some(Sign::SameBoot | Sign::Silent))
            | (Shown::OldBoot, Some(Sign::SameBoot))
            | (Shown::Absence, Some(Sign::Absent)) => Resolved::GoOn,
            (Shown::Refusal | Shown::OldBoot, Some(Sign::Absent))
            | (Shown::Absence, Some(Sign::SameBoot | Sign::Silent))
            | (_, Some(Sign::Rebooted(_))) => Resolved::NoDoubt,
        }
    }

    /// How an attempt ends that cannot go on.
    fn verdict(shown: Shown) -> State {
        match shown {
            Shown::Refusal | Shown::OldBoot => State::Failed,
            Shown::Absence => State::Lost,
        }
    }
}

impl Engine {
    /// The newest command seems not to have been enough: ends the attempt, or has a fresh look
    /// decide about the next command where there is one.
    pub(super) fn step_failed(&mut self, shown: Shown, error: Failure, out: &mut Out) {
        let Some(live) = &self.live else { return };
        if live.doubt.is_some() {
            return;
        }
        let (Some(mode), Some(attempt)) = (self.next_step(shown), &self.journal.open) else {
            return self.finish(Doubt::verdict(shown), Some(error), out);
        };
        let order = Order {
            force: true,
            ..order_of(attempt, mode)
        };
        let asked = self.ask(DriverStep::Prepare(order), out);
        let (now, after) = (self.now, Ticket(self.tickets));
        if let Some(live) = &mut self.live {
            live.look_now(now);
            live.doubt = Some(Doubt {
                shown,
                error,
                after,
                asked,
                objections: None,
                until: now.mono + DOUBT_LIMIT,
            });
        }
    }

    /// The next command that the caller and the policy agree to, and that the device offers.
    fn next_step(&self, shown: Shown) -> Option<Mode> {
        let attempt = self.journal.open.as_ref()?;
        let most = attempt.call.escalate_to?;
        let given = attempt.mode();
        let offered = &self.journal.capabilities.as_ref()?.modes;
        let mut rungs = self.settings.escalation.iter().map(|rung| rung.mode);
        rungs.find(|mode| {
            let allowed = given < *mode && *mode <= most && !attempt.call.dry_run;
            let can = offered.get(mode.name()) == Some(&true);
            allowed && can && (shown != Shown::Absence || *mode == Mode::PowerCycle)
        })
    }

    /// Takes in who objects to the next command.
    pub(super) fn on_stronger_prepared(
        &mut self,
        ticket: Ticket,
        objections: &BTreeMap<String, Blocker>,
    ) {
        let now = self.now;
        let absolute = &self.settings.absolute;
        let Some(live) = &mut self.live else { return };
        let Some(doubt) = live.doubt.as_mut().filter(|doubt| doubt.asked == ticket) else {
            return;
        };
        let mut objections = objections.clone();
        objections.retain(|name, _| absolute.contains(name));
        doubt.objections = Some(objections);
        live.look_now(now);
    }

    /// A look at the device has ended: it may decide whether a stronger command is given.
    pub(super) fn resolve_doubt(&mut self, look: Ticket, out: &mut Out) {
        let Some(live) = &self.live else { return };
        let Some(doubt) = live.doubt.clone() else {
            return;
        };
        if look <= doubt.after || live.triggering.is_some() {
            return;
        }
        match doubt.resolve(live.sign) {
            Resolved::Unclear => {}
            Resolved::GoOn => match (self.next_step(doubt.shown), doubt.objections) {
                (_, None) => {}
                (Some(mode), Some(objections)) if objections.is_empty() => {
                    self.climb(mode, doubt.error, out);
                }
                (_, Some(_)) => self.finish(Doubt::verdict(doubt.shown), Some(doubt.error), out),
            },
            Resolved::NoDoubt => {
                if let Some(live) = &mut self.live {
                    live.doubt = None;
                }
                if let (Shown::Refusal, Some(attempt)) = (doubt.shown, &mut self.journal.open) {
                    // What it comes back as will tell; this is why, if it comes back as it was.
                    attempt.trigger_problem = Some(doubt.error.message);
                }
            }
        }
    }

    /// Ends an attempt whose device cannot be looked at when a decision is due.
    pub(super) fn doubts_for_too_long(&mut self, out: &mut Out) -> bool {
        let doubt = self.live.as_ref().and_then(|live| live.doubt.clone());
        let Some(doubt) = doubt.filter(|doubt| doubt.until <= self.now.mono) else {
            return false;
        };
        self.finish(Doubt::verdict(doubt.shown), Some(doubt.error), out);
        true
    }

    /// Gives the next command. What the one before was seen to do stays with it.
    fn climb(&mut self, mode: Mode, error: Failure, out: &mut Out) {
        let claim = self
            .journal
            .open
            .as_ref()
            .and_then(|attempt| self.claim(attempt));
        let (Some(attempt), Some(live)) = (&mut self.journal.open, &mut self.live) else {
            return;
        };
        let evidence = attempt.report.evidence.take().or(claim);
        if let Some(mut given) = attempt.report.steps.last_entry() {
            let given = given.get_mut();
            given.error = Some(error);
            given.evidence = evidence;
        }
        attempt.claimed = false;
        attempt.command_seen = None;
        attempt.was_absent = false;
        attempt.trigger_problem = None;
        attempt.new_boot_id = None;
        attempt.boot_seen = None;
        live.seen = None;
        live.steady = None;
        live.seen_well = None;
        live.glimpse = None;
        live.health = None;
        live.healthy = None;
        self.command(mode, out);
    }
}
