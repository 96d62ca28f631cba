//! An attempt from its beginning to its verdict.

use std::{collections::BTreeMap, time::Duration};

use iot_hub::reboot::{Blocker, Evidence, Failure, FailureCode, Grade, RequestId, State};

use super::{
    DriverStep, Engine, Now, Out, Ticket,
    clock::Stopwatch,
    finish::failure,
    survey::{Findings, Purpose},
};
use crate::{
    driver::{DriverError, Health, Observation, Order, Triggered},
    evidence::{Cause, Elapsed, Sign, grade},
    journal::Attempt,
};

/// How far the wall clock may be off over a restart, for judging uptimes.
const CLOCK_DOUBT: Duration = Duration::from_secs(24 * 3_600);

/// The longest pause between two looks at a device that reboots.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What of an open attempt is not on disk.
#[derive(Debug, Clone)]
pub(super) struct Live {
    /// In the present state.
    phase: Stopwatch,
    /// Since the command.
    command: Option<Stopwatch>,
    baseline: Age,
    /// Found in the journal by this process, past the point of no return.
    marker: bool,
    unanswered: Vec<String>,
    unreported: Unreported,
    next_look: Duration,
    next_health: Duration,
    triggering: Option<Ticket>,
    observing: Option<Ticket>,
    /// There was a reason to look while a look was under way.
    look_again: bool,
    checking: Option<Ticket>,
    /// What the newest observation showed; nothing when it failed.
    sign: Option<Sign>,
    seen: Option<Seen>,
    health: Option<Health>,
    /// Since when the device has been present and not unhealthy.
    steady: Option<Duration>,
    /// When it was last seen in its new boot.
    seen_well: Option<Duration>,
    /// When it last passed its health check.
    healthy: Option<Duration>,
}

/// The newest observation, for a person.
#[derive(Debug, Clone)]
struct Seen {
    method: &'static str,
    after: String,
}

