//! From a request to an attempt, or to the reason why not.

use std::time::Duration;

use iot_hub::reboot::{
    Acceptance, AttemptReport, Origin, Preconditions, RebootCall, Refusal, RefusalCode, RequestId,
    State,
};
use jiff::{SignedDuration, Timestamp};

use super::{
    Answer, Call, Engine, Out,
    live::Live,
    methods::{accepted, blocked, refusal_of, refused},
    settings::START_LIMIT,
    survey::{Findings, Purpose, Survey},
};
use crate::{
    driver::{Baseline, DriverError},
    journal::Attempt,
};

/// A request that is not an attempt yet. It is in memory alone: whoever sent it has no answer.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    pub(super) id: RequestId,
    pub(super) call: RebootCall,
    pub(super) origin: Origin,
    /// The caller knows of request ids.
    pub(super) named: bool,
    /// Who waits for an answer.
    pub(super) rids: Vec<String>,
}

impl Intake {
    pub(super) fn of_call(reboot: RebootCall, call: &Call) -> Self {
        Self {
            id: reboot.request_id.unwrap_or(call.fresh),
            named: reboot.request_id.is_some(),
            call: reboot,
            origin: Origin::Method,
            rids: vec![call.rid.clone()],
        }
    }
}

impl Engine {
    /// Lets a repeated call wait for the survey that its first delivery began.
    pub(super) fn joins_survey(&mut self, id: Option<RequestId>, rid: &str) -> bool {
        let purpose = self.survey.as_mut().map(|survey| &mut survey.purpose);
        let Some(Purpose::Intake(intake)) = purpose else {
            return false;
        };
        let joins = Some(intake.id) == id;
        if joins {
            intake.rids.push(rid.to_owned());
            // Somebody asks for it here and now.
            intake.origin = Origin::Method;
        }
        joins
    }

    /// Finds what forbids a request before the device is looked at.
    pub(super) fn refuses(&self, intake: &Intake) -> Option<Refusal> {
        let call = &intake.call;
        let refusal = |code, message: String| Some(Refusal::new(code, message));
        if let Some(holder) = self.holder() {
            return Some(Refusal {
                holder: Some(holder),
                ..Refusal::new(
                    RefusalCode::Busy,
                    format!("attempt {holder} is open on this device"),
                )
            });
        }
        if call.deadline.is_some_and(|at| at <= self.now.wall) {
            return refusal(
                RefusalCode::Invalid,
                "deadline must be in the future".into(),
            );
        }
        if call.deadline.is_some_and(|at| at <= self.starts_at(call)) {
            return refusal(
                RefusalCode::Invalid,
                "deadline must be after the start".into(),
            );
        }
        if self
            .probe
            .as_ref()
            .is_some_and(|probe| !probe.modes.contains(&call.mode))
        {
            return refusal(
                RefusalCode::Unsupported,
                format!("mode {} is not offered by this device", call.mode),
            );
        }
        if let Some(wait) = self.loop_ends_in() {
            return Some(later(
                RefusalCode::Looping,
                "the device keeps booting",
                wait,
            ));
        }
        self.cools_down_in().map(|wait| {
            later(
                RefusalCode::Cooldown,
                "the device booted a moment ago",
                wait,
            )
        })
    }

    /// Begins with a request that nothing forbids so far.
    pub(super) fn take_in(&mut self, intake: Intake, out: &mut Out) {
        if self.starts_at(&intake.call) > self.now.wall {
            self.open_attempt(&intake, State::Scheduled, out);
        } else {
            let mode = intake.call.mode;
            self.begin_survey(Purpose::Intake(Box::new(intake)), mode, out);
        }
    }

    pub(super) fn conclude_intake(
        &mut self,
        intake: Intake,
        findings: Result<Findings, DriverError>,
        out: &mut Out,
    ) {
        let refusal = match findings {
            Err(error) => refusal_of(&error),
            Ok(findings) => match self.objects(&intake.call, &findings) {
                Some(refusal) if refusal.code != RefusalCode::Blocked => refusal,
                Some(refusal) if intake.call.fail_if_blocked => refusal,
                Some(refusal) => {
                    self.open_attempt(&intake, State::Blocked, out);
                    self.set_blockers(refusal.blockers);
                    return;
                }
                None => {
                    self.open_attempt(&intake, State::Accepted, out);
                    self.accept(findings, intake.rids);
                    return;
                }
            },
        };
        if intake.origin == Origin::Desired {
            self.refuse_desired(&intake, &refusal, out);
        }
        let answers = intake.rids.into_iter().map(|rid| refused(rid, &refusal));
        out.answers.extend(answers);
    }

