//! The phases of an open attempt: what is done in which, and until when.

use std::time::Duration;

use iot_hub::reboot::{Origin, RequestId, State};

use super::{Engine, Now, Out, clock::Stopwatch, live::Live, prepare::Preparation};
use crate::journal::Attempt;

impl Engine {
    /// Does what the time is ripe for.
    pub(super) fn advance_attempt(&mut self, out: &mut Out) {
        let Some((_, state)) = self.open() else {
            return;
        };
        match state {
            State::Scheduled | State::Blocked => self.advance_waiting(out),
            State::Accepted => self.advance_accepted(out),
            State::Preparing => self.advance_preparing(out),
            State::Rebooting | State::Down => self.advance_command(out),
            State::Verifying => self.advance_verifying(out),
            State::Pending
            | State::Dispatching
            | State::Succeeded
            | State::Failed
            | State::Cancelled
            | State::Rejected
            | State::Expired
            | State::Lost => {}
        }
    }

    pub(super) fn enter(&mut self, state: State, now: Now) {
        if let Some(attempt) = &mut self.journal.open {
            attempt.report.state = state;
            attempt.report.state_time = now.wall;
            attempt.report.timeline.insert(state, now.wall);
        }
        if let Some(live) = &mut self.live {
            live.phase = Stopwatch::begin(now);
            live.preparation = Preparation::Wanted;
            live.next_look = now.mono;
            live.next_health = now.mono;
        }
    }

    pub(super) fn phase_wakes_at(&self, live: &Live, attempt: &Attempt) -> Duration {
        let settings = &self.settings;
        // A moment of the wall clock, looked at anew from time to time, for that clock may jump.
        let wall = |at| self.now.mono + self.now.until(at).min(Duration::from_secs(60));
        let start_by = if attempt.names_a_moment() {
            wall(attempt.start_by).min(live.start_by)
        } else {
            live.start_by
        };
        let start_at = live.begins_at.unwrap_or_else(|| wall(attempt.start_at));
        let rehearsing = attempt.report.state == State::Preparing && live.triggering.is_some();
        let deadline = live.overdue_at;
        let preparing = attempt.report.state == State::Preparing
            && matches!(live.preparation, Preparation::Asked(_));
        let look = if live.observing.is_none() && !rehearsing && !preparing {
            live.next_look
        } else {
            Duration::MAX
        };
        let health = if live.checking.is_none() && live.is_back() {
            live.next_health
        } else {
            Duration::MAX
        };
        let doubt = live.doubt.as_ref();
        let doubt = doubt.map_or(Duration::MAX, |doubt| doubt.until);
        let command = live.command.unwrap_or(live.phase);
        match attempt.report.state {
            State::Scheduled | State::Blocked if self.survey.is_some() => start_by,
            State::Scheduled | State::Blocked => start_by.min(start_at.max(live.next_look)),
            State::Accepted => {
                let grace = live.phase.passes(settings.answer_grace);
                let limit = live
                    .phase
                    .passes(settings.ack_limit.max(settings.answer_grace));
                let queued = attempt.report.origin == Origin::Desired;
                let patient = queued || live.inherited;
                start_by.min(match (live.is_acknowledged(), patient) {
                    (true, _) if queued => grace.max(live.check.wakes_at()),
                    (true, _) => grace,
                    (false, true) => Duration::MAX,
                    (false, false) => limit,
                })
            }
            State::Preparing if live.inherited && !live.is_acknowledged() => start_by,
            State::Preparing => start_by
                .min(look)
                .min(live.phase.passes(settings.prepare_limit)),
            State::Rebooting | State::Down => {
                let mode = attempt.mode();
                // What has passed waits for a look.
                let ahead = |limit| {
                    let passes = command.passes(limit);
                    if passes > self.now.mono {
                        passes
                    } else {
                        Duration::MAX
                    }
                };
                let down = ahead(settings.go_down_limit(mode));
                let back = ahead(settings.return_limit(mode));
                deadline.min(look).min(doubt).min(down).min(back)
            }
            State::Verifying => {
                let limit = live.phase.passes(settings.verify_limit);
                deadline.min(look).min(health).min(doubt).min(limit)
            }
            State::Pending
            | State::Dispatching
            | State::Succeeded
            | State::Failed
            | State::Cancelled
            | State::Rejected
            | State::Expired
            | State::Lost => Duration::MAX,
        }
    }

    /// Ends the attempt if it has not passed its point of no return.
    pub(super) fn cancel(&mut self, id: RequestId, out: &mut Out) -> bool {
        let pending = self
            .open()
            .is_some_and(|(open, state)| open == id && !state.is_past_no_return());
        if pending {
            self.finish(State::Cancelled, None, out);
        }
        pending
    }
}