#[derive(Debug, Clone, Copy)]
enum Age {
    /// Taken by this process.
    Known(Duration),
    /// Taken by an earlier process, so long before this one by the wall clock.
    Inherited { since: Duration, before: Duration },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unreported {
    Nothing,
    /// The report that this step ends with.
    Coming,
    Seq(u64),
}

impl Live {
    pub(super) fn begin(now: Now) -> Self {
        Self {
            phase: Stopwatch::begin(now),
            command: None,
            baseline: Age::Known(now.mono),
            marker: false,
            unanswered: Vec::new(),
            unreported: Unreported::Nothing,
            next_look: now.mono,
            next_health: now.mono,
            triggering: None,
            observing: None,
            look_again: false,
            checking: None,
            sign: None,
            seen: None,
            health: None,
            steady: None,
            seen_well: None,
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
                before: attempt
                    .baseline_time
                    .map_or(Duration::MAX, |at| now.since(at) + CLOCK_DOUBT),
            },
            marker: report.state.is_past_no_return(),
            unreported: if report.state == State::Accepted {
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

    fn is_acknowledged(&self) -> bool {
        self.unanswered.is_empty() && self.unreported == Unreported::Nothing
    }

    /// Present, and nothing contradicts that it rebooted.
    fn is_back(&self) -> bool {
        matches!(self.sign, Some(Sign::Rebooted(_) | Sign::Silent))
    }

    fn since_baseline(&self, now: Now) -> Elapsed {
        match self.baseline {
            Age::Known(taken) => Elapsed::exactly(now.mono.saturating_sub(taken)),
            Age::Inherited { since, before } => {
                let at_least = now.mono.saturating_sub(since);
                Elapsed {
                    at_least,
                    at_most: before.saturating_add(at_least),
                }
            }
        }
    }

    fn since_command(&self, now: Now) -> Duration {
        self.command
            .map_or(Duration::ZERO, |command| command.elapsed(now))
    }
}

impl Engine {
    /// Journals the baseline; the command waits for the acknowledgements.
    pub(super) fn accept(&mut self, findings: Findings, rids: Vec<String>) {
        let now = self.now;
        let on_host = self
            .probe
            .as_ref()
            .is_some_and(|probe| probe.restarts_gateway);
        if let Some(attempt) = &mut self.journal.open {
            attempt.baseline = Some(findings.baseline);
            attempt.baseline_time = Some(findings.taken.wall);
            attempt.on_host = on_host;
            attempt.report.blockers.clear();
        }
        if let Some(live) = &mut self.live {
            live.baseline = Age::Known(findings.taken.mono);
            live.unanswered = rids;
            live.unreported = Unreported::Coming;
        }
        self.enter(State::Accepted, now);
    }

    pub(super) fn conclude_start(
        &mut self,
        findings: Result<Findings, DriverError>,
        out: &mut Out,
    ) {
        let Some(attempt) = &self.journal.open else {
            return;
        };
        let retry_at = self.now.mono + self.settings.block_interval;
        match findings {
            // It may come back before it is too late to begin.
            Err(DriverError::Unreachable(_) | DriverError::Failed { .. }) => {}
            Err(error @ (DriverError::Refused(_) | DriverError::Unsupported(_))) => {
                let error = failure(FailureCode::PrepareFailed, error.to_string(), false);
                return self.finish(State::Failed, Some(error), out);
            }
            Ok(findings) => match self.objects(&attempt.call, &findings) {
                None => return self.accept(findings, Vec::new()),
                Some(refusal) if !refusal.blockers.is_empty() => {
                    if attempt.report.state != State::Blocked {
                        self.enter(State::Blocked, self.now);
                    }
                    self.set_blockers(refusal.blockers);
                }
                Some(refusal) => {
                    let code = FailureCode::from(refusal.code.name().to_owned());
                    let error = failure(code, refusal.message, false);
                    return self.finish(State::Failed, Some(error), out);
                }
            },
        }
        if let Some(live) = &mut self.live {
            live.next_look = retry_at;
        }
    }

    pub(super) fn set_blockers(&mut self, blockers: BTreeMap<String, Blocker>) {
        if let Some(attempt) = &mut self.journal.open {
            attempt.report.blockers = blockers;
        }
        if let Some(live) = &mut self.live {
            live.next_look = self.now.mono + self.settings.block_interval;
        }
    }

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

    fn advance_waiting(&mut self, out: &mut Out) {
        if self.expires(out) {
            return;
        }
        let (Some(attempt), Some(live)) = (&self.journal.open, &self.live) else {
            return;
        };
        let due = attempt.start_at <= self.now.wall && live.next_look <= self.now.mono;
        if due && self.survey.is_none() {
            let mode = attempt.call.mode;
            self.begin_survey(Purpose::Start, mode, out);
        }
    }

    fn advance_accepted(&mut self, out: &mut Out) {
        if self.expires(out) {
            return;
        }
        let Some(live) = &self.live else { return };
        let elapsed = live.phase.elapsed(self.now);
        let waited = elapsed >= self.settings.ack_limit;
        if elapsed >= self.settings.answer_grace && (live.is_acknowledged() || waited) {
            self.enter(State::Preparing, self.now);
            self.advance_preparing(out);
        }
    }

    fn advance_preparing(&mut self, out: &mut Out) {
        if self.expires(out) {
            return;
        }
        let Some(live) = &self.live else { return };
        // Only a rehearsal waits for its command here.
        let rehearsing = live.triggering.is_some();
        if live.phase.elapsed(self.now) >= self.settings.prepare_limit {
            let seen = match &live.sign {
                Some(Sign::Absent) | None => "the device cannot be reached",
                Some(Sign::Silent | Sign::SameBoot | Sign::Rebooted(_)) => {
                    "preparing took too long"
                }
            };
            let error = failure(FailureCode::PrepareTimeout, seen, true);
            return self.finish(State::Failed, Some(error), out);
        }
        if !rehearsing {
            self.look_when_due(out);
        }
    }

    fn advance_command(&mut self, out: &mut Out) {
        let Some(attempt) = &self.journal.open else {
            return;
        };
        if attempt.call.deadline.is_some_and(|at| at <= self.now.wall) {
            let error = failure(
                FailureCode::DeadlineExceeded,
                "the deadline passed and the device is not back in a new boot",
                true,
            );
            return self.finish(State::Lost, Some(error), out);
        }
        if self.never_went_down(out) {
            return;
        }
        let gone = self.live.as_ref().map(|live| live.since_command(self.now));
        if gone >= Some(self.settings.return_limit) {
            let error = failure(FailureCode::NoReturn, "the device did not come back", true);
            return self.finish(State::Lost, Some(error), out);
        }
        self.look_when_due(out);
    }

    fn advance_verifying(&mut self, out: &mut Out) {
        if self.never_went_down(out) {
            return;
        }
        let (Some(attempt), Some(live)) = (&self.journal.open, &self.live) else {
            return;
        };
        let now = self.now;
        let proved = self.proved(attempt, live);
        let settled = live.steady.map(|since| since + self.settings.settle);
        let holds =
            |seen: Option<Duration>| settled.is_some_and(|at| seen.is_some_and(|s| s >= at));
        if proved >= Some(self.required(attempt)) && holds(live.seen_well) && holds(live.healthy) {
            if let Some(attempt) = &mut self.journal.open
                && let (Some(evidence), Some(proved)) = (&mut attempt.report.evidence, proved)
            {
                evidence.grade = proved;
            }
            return self.finish(State::Succeeded, None, out);
        }
        let overdue = attempt.call.deadline.is_some_and(|at| at <= now.wall);
        if overdue || live.phase.elapsed(now) >= self.settings.verify_limit {
            let error = self.unverified(attempt, live, overdue);
            return self.finish(State::Failed, Some(error), out);
        }
        self.look_when_due(out);
        self.check_health_when_due(out);
    }

    /// What is proved by now; the highest grade needs a health check that was passed.
    fn proved(&self, attempt: &Attempt, live: &Live) -> Option<Grade> {
        let evidence = attempt.report.evidence.as_ref()?;
        match (evidence.grade, &live.health) {
            (Grade::Caused, Some(Health::Healthy)) => Some(Grade::Healthy),
            (proved, _) => Some(proved),
        }
    }

    pub(super) fn required(&self, attempt: &Attempt) -> Grade {
        let driver = self.journal.capabilities.as_ref();
        attempt
            .call
            .required_grade
            .or(self.settings.required_grade)
            .or(driver.map(|capabilities| capabilities.required_grade))
            .unwrap_or(Grade::BootChanged)
    }

    fn unverified(&self, attempt: &Attempt, live: &Live, overdue: bool) -> Failure {
        let required = self.required(attempt);
        match (&live.health, live.sign) {
            (_, Some(Sign::Absent) | None) => {
                failure(FailureCode::Unhealthy, "the device went away again", true)
            }
            (Some(Health::Unhealthy(why)), _) => {
                failure(FailureCode::Unhealthy, why.clone(), false)
            }
            (_, _) if self.proved(attempt, live) < Some(required) => failure(
                FailureCode::ProofTooWeak,
                format!("the evidence is weaker than {required}"),
                false,
            ),
            (_, _) if overdue => failure(
                FailureCode::DeadlineExceeded,
                "the deadline passed while the device was verified",
                true,
            ),
            (_, _) => failure(
                FailureCode::Unhealthy,
                "the device did not stay up for the settle time",
                true,
            ),
        }
    }

    /// Ends an attempt whose device is present, in the boot of the baseline, when it is too late.
    fn never_went_down(&mut self, out: &mut Out) -> bool {
        let (Some(attempt), Some(live)) = (&self.journal.open, &self.live) else {
            return false;
        };
        let present = matches!(live.sign, Some(Sign::SameBoot | Sign::Silent));
        let verifying = attempt.report.state == State::Verifying;
        let same = present && !(verifying && live.sign == Some(Sign::Silent));
        if !same || live.since_command(self.now) < self.settings.go_down_limit {
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
                "the device is still in the boot of before",
                true,
            ),
        };
        self.finish(State::Failed, Some(error), out);
        true
    }

    /// Ends an attempt that has certainly not begun when it must have.
    fn expires(&mut self, out: &mut Out) -> bool {
        let start_by = self.journal.open.as_ref().map(|attempt| attempt.start_by);
        let expired = start_by.is_some_and(|at| at <= self.now.wall);
        if expired {
            let error = failure(
                FailureCode::DeadlineExceeded,
                "the deadline passed before the reboot could begin",
                true,
            );
            self.finish(State::Expired, Some(error), out);
        }
        expired
    }

    fn look_when_due(&mut self, out: &mut Out) {
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
                live.observing = Some(ticket);
                live.look_again = false;
            }
        }
    }