    pub(super) fn abandon_intake(&mut self, refusal: &Refusal) -> Vec<Answer> {
        let is_intake = |survey: &mut Box<Survey>| matches!(survey.purpose, Purpose::Intake(_));
        let Some(Purpose::Intake(intake)) = self.survey.take_if(is_intake).map(|s| s.purpose)
        else {
            return Vec::new();
        };
        if intake.origin == Origin::Desired {
            self.wait_with(intake.id, intake.call);
        }
        let answers = intake.rids.into_iter().map(|rid| refused(rid, refusal));
        answers.collect()
    }

    /// Says why a device as it was found must not be rebooted.
    pub(super) fn objects(&self, call: &RebootCall, findings: &Findings) -> Option<Refusal> {
        let offered = self
            .probe
            .as_ref()
            .is_none_or(|probe| probe.modes.contains(&call.mode));
        if !offered {
            return Some(Refusal::new(
                RefusalCode::Unsupported,
                format!("mode {} is not offered by this device", call.mode),
            ));
        }
        if let Some(rule) = broken(&call.preconditions, &findings.baseline) {
            return Some(Refusal::new(RefusalCode::Precondition, rule));
        }
        let blockers = self.heeded(call, findings.blockers.clone());
        (!blockers.is_empty()).then(|| blocked(blockers))
    }

    fn open_attempt(&mut self, intake: &Intake, state: State, out: &mut Out) {
        let mut call = intake.call.clone();
        call.dry_run |= self.settings.dry_run;
        let start_at = self.starts_at(&call);
        let limit = SignedDuration::try_from(START_LIMIT).unwrap_or(SignedDuration::MAX);
        let start_by = call
            .deadline
            .unwrap_or_else(|| start_at.saturating_add(limit).unwrap_or(Timestamp::MAX));
        let report = intake.report(state, self.now);
        let acceptance = self.acceptance(&report, false);
        let answer = |rid: &String| -> Answer { accepted(rid.clone(), intake.named, &acceptance) };
        out.answers.extend(intake.rids.iter().map(answer));
        self.desired.take_if(|desired| desired.id == intake.id);
        self.live = Some(Box::new(Live {
            start_by: self.now.at(start_by, false),
            begins_at: call.delay.map(|delay| self.now.mono + delay),
            ..Live::begin(self.now)
        }));
        self.journal.open = Some(Box::new(Attempt {
            report,
            call,
            start_at,
            start_by,
            baseline: None,
            baseline_time: None,
            claimed: false,
            command_seen: None,
            was_absent: false,
            trigger_problem: None,
            new_boot_id: None,
            boot_seen: None,
            on_host: false,
        }));
    }

    pub(super) fn acceptance(&self, report: &AttemptReport, duplicate: bool) -> Acceptance {
        Acceptance {
            request_id: report.request_id,
            state: report.state,
            state_time: report.state_time,
            expected_duration_sec: self.expected_duration(),
            boot_id: self.journal.boot_id.clone(),
            duplicate,
        }
    }

    /// How long a reboot is expected to take, to its verdict, by what the device has been through.
    pub(super) fn expected_duration(&self) -> Option<u32> {
        let takes = self.journal.typical_duration()?;
        let expected = takes + self.settings.answer_grace + self.settings.settle;
        u32::try_from(expected.as_secs() + 1).ok()
    }

    /// The request that holds the device.
    pub(super) fn holder(&self) -> Option<RequestId> {
        let surveyed = match self.survey.as_ref().map(|survey| &survey.purpose) {
            Some(Purpose::Intake(intake)) => Some(intake.id),
            Some(Purpose::Start) | None => None,
        };
        self.open().map(|(id, _)| id).or(surveyed)
    }

    fn starts_at(&self, call: &RebootCall) -> Timestamp {
        match call.delay {
            Some(delay) => SignedDuration::try_from(delay)
                .ok()
                .and_then(|delay| self.now.wall.checked_add(delay).ok())
                .unwrap_or(Timestamp::MAX),
            None => call
                .not_before
                .map_or(self.now.wall, |at| at.max(self.now.wall)),
        }
    }
}

/// The precondition that does not hold.
pub(super) fn broken(rules: &Preconditions, baseline: &Baseline) -> Option<String> {
    if let Some(expected) = &rules.boot_id {
        match &baseline.boot_id {
            Some(boot_id) if boot_id == expected => {}
            Some(boot_id) => return Some(format!("ifBootId: the device is in boot {boot_id}")),
            None => return Some("ifBootId: the device has no boot identity".into()),
        }
    }
    let least = rules.min_uptime?;
    match baseline.uptime {
        Some(uptime) if uptime >= least => None,
        Some(uptime) => Some(format!(
            "ifUptimeAtLeastSec: the device has been up for {} s",
            uptime.as_secs()
        )),
        None => Some("ifUptimeAtLeastSec: the device does not tell its uptime".into()),
    }
}

fn later(code: RefusalCode, message: &str, wait: Duration) -> Refusal {
    Refusal {
        retry_after_sec: u32::try_from(wait.as_secs() + 1).ok(),
        ..Refusal::new(code, message)
    }
}
