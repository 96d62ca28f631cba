//! Messages out.

use std::time::Duration;

use iot_hub::{
    identity::DeviceId,
    reboot::{self as domain, RequestId, State},
};
use iothubdm_proto::v1::{
    AttemptError, AttemptState, Blocker, Dialect, Evidence, EvidenceGrade, RebootAttempt,
    RebootMode, RebootProgress, RebootStep, TimelineEntry,
};
use jiff::Timestamp;

use crate::attempt::{Event, View};

pub(super) fn device_name(device: &DeviceId) -> String {
    format!("devices/{device}")
}

pub(super) fn reboot_name(device: &DeviceId, id: RequestId) -> String {
    format!("devices/{device}/reboots/{id}")
}

pub(super) fn attempt(view: &View) -> RebootAttempt {
    RebootAttempt {
        name: reboot_name(&view.device, view.id),
        device: device_name(&view.device),
        request_id: view.id.to_string(),
        state: state(view.state).into(),
        state_time: Some(timestamp(view.state_time)),
        mode: mode(view.mode).into(),
        escalate_to: view
            .escalate_to
            .map_or(RebootMode::Unspecified, mode)
            .into(),
        steps: view
            .steps
            .iter()
            .map(|(given, step)| RebootStep {
                mode: mode(*given).into(),
                time: Some(timestamp(step.time)),
                evidence: step.evidence.as_ref().map(evidence),
                error: step.error.as_ref().map(error),
            })
            .collect(),
        reason: view.reason.clone(),
        create_time: Some(timestamp(view.create_time)),
        not_before: view.not_before.map(timestamp),
        deadline: Some(timestamp(view.deadline)),
        end_time: view.end_time.map(timestamp),
        required_evidence: view
            .required_grade
            .map_or(EvidenceGrade::Unspecified, grade)
            .into(),
        evidence: view.evidence.as_ref().map(evidence),
        error: view.error.as_ref().map(error),
        blockers: view
            .blockers
            .iter()
            .map(|(id, blocker)| Blocker {
                id: id.clone(),
                who: blocker.who.clone(),
                why: blocker.why.clone(),
                until: blocker.until.map(timestamp),
            })
            .collect(),
        timeline: view
            .timeline
            .iter()
            .map(|(entered, time)| TimelineEntry {
                state: state(*entered).into(),
                time: Some(timestamp(*time)),
            })
            .collect(),
        eta: view.eta.map(timestamp),
        late: view.late,
        recovered_time: view.recovered_time.map(timestamp),
        cancel_requested: view.cancel_requested,
        dialect: view.dialect.map_or(Dialect::Unspecified, dialect).into(),
        revision: view.revision,
    }
}

pub(super) fn progress(event: &Event) -> RebootProgress {
    RebootProgress {
        state: state(event.view.state).into(),
        time: Some(timestamp(event.time)),
        message: event.message.clone(),
        attempt: Some(attempt(&event.view)),
        terminal: event.is_terminal(),
    }
}

fn error(error: &domain::Failure) -> AttemptError {
    AttemptError {
        code: error.code.name().to_owned(),
        message: error.message.clone(),
        retryable: error.retryable,
    }
}

fn evidence(evidence: &domain::Evidence) -> Evidence {
    Evidence {
        grade: grade(evidence.grade).into(),
        method: evidence.method.clone(),
        before: evidence.before.clone(),
        after: evidence.after.clone(),
    }
}

pub(super) fn state(state: State) -> AttemptState {
    match state {
        State::Pending => AttemptState::Pending,
        State::Dispatching => AttemptState::Dispatching,
        State::Scheduled => AttemptState::Scheduled,
        State::Blocked => AttemptState::Blocked,
        State::Accepted => AttemptState::Accepted,
        State::Preparing => AttemptState::Preparing,
        State::Rebooting => AttemptState::Rebooting,
        State::Down => AttemptState::Down,
        State::Verifying => AttemptState::Verifying,
        State::Succeeded => AttemptState::Succeeded,
        State::Failed => AttemptState::Failed,
        State::Cancelled => AttemptState::Cancelled,
        State::Rejected => AttemptState::Rejected,
        State::Expired => AttemptState::Expired,
        State::Lost => AttemptState::Lost,
    }
}

pub(super) fn mode(mode: domain::Mode) -> RebootMode {
    match mode {
        domain::Mode::Graceful => RebootMode::Graceful,
        domain::Mode::Forced => RebootMode::Forced,
        domain::Mode::PowerCycle => RebootMode::PowerCycle,
    }
}

pub(super) fn grade(grade: domain::Grade) -> EvidenceGrade {
    match grade {
        domain::Grade::Claimed => EvidenceGrade::Claimed,
        domain::Grade::Returned => EvidenceGrade::Returned,
        domain::Grade::UptimeReset => EvidenceGrade::UptimeReset,
        domain::Grade::BootChanged => EvidenceGrade::BootChanged,
        domain::Grade::Caused => EvidenceGrade::Caused,
        domain::Grade::Healthy => EvidenceGrade::Healthy,
    }
}

pub(super) fn dialect(dialect: domain::Dialect) -> Dialect {
    match dialect {
        domain::Dialect::Native => Dialect::Native,
        domain::Dialect::Tutorial => Dialect::Tutorial,
        domain::Dialect::TutorialJava => Dialect::TutorialJava,
        domain::Dialect::TutorialPython => Dialect::TutorialPython,
        domain::Dialect::SdkSample => Dialect::SdkSample,
    }
}

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    // Before 1970 jiff counts both parts down; protobuf's nanoseconds are never negative.
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        prost_types::Timestamp {
            seconds: seconds - 1,
            nanos: nanos + 1_000_000_000,
        }
    } else {
        prost_types::Timestamp { seconds, nanos }
    }
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_states_grades_and_modes_are_those_of_the_contract() {
        for value in State::ALL {
            let expected = format!("ATTEMPT_STATE_{}", value.name());
            assert_eq!(state(value).as_str_name(), expected);
        }
        for value in domain::Grade::ALL {
            let expected = format!("EVIDENCE_GRADE_{}", value.name());
            assert_eq!(grade(value).as_str_name(), expected);
        }
        let numbers: Vec<_> = domain::Mode::ALL.map(|value| i32::from(mode(value))).into();
        assert_eq!(numbers, [1, 2, 3]);
        let numbers: Vec<_> = domain::Dialect::ALL
            .map(|value| i32::from(dialect(value)))
            .into();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    }
}