    fn check_health_when_due(&mut self, out: &mut Out) {
        let Some(live) = &self.live else { return };
        if live.is_back() && live.next_health <= self.now.mono && live.checking.is_none() {
            let ticket = self.ask(DriverStep::CheckHealth, out);
            if let Some(live) = &mut self.live {
                live.checking = Some(ticket);
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
        let Some(live) = self
            .live
            .as_mut()
            .filter(|live| live.observing == Some(ticket))
        else {
            return;
        };
        let Some(attempt) = &mut self.journal.open else {
            return;
        };
        live.observing = None;
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
                // What a driver has forgotten is remembered here.
                observation.was_absent |= attempt.was_absent;
                observation
            }
            Err(DriverError::Unreachable(why)) => absent(why),
            Err(
                DriverError::Refused(_) | DriverError::Unsupported(_) | DriverError::Failed { .. },
            ) => {
                live.sign = None;
                live.steady = None;
                return;
            }
        };
        let Some(baseline) = &attempt.baseline else {
            return;
        };
        let cause = Cause {
            id: attempt.report.request_id,
            journal_marker: attempt.on_host && live.marker,
        };
        let sign = grade(baseline, &observation, live.since_baseline(now), cause);
        live.sign = Some(sign);
        if observation.present {
            live.seen = Some(Seen {
                method: observation.method,
                after: text_of(&observation.detail, observation.boot_id.as_deref()),
            });
        }
        match attempt.report.state {
            State::Preparing => self.on_prepared(sign, observation.boot_id, out),
            State::Rebooting | State::Down | State::Verifying => {
                self.on_sign(sign, &observation);
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

    /// The last look before the command.
    fn on_prepared(&mut self, sign: Sign, boot_id: Option<String>, out: &mut Out) {
        match sign {
            Sign::Absent => {}
            Sign::Rebooted(
                Grade::UptimeReset | Grade::BootChanged | Grade::Caused | Grade::Healthy,
            ) => {
                self.count_unexpected(boot_id);
                let error = failure(
                    FailureCode::UnexpectedBoot,
                    "the device booted by itself before the command",
                    true,
                );
                self.finish(State::Failed, Some(error), out);
            }
            Sign::Silent | Sign::SameBoot | Sign::Rebooted(Grade::Claimed | Grade::Returned) => {
                self.command(out);
            }
        }
    }

    /// The point of no return. The journal of this step says so before the command leaves.
    fn command(&mut self, out: &mut Out) {
        let now = self.now;
        let Some(attempt) = &self.journal.open else {
            return;
        };
        let order = Order {
            id: attempt.report.request_id,
            mode: attempt.call.mode,
            force: attempt.call.force,
            dry_run: attempt.call.dry_run,
            reason: attempt.call.reason.clone(),
        };
        if !order.dry_run {
            self.enter(State::Rebooting, now);
            self.journal.started_reboot_time = Some(now.wall);
            self.journal.counters.total += 1;
        }
        let ticket = self.ask(DriverStep::Trigger(order), out);
        if let Some(live) = &mut self.live {
            live.triggering = Some(ticket);
            live.command = Some(Stopwatch::begin(now));
            live.sign = None;
            live.next_look = now.mono + self.settings.observe_interval;
        }
    }

    pub(super) fn on_triggered(
        &mut self,
        ticket: Ticket,
        result: Result<Triggered, DriverError>,
        out: &mut Out,
    ) {
        let now = self.now;
        let Some(live) = self
            .live
            .as_mut()
            .filter(|live| live.triggering == Some(ticket))
        else {
            return;
        };
        live.triggering = None;
        live.next_look = now.mono;
        let Some(attempt) = &mut self.journal.open else {
            return;
        };
        // Once the device went down the evidence knows better than the line it was told over.
        let undecided = matches!(attempt.report.state, State::Preparing | State::Rebooting);
        let refused = |error: String| failure(FailureCode::TriggerFailed, error, true);
        match result {
            Ok(_) if attempt.call.dry_run => self.end_rehearsal(out),
            Ok(Triggered::Acknowledged) => attempt.claimed = true,
            Ok(Triggered::Unacknowledged) => {}
            Ok(Triggered::Rehearsed) if undecided => {
                let error = refused("the driver only rehearsed it".into());
                self.finish(State::Failed, Some(error), out);
            }
            Err(DriverError::Failed { doing, message }) if !attempt.call.dry_run => {
                // It is not certain that the command did not arrive.
                attempt.trigger_problem = Some(format!("{doing}: {message}"));
            }
            Err(error) if undecided => {
                self.finish(State::Failed, Some(refused(error.to_string())), out);
            }
            Ok(Triggered::Rehearsed) | Err(_) => {}
        }
    }

    fn on_sign(&mut self, sign: Sign, observation: &Observation) {
        let now = self.now;
        let (Some(attempt), Some(live)) = (&mut self.journal.open, &mut self.live) else {
            return;
        };
        let verifying = attempt.report.state == State::Verifying;
        match sign {
            Sign::Absent => {
                live.steady = None;
                attempt.was_absent = true;
                if attempt.report.state == State::Rebooting {
                    self.enter(State::Down, now);
                }
            }
            Sign::Silent if verifying => live.seen_well = Some(now.mono),
            Sign::Silent => {}
            Sign::SameBoot => {
                // Whatever looked like a return was none.
                live.steady = None;
                attempt.report.evidence = None;
            }
            Sign::Rebooted(proved) => {
                let before = attempt.baseline.as_ref();
                let evidence = Evidence {
                    grade: proved,
                    method: observation.method.to_owned(),
                    before: before.map_or_else(String::new, |baseline| {
                        text_of(&baseline.detail, baseline.boot_id.as_deref())
                    }),
                    after: text_of(&observation.detail, observation.boot_id.as_deref()),
                };
                let stronger = attempt
                    .report
                    .evidence
                    .as_ref()
                    .is_none_or(|e| e.grade < proved);
                if stronger {
                    attempt.report.evidence = Some(evidence);
                }
                live.seen_well = Some(now.mono);
                let boot = observation.boot_id.clone();
                let again = match (&attempt.new_boot_id, &boot) {
                    (Some(first), Some(boot)) => first != boot,
                    (_, _) => false,
                };
                if boot.is_some() {
                    attempt.new_boot_id.clone_from(&boot);
                }
                attempt.boot_seen.get_or_insert(now.wall);
                if again {
                    live.steady = None;
                }
                if again {
                    self.count_unexpected(boot);
                } else if !verifying {
                    self.note_boot(boot);
                    self.enter(State::Verifying, now);
                } else if boot.is_some() {
                    self.journal.boot_id = boot;
                }
            }
        }
    }

    pub(super) fn on_health(&mut self, ticket: Ticket, result: Result<Health, DriverError>) {
        let now = self.now;
        let Some(live) = self
            .live
            .as_mut()
            .filter(|live| live.checking == Some(ticket))
        else {
            return;
        };
        live.checking = None;
        live.next_health = now.mono + self.settings.observe_interval;
        let health = result.unwrap_or_else(|error| Health::Unhealthy(error.to_string()));
        match &health {
            Health::Healthy | Health::Unknown => {
                // The device may have gone away while the check was under way.
                if live.is_back() {
                    live.steady.get_or_insert(now.mono);
                }
                live.healthy = Some(now.mono);
            }
            Health::Unhealthy(_) => live.steady = None,
        }
        live.health = Some(health);
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

    pub(super) fn enter(&mut self, state: State, now: Now) {
        if let Some(attempt) = &mut self.journal.open {
            attempt.report.state = state;
            attempt.report.state_time = now.wall;
            attempt.report.timeline.insert(state, now.wall);
        }
        if let Some(live) = &mut self.live {
            live.phase = Stopwatch::begin(now);
            live.next_look = now.mono;
            live.next_health = now.mono;
        }
    }

    pub(super) fn phase_wakes_at(&self, live: &Live, attempt: &Attempt) -> Duration {
        let settings = &self.settings;
        // A moment of the wall clock, looked at anew from time to time, for that clock may jump.
        let wall = |at| self.now.mono + self.now.until(at).min(Duration::from_secs(60));
        let start_by = wall(attempt.start_by);
        let rehearsing = attempt.report.state == State::Preparing && live.triggering.is_some();
        let deadline = attempt.call.deadline.map_or(Duration::MAX, wall);
        let look = if live.observing.is_none() && !rehearsing {
            live.next_look
        } else {
            Duration::MAX
        };
        let health = if live.checking.is_none() && live.is_back() {
            live.next_health
        } else {
            Duration::MAX
        };
        let command = live.command.unwrap_or(live.phase);
        match attempt.report.state {
            State::Scheduled | State::Blocked if self.survey.is_some() => start_by,
            State::Scheduled | State::Blocked => {
                start_by.min(wall(attempt.start_at).max(live.next_look))
            }
            State::Accepted => {
                let grace = live.phase.passes(settings.answer_grace);
                let limit = live
                    .phase
                    .passes(settings.ack_limit.max(settings.answer_grace));
                let acknowledged = live.is_acknowledged();
                start_by.min(if acknowledged { grace } else { limit })
            }
            State::Preparing => start_by
                .min(look)
                .min(live.phase.passes(settings.prepare_limit)),
            State::Rebooting | State::Down => {
                let down = command.passes(settings.go_down_limit);
                let down = if down <= self.now.mono {
                    Duration::MAX
                } else {
                    down
                };
                deadline
                    .min(look)
                    .min(down)
                    .min(command.passes(settings.return_limit))
            }
            State::Verifying => {
                let limit = live.phase.passes(settings.verify_limit);
                deadline.min(look).min(health).min(limit)
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
