//! The API's values in the words that a person reads.

use std::{borrow::Cow, time::Duration};

use iothubdm_proto::v1::{
    AttemptError, AttemptState, AuditDecision, Dialect, EvidenceGrade, RebootMode,
};
use jiff::{SignedDuration, Timestamp};

/// A state's name as the documentation spells it.
pub(crate) fn state(state: AttemptState) -> &'static str {
    without(state.as_str_name(), "ATTEMPT_STATE_")
}

/// A grade's name; `None` where nothing is known.
pub(crate) fn grade(grade: EvidenceGrade) -> Option<&'static str> {
    (grade != EvidenceGrade::Unspecified).then(|| without(grade.as_str_name(), "EVIDENCE_GRADE_"))
}

/// A mode's name, in lower case as the command line takes it.
pub(crate) fn mode(mode: RebootMode) -> &'static str {
    match mode {
        RebootMode::Unspecified | RebootMode::Graceful => "graceful",
        RebootMode::Forced => "forced",
        RebootMode::PowerCycle => "power-cycle",
    }
}

/// A dialect's name; `None` while it is not known.
pub(crate) fn dialect(dialect: Dialect) -> Option<&'static str> {
    (dialect != Dialect::Unspecified).then(|| without(dialect.as_str_name(), "DIALECT_"))
}

fn without(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// What a grade proves, as a sentence.
pub(crate) fn meaning(grade: EvidenceGrade) -> &'static str {
    match grade {
        EvidenceGrade::Unspecified => "nothing is known of a reboot",
        EvidenceGrade::Claimed => "the device says that it rebooted; nothing else proves it",
        EvidenceGrade::Returned => "the device went away and came back",
        EvidenceGrade::UptimeReset => "the device's uptime went back",
        EvidenceGrade::BootChanged => "the device's boot identity changed",
        EvidenceGrade::Caused => {
            "the device's boot identity changed, and this request is the cause"
        }
        EvidenceGrade::Healthy => "the device rebooted because of this request, and is healthy",
    }
}

/// What an ended attempt means where its evidence does not say it.
pub(crate) fn ending(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Succeeded => "the device rebooted",
        AttemptState::Failed => "the device did not reboot, or not provably, or not in good health",
        AttemptState::Cancelled => "cancelled before the reboot command went out",
        AttemptState::Rejected => "the device refused; nothing was begun",
        AttemptState::Expired => "it certainly never started before its deadline",
        AttemptState::Lost => "it may have rebooted, and nobody came back in time",
        AttemptState::Unspecified
        | AttemptState::Pending
        | AttemptState::Dispatching
        | AttemptState::Scheduled
        | AttemptState::Blocked
        | AttemptState::Accepted
        | AttemptState::Preparing
        | AttemptState::Rebooting
        | AttemptState::Down
        | AttemptState::Verifying => "it goes on",
    }
}

/// What a state is waiting for, for the line that moves.
pub(crate) fn waiting(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Pending => "waiting for its start, or for the device to connect",
        AttemptState::Dispatching => "asking the device",
        AttemptState::Scheduled => "waiting for its start",
        AttemptState::Blocked => "waiting until nothing forbids it",
        AttemptState::Accepted => "accepted",
        AttemptState::Preparing => "hooks run, storage is synced",
        AttemptState::Rebooting => "the command is out",
        AttemptState::Down => "waiting for the device to come back",
        AttemptState::Verifying => "checking evidence and health",
        AttemptState::Unspecified
        | AttemptState::Succeeded
        | AttemptState::Failed
        | AttemptState::Cancelled
        | AttemptState::Rejected
        | AttemptState::Expired
        | AttemptState::Lost => "",
    }
}

