//! An attempt after its command: the device is watched until it is back, or too late.

use std::time::Duration;

use iot_hub::reboot::{Evidence, FailureCode, Grade, State};

use super::{
    DriverStep, Engine, Out, Ticket,
    finish::failure,
    ladder::Shown,
    live::{Look, Seen},
    silence::Silence,
};
use crate::{
    driver::{DriverError, Observation, STEP_LIMIT},
    evidence::{Cause, Glimpse, Sign, grade},
    journal::Attempt,
};

/// The longest pause between two looks at a device that reboots.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Engine {
    pub(super) fn advance_command(&mut self, out: &mut Out) {
        let (Some(attempt), Some(live)) = (&self.journal.open, &self.live) else {
            return;
        };
        if live.overdue_at <= self.now.mono {
            let error = failure(
                FailureCode::DeadlineExceeded,
                "the deadline passed and the device is not back in a new boot",
                true,
            );
            return self.finish(State::Lost, Some(error), out);
        }
        let return_limit = self.settings.return_limit(attempt.mode());
        if self.never_went_down(out) || self.doubts_for_too_long(out) {
            return;
        }
        // One that is there has not gone; whether it ever went is seen by the next look.
        let gone = self.live.as_ref().is_some_and(|live| {
            !live.is_in_old_boot() && live.is_past_command(return_limit, self.now)
        });
        if gone {
            let words = if self.journal.power_owed {
                "the device did not come back, and nobody has seen its power on again"
            } else {
                "the device did not come back"
            };
            let error = failure(FailureCode::NoReturn, words, true);
            self.step_failed(Shown::Absence, error, out);
        }
        self.look_when_due(out);
    }

    /// Sees to a device that is present, in the boot of the baseline, when it is too late: that has to
    /// be shown by a look that began then, for after an earlier one it may have gone down in time. Says
    /// whether that ended the attempt.
    pub(super) fn never_went_down(&mut self, out: &mut Out) -> bool {
        let (Some(attempt), Some(live)) = (&self.journal.open, &self.live) else {
            return false;
        };
        let verifying = attempt.report.state == State::Verifying;
        let certain = live.sign == Some(Sign::SameBoot);
        let same = live.is_in_old_boot() && (certain || !verifying) && live.doubt.is_none();
        let limit = self.settings.go_down_limit(attempt.mode());
        let Some(late) = live.command.map(|command| command.passes(limit)) else {
            return false;
        };
        if !same || self.now.mono < late {
            return false;
        }
        if live.sign_of < late {
            let now = self.now;
            if let Some(live) = &mut self.live {
                live.look_from(late, now);
            }
            return false;
        }
        let error = match &attempt.trigger_problem {
            Some(problem) => failure(FailureCode::TriggerFailed, problem.clone(), true),
            None if attempt.on_host && live.marker => failure(
                FailureCode::AgentRestarted,
                "the gateway was restarted and its host was not",
                true,
            ),
            None => failure(
                FailureCode::NoShutdown,
                no_shutdown(certain, live.silence),
                true,
            ),
        };
        if certain {
            self.step_failed(Shown::OldBoot, error, out);
        } else {
            self.finish(State::Failed, Some(error), out);
        }
        self.open().is_none()
    }

    pub(super) fn look_when_due(&mut self, out: &mut Out) {
        let Some(live) = &self.live else { return };
        let due = live.next_look <= self.now.mono && live.observing.is_none();
        let baseline = self
            .journal
            .open
            .as_ref()
            .and_then(|attempt| attempt.baseline.clone());
        if let (true, Some(baseline)) = (due, baseline) {
            let ticket = self.ask(DriverStep::Observe(baseline), out);
            if let Some(live) = &mut self.live {
                live.observing = Some(Look {
                    ticket,
                    began: self.now.mono,
                });
                live.look_again = false;
            }
        }
    }

    pub(super) fn on_observed(
        &mut self,
        ticket: Ticket,
        result: Result<Observation, DriverError>,
        out: &mut Out,
    ) {
        let now = self.now;
        let interval = self.settings.observe_interval;
        let (Some(live), Some(attempt)) = (&mut self.live, &mut self.journal.open) else {
            return;
        };
        let Some(look) = live.observing.take_if(|look| look.ticket == ticket) else {
            return;
        };
        let pause = (live.phase.elapsed(now) / 20)
            .min(LONGEST_PAUSE)
            .max(interval);
        live.next_look = if live.look_again {
            now.mono
        } else {
            now.mono + pause
        };
        let observation = match result {
            Ok(mut observation) => {
                live.silence.end();
                // What a driver has forgotten is remembered here. One that began with this process
                // cannot tell our absence from the device's.
                observation.was_absent &= live.marks_absence();
                observation.was_absent |= attempt.was_absent;
                live.met |= observation.present;
                observation
            }
            Err(DriverError::Absent(why)) => {
                live.silence.end();
                absent(why)
            }
            Err(DriverError::Unreachable(why)) if live.silence.lasts(look.began, interval) => {
                absent(why)
            }
            Err(DriverError::Unreachable(_)) => {
                live.next_look = now.mono.max(live.silence.tells_from(interval));
                if let Some(glimpse) = &mut live.glimpse {
                    glimpse.miss();
                }
                return live.lose_sight();
            }
            Err(
                DriverError::Refused(_) | DriverError::Unsupported(_) | DriverError::Failed { .. },
            ) => {
                live.silence.end();
                return live.lose_sight();
            }
        };
        if look.began + STEP_LIMIT < now.mono {
            // It was held up on our side, as by a full disk, and too much may have happened since. That
            // the device was away remains true.
            let past = attempt.report.state.is_past_no_return();
            attempt.was_absent |= past && live.met && !observation.present;
            return live.lose_sight();
        }
        let Some(baseline) = &attempt.baseline else {
            return;
        };
        let cause = Cause {
            id: attempt.report.request_id,
            journal_marker: attempt.on_host && live.marker,
        };
        let sign = grade(
            baseline,
            &observation,
            live.since_baseline(look, now),
            cause,
        );
        let nameless = baseline.boot_id.is_some() && observation.boot_id.is_none();
        live.sign = Some(sign);
        live.sign_of = look.began;
        if observation.present {
            live.seen = Some(Seen {
                method: observation.method,
                after: text_of(&observation.detail, observation.boot_id.as_deref()),
            });
        }
        match attempt.report.state {
            // It has just connected and has not said which boot it is in: look again.
            State::Preparing if nameless => {}
            State::Preparing => self.on_prepared(sign, observation.boot_id, out),
            State::Rebooting | State::Down | State::Verifying => {
                self.notice_another_boot(sign, &observation, look);
                self.on_sign(sign, &observation, look);
                self.resolve_doubt(ticket, out);
            }
            State::Pending
            | State::Dispatching
            | State::Scheduled
            | State::Blocked
            | State::Accepted
            | State::Succeeded
            | State::Failed
            | State::Cancelled
            | State::Rejected
            | State::Expired
            | State::Lost => {}
        }
    }

    fn on_sign(&mut self, sign: Sign, observation: &Observation, look: Look) {
        let now = self.now;
        let (Some(attempt), Some(live)) = (&mut self.journal.open, &mut self.live) else {
            return;
        };
        let verifying = attempt.report.state == State::Verifying;
        match sign {
            Sign::Absent => {
                live.steady = None;
                attempt.was_absent |= live.met;
                if attempt.report.state == State::Rebooting {
                    self.enter(State::Down, now);
                }
            }
            Sign::Silent if verifying => live.seen_well = Some(look.began),
            Sign::Silent => {}
            Sign::SameBoot => {
                // Whatever looked like a return was none.
                live.steady = None;
                attempt.report.evidence = None;
            }
            Sign::Rebooted(proved) => {
                let before = attempt.baseline.as_ref();
                let after = text_of(&observation.detail, observation.boot_id.as_deref());
                let evidence = Evidence {
                    grade: proved,
                    method: observation.method.to_owned(),
                    before: before.map_or_else(String::new, |baseline| {
                        text_of(&baseline.detail, baseline.boot_id.as_deref())
                    }),
                    after: match &attempt.command_seen {
                        Some(seen) => format!("{after}; {seen}"),
                        None => after,
                    },
                };
                let stronger = attempt
                    .report
                    .evidence
                    .as_ref()
                    .is_none_or(|e| e.grade < proved);
                if stronger {
                    attempt.report.evidence = Some(evidence);
                }
                live.seen_well = Some(look.began);
                let boot = observation.boot_id.clone();
                if boot.is_some() {
                    attempt.new_boot_id.clone_from(&boot);
                }
                attempt.boot_seen.get_or_insert(now.wall);
                if !verifying {
                    self.note_boot(boot);
                    self.enter(State::Verifying, now);
                } else if boot.is_some() {
                    self.journal.boot_id = boot;
                }
            }
        }
    }

    /// A device that was seen in its new boot may have booted once more: nobody asked for that, and
    /// it has to settle anew.
    fn notice_another_boot(&mut self, sign: Sign, observation: &Observation, look: Look) {
        let (began, now) = (look.began, self.now.mono);
        let (Some(attempt), Some(live)) = (&self.journal.open, &mut self.live) else {
            return;
        };
        let newest = Glimpse::of(observation, now);
        let last = match sign {
            Sign::Absent => {
                if let Some(glimpse) = &mut live.glimpse {
                    glimpse.miss();
                }
                return;
            }
            Sign::SameBoot => {
                live.glimpse = None;
                return;
            }
            // Nothing that it shows by itself has proved a new boot yet.
            Sign::Silent | Sign::Rebooted(Grade::Claimed | Grade::Returned)
                if live.glimpse.is_none() =>
            {
                None
            }
            Sign::Silent | Sign::Rebooted(_) => live.glimpse.replace(newest),
        };
        let again = match (&attempt.new_boot_id, &observation.boot_id) {
            (Some(first), Some(boot)) => (first != boot).then_some(Grade::BootChanged),
            // It has just connected and has not said which boot it is in.
            (Some(_), None) => None,
            (None, _) => last.and_then(|last| last.booted_since(observation, began, now)),
        };
        if let Some(proved) = again {
            live.steady = None;
            self.count_unexpected(observation.boot_id.clone(), proved);
        }
    }

    pub(super) fn claim(&self, attempt: &Attempt) -> Option<Evidence> {
        let seen = self.live.as_ref()?.seen.as_ref()?;
        let baseline = attempt.baseline.as_ref()?;
        attempt.claimed.then(|| Evidence {
            grade: Grade::Claimed,
            method: seen.method.to_owned(),
            before: text_of(&baseline.detail, baseline.boot_id.as_deref()),
            after: seen.after.clone(),
        })
    }
}

/// What is known of a device that was not seen to go down.
fn no_shutdown(is_certain: bool, silence: Silence) -> &'static str {
    match (is_certain, silence.was_broken()) {
        (true, _) => "the device is still in the boot of before",
        (false, false) => "the device was not seen away, and nothing shows another boot",
        (false, true) => {
            "a look at the device was not answered, which its network may explain, and nothing shows \
             another boot"
        }
    }
}

fn absent(why: String) -> Observation {
    Observation {
        present: false,
        was_absent: true,
        boot_id: None,
        uptime: None,
        boot_count: None,
        caused_by: None,
        method: "reachability",
        detail: why,
    }
}

/// A device's own words for a person, short enough for a twin.
fn text_of(detail: &str, boot_id: Option<&str>) -> String {
    let text = if detail.is_empty() {
        boot_id.unwrap_or_default()
    } else {
        detail
    };
    text.chars().take(128).collect()
}
