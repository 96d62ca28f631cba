//! What of an open attempt is in memory alone: its clocks, and what is under way.

use std::time::Duration;

use iot_hub::reboot::State;

use super::{Now, Ticket, clock::Stopwatch, ladder::Doubt, prepare::Preparation, silence::Silence};
use crate::{
    driver::Health,
    evidence::{Elapsed, Glimpse, Sign},
    journal::Attempt,
};

/// How far the wall clock may be off over a restart, for judging uptimes.
const CLOCK_DOUBT: Duration = Duration::from_secs(24 * 3_600);

/// What of an open attempt is not on disk.
#[derive(Debug, Clone)]
pub(super) struct Live {
    /// In the present state.
    pub(super) phase: Stopwatch,
    /// Since the command.
    pub(super) command: Option<Stopwatch>,
    pub(super) baseline: Age,
    /// When the attempt has to have begun, and when a device has to be back that was given its
    /// command, on the monotonic clock: that the wall clock is set ends no attempt after its command,
    /// and lets none begin after its deadline.
    pub(super) start_by: Duration,
    pub(super) overdue_at: Duration,
    /// When an attempt begins that waits for so long, and not for a moment of the wall clock.
    pub(super) begins_at: Option<Duration>,
    /// Found in the journal by this process, past the point of no return.
    pub(super) marker: bool,
    /// Found in the journal by this process. Until the hub has the report of it, nobody knows whether that
    /// journal is the newest.
    pub(super) inherited: bool,
    pub(super) unanswered: Vec<String>,
    pub(super) unreported: Unreported,
    pub(super) check: Check,
    pub(super) preparation: Preparation,
    /// When it was last told what its blockers say, on the monotonic clock.
    pub(super) words_told: Option<Duration>,
    /// How often its preparation met with an objection.
    pub(super) objections: u32,
    /// This process has seen the device present, so that an absence is the device's own. Before that
    /// it is as well explained by the restart of the gateway, and of the gateway's host.
    pub(super) met: bool,
    pub(super) next_look: Duration,
    pub(super) next_health: Duration,
    pub(super) triggering: Option<Ticket>,
    /// The newest command seems not to have been enough.
    pub(super) doubt: Option<Doubt>,
    pub(super) observing: Option<Look>,
    /// What nobody has answered since the command.
    pub(super) silence: Silence,
    /// There was a reason to look while a look was under way.
    pub(super) look_again: bool,
    pub(super) checking: Option<Ticket>,
    /// What the newest observation showed; nothing when it failed.
    pub(super) sign: Option<Sign>,
    /// When the look that showed it began, on the monotonic clock. What happened since it does not show.
    pub(super) sign_of: Duration,
    pub(super) seen: Option<Seen>,
    pub(super) health: Option<Health>,
    /// Since when the device has been present and not unhealthy.
    pub(super) steady: Option<Duration>,
    /// When it was last seen in its new boot.
    pub(super) seen_well: Option<Duration>,
    /// The newest look at it in its new boot.
    pub(super) glimpse: Option<Glimpse>,
    /// When it last passed its health check.
    pub(super) healthy: Option<Duration>,
}

/// A look at the device that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) ticket: Ticket,
    /// When it began, on the monotonic clock. The device shows how it was then or later, and nobody
    /// knows how much later.
    pub(super) began: Duration,
}