/// What to do about an attempt that did not succeed; `None` where there is nothing to add.
pub(crate) fn advice(state: AttemptState, error: Option<&AttemptError>) -> Option<&'static str> {
    let by_code = match error.map_or("", |error| error.code.as_str()) {
        // Less proof would not have done either.
        "PROOF_TOO_WEAK" if error.is_some_and(|error| error.retryable) => {
            "it may have rebooted; to ask again reboots it once more"
        }
        "NO_SHUTDOWN" => {
            "the command did not take effect; look at the device itself, or try --mode forced"
        }
        "NO_RETURN" => {
            "look at the device's power and network; `dmctl get` shows it when it is seen again"
        }
        "UNHEALTHY" => "it did reboot; look at its health check and its log",
        "PROOF_TOO_WEAK" => "it may have rebooted; a lower --require accepts this evidence",
        "PREPARE_TIMEOUT" | "PREPARE_FAILED" => {
            "nothing was rebooted; look at the gateway's hooks, or try --mode forced"
        }
        "AGENT_RESTARTED" => "the gateway was restarted, not the host; ask again",
        "UNEXPECTED_BOOT" => "the device booted by itself; find out why before you ask again",
        "TRIGGER_FAILED" => "the command could not be given; look at the gateway's log",
        "PRECONDITION" => {
            "the device has changed since you looked; read it with `dmctl devices ID`"
        }
        "UNREACHABLE" => "the gateway cannot reach the device; look at its connection",
        "ABANDONED" => "the device may still reboot; `dmctl get` shows it when it is seen again",
        _ => "",
    };
    if !by_code.is_empty() {
        return Some(by_code);
    }
    match state {
        AttemptState::Expired => Some("it is safe to ask again"),
        AttemptState::Lost => Some("find out whether the device rebooted before you ask again"),
        AttemptState::Failed | AttemptState::Rejected => error
            .filter(|error| error.retryable)
            .map(|_| "asking again may help"),
        AttemptState::Unspecified
        | AttemptState::Pending
        | AttemptState::Dispatching
        | AttemptState::Scheduled
        | AttemptState::Blocked
        | AttemptState::Accepted
        | AttemptState::Preparing
        | AttemptState::Rebooting
        | AttemptState::Down
        | AttemptState::Verifying
        | AttemptState::Succeeded
        | AttemptState::Cancelled => None,
    }
}

/// A moment of the API as a timestamp; `None` when it is unset or out of range.
pub(crate) fn moment(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// A timestamp as a moment of the API.
pub(crate) fn to_moment(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

/// The time of day, in UTC.
pub(crate) fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%SZ").to_string()
}

/// The day and the time of day, in UTC.
pub(crate) fn calendar(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// How long something took, as precisely as a person wants to know.
pub(crate) fn span(duration: SignedDuration) -> String {
    let sign = if duration.is_negative() { "-" } else { "" };
    format!("{sign}{}", unsigned_span(duration.unsigned_abs()))
}

fn unsigned_span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..100 => format!("{:.1} s", duration.as_secs_f64()),
        100..7200 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        7200..172_800 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A text from elsewhere, as it may go to a terminal and to a line: what would move the cursor, change
/// colours or turn the direction of reading is shown by its number.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let turns_the_direction = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_harmful = |c: char| c.is_control() || turns_the_direction(c);
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// What was decided.
pub(crate) fn decision(decision: AuditDecision) -> &'static str {
    match decision {
        AuditDecision::Unspecified => "UNKNOWN",
        AuditDecision::Allowed => "ALLOWED",
        AuditDecision::Denied => "DENIED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_prefix() {
        assert_eq!(state(AttemptState::Rebooting), "REBOOTING");
        assert_eq!(grade(EvidenceGrade::BootChanged), Some("BOOT_CHANGED"));
        assert_eq!(grade(EvidenceGrade::Unspecified), None);
        assert_eq!(dialect(Dialect::TutorialJava), Some("TUTORIAL_JAVA"));
        assert_eq!(mode(RebootMode::PowerCycle), "power-cycle");
    }

    #[test]
    fn weaker_proof_is_advised_only_where_it_would_do() {
        let advice = |retryable| {
            let error = AttemptError {
                code: "PROOF_TOO_WEAK".into(),
                retryable,
                ..AttemptError::default()
            };
            advice(AttemptState::Failed, Some(&error)).unwrap()
        };
        assert!(advice(false).contains("--require"));
        assert!(!advice(true).contains("--require"));
    }

    #[test]
    fn what_harms_a_terminal_is_shown_by_its_number() {
        for (text, shown) in [
            ("pump-1: öffnen ✓", "pump-1: öffnen ✓"),
            ("a\x1b[8mb\r\n", "a\\u{1b}[8mb\\r\\n"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("\u{202e}deliaf", "\\u{202e}deliaf"),
        ] {
            assert_eq!(harmless(text), shown);
        }
    }

    #[test]
    fn spans_are_as_precise_as_a_person_wants() {
        let check = |millis, expected: &str| {
            assert_eq!(span(SignedDuration::from_millis(millis)), expected);
        };
        check(0, "0.0 s");
        check(2_340, "2.3 s");
        check(-150, "-0.1 s");
        check(99_000, "99.0 s");
        check(200_000, "3 min 20 s");
        check(7_500_000, "2 h 05 min");
        check(400_000_000, "4 days");
    }

    #[test]
    fn moments_survive_the_way_there_and_back() {
        for time in ["2026-11-23T03:41:07.25Z", "1969-12-31T23:59:59.9Z"] {
            let time: Timestamp = time.parse().unwrap();
            assert_eq!(moment(Some(&to_moment(time))), Some(time));
        }
        let nonsense = prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: -5,
        };
        assert_eq!(moment(Some(&nonsense)), None);
        assert_eq!(moment(None), None);
    }
}