/// The newest observation, for a person.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: &'static str,
    pub(super) after: String,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Age {
    /// Taken by this process.
    Known(Duration),
    /// Taken by an earlier process, so long before this one began by the wall clock; it may be that
    /// nobody noted when.
    Inherited {
        since: Duration,
        before: Option<Duration>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreported {
    Nothing,
    /// The report that this step ends with.
    Coming,
    Seq(u64),
}

/// Whether the hub still has the queued request that this attempt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// It has to be asked, but not before then.
    Due(Duration),
    /// It is being asked; it is asked again then.
    Asked { number: u64, again: Duration },
    /// It has.
    Passed,
}

impl Check {
    /// When there is something to do about it.
    pub(super) fn wakes_at(self) -> Duration {
        match self {
            Self::Due(at) | Self::Asked { again: at, .. } => at,
            Self::Passed => Duration::ZERO,
        }
    }
}

impl Live {
    pub(super) fn begin(now: Now) -> Self {
        Self {
            phase: Stopwatch::begin(now),
            command: None,
            baseline: Age::Known(now.mono),
            start_by: Duration::MAX,
            overdue_at: Duration::MAX,
            begins_at: None,
            marker: false,
            inherited: false,
            unanswered: Vec::new(),
            unreported: Unreported::Nothing,
            check: Check::Due(now.mono),
            preparation: Preparation::Wanted,
            words_told: None,
            objections: 0,
            met: true,
            next_look: now.mono,
            next_health: now.mono,
            triggering: None,
            doubt: None,
            observing: None,
            silence: Silence::default(),
            look_again: false,
            checking: None,
            sign: None,
            sign_of: now.mono,
            seen: None,
            health: None,
            steady: None,
            seen_well: None,
            glimpse: None,
            healthy: None,
        }
    }

    /// Takes up an attempt of an earlier process. Whether that one answered is not known, and
    /// whoever asked would have asked again by now.
    pub(super) fn resume(attempt: &Attempt, seq: u64, now: Now) -> Self {
        let report = &attempt.report;
        let began = report.timeline.get(&State::Rebooting);
        Self {
            phase: Stopwatch::resume(report.state_time, now),
            command: began.map(|at| Stopwatch::resume(*at, now)),
            baseline: Age::Inherited {
                since: now.mono,
                before: attempt.baseline_time.map(|at| now.since(at)),
            },
            start_by: now.at(attempt.start_by, false),
            overdue_at: attempt
                .call
                .deadline
                .map_or(Duration::MAX, |at| now.at(at, true)),
            // A wall clock that was set back makes it wait no longer than it was to wait at all.
            begins_at: attempt
                .call
                .delay
                .map(|delay| now.mono + now.until(attempt.start_at).min(delay)),
            marker: report.state.is_past_no_return(),
            met: false,
            inherited: true,
            unreported: if matches!(report.state, State::Accepted | State::Preparing) {
                Unreported::Seq(seq)
            } else {
                Unreported::Nothing
            },
            ..Self::begin(now)
        }
    }

    pub(super) fn on_answer_acked(&mut self, rid: &str) {
        self.unanswered.retain(|unanswered| unanswered != rid);
    }

    pub(super) fn on_reporting(&mut self, seq: u64) {
        if self.unreported == Unreported::Coming {
            self.unreported = Unreported::Seq(seq);
        }
    }

    pub(super) fn on_report_acked(&mut self, acked: u64) {
        if matches!(self.unreported, Unreported::Seq(seq) if seq <= acked) {
            self.unreported = Unreported::Nothing;
        }
    }

    pub(super) fn look_now(&mut self, now: Now) {
        self.next_look = now.mono;
        self.look_again = true;
    }

    /// A look is wanted that begins no sooner than then, which has come.
    pub(super) fn look_from(&mut self, then: Duration, now: Now) {
        if self.observing.is_none_or(|look| look.began < then) {
            self.look_now(now);
        }
    }

    /// So much of the time that has passed counts against nobody.
    pub(super) fn leave_out(&mut self, time: Duration) {
        self.phase.leave_out(time);
        if let Some(command) = &mut self.command {
            command.leave_out(time);
        }
        if let Some(doubt) = &mut self.doubt {
            doubt.until += time;
        }
    }

    /// The newest look showed nothing of the device.
    pub(super) fn lose_sight(&mut self) {
        self.sign = None;
        self.steady = None;
    }

    pub(super) fn is_acknowledged(&self) -> bool {
        self.unanswered.is_empty() && self.unreported == Unreported::Nothing
    }

    /// What a driver says of absences is about this attempt: the command was this process's.
    pub(super) fn marks_absence(&self) -> bool {
        !self.marker
    }

    /// Present, and nothing contradicts that it rebooted.
    pub(super) fn is_back(&self) -> bool {
        matches!(self.sign, Some(Sign::Rebooted(_) | Sign::Silent))
    }

    /// Present, and nothing shows that it rebooted.
    pub(super) fn is_in_old_boot(&self) -> bool {
        matches!(self.sign, Some(Sign::SameBoot | Sign::Silent))
    }

    /// How long before the end of a look, which is now, the baseline was taken.
    pub(super) fn since_baseline(&self, look: Look, now: Now) -> Elapsed {
        let (Age::Known(since) | Age::Inherited { since, .. }) = self.baseline;
        let at_least = look.began.saturating_sub(since);
        let at_most = now.mono.saturating_sub(since);
        match self.baseline {
            Age::Known(_) => Elapsed {
                at_least,
                at_most,
                by_wall: None,
            },
            Age::Inherited { before, .. } => {
                let by_wall = before.map_or(Duration::MAX, |before| before + at_most);
                Elapsed {
                    at_least,
                    at_most: by_wall.saturating_add(CLOCK_DOUBT),
                    by_wall: Some(by_wall),
                }
            }
        }
    }

    /// So long has passed since the command.
    pub(super) fn is_past_command(&self, limit: Duration, now: Now) -> bool {
        self.command
            .is_some_and(|command| command.has_passed(limit, now))
    }
}
