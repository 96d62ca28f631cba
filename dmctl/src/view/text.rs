//! Attempts and devices in lines for a person. Colours are always in; whoever writes the lines
//! strips them where they do not belong.

use std::time::Duration;

use iothubdm_client::is_terminal;
use iothubdm_proto::v1::{
    AttemptError, AttemptState, Evidence, EvidenceGrade, RebootAttempt, RebootStep,
};
use jiff::{SignedDuration, Timestamp};
use owo_colors::OwoColorize as _;

use crate::{
    name,
    problem::Problem,
    words::{self, harmless},
};

/// Wide enough for the longest state's name.
const STATE_WIDTH: usize = 11;

/// Wide enough for the devices' names of a view.
const LABEL_WIDTH: usize = 8;

/// What an attempt is, before anything is told of it.
pub(crate) fn heading(attempt: &RebootAttempt, label: Option<&str>) -> Vec<String> {
    let device = harmless(name::device_of(&attempt.name));
    let mut text = format!("reboot of {}", device.bold());
    text += &format!(", {}", words::mode(attempt.mode()));
    if !attempt.reason.is_empty() {
        text += &format!(", because: {}", harmless(&attempt.reason));
    }
    let id = harmless(&attempt.request_id);
    let id = id.dimmed();
    match label {
        Some(_) => vec![format!("{text}  {id}")],
        None => vec![text, format!("  {id}")],
    }
}

/// A state: when by the clock, when since the request, and what happened.
pub(crate) fn stage(
    attempt: &RebootAttempt,
    state: AttemptState,
    time: Option<Timestamp>,
    message: &str,
    label: Option<&str>,
) -> String {
    let clock = time.map_or_else(|| "-".to_owned(), words::clock);
    let since = since_request(attempt, time);
    let name = format!("{:<STATE_WIDTH$}", words::state(state));
    let name = match state == AttemptState::Blocked {
        true => name.yellow().to_string(),
        false => name.cyan().to_string(),
    };
    let message = match message {
        "" => words::waiting(state).into(),
        message => harmless(message),
    };
    format!(
        "  {}{}  {:>9}  {name}  {message}",
        labelled(label),
        clock.dimmed(),
        since.dimmed()
    )
}

/// What else is worth knowing of an open attempt: who blocks it, that it is to be cancelled.
pub(crate) fn remarks(attempt: &RebootAttempt, label: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    for blocker in &attempt.blockers {
        let until = match words::moment(blocker.until.as_ref()) {
            Some(until) => format!(", until {}", words::calendar(until)),
            None => String::new(),
        };
        lines.push(format!(
            "  {}{} by {} ({}): {}{until}",
            labelled(label),
            "blocked".yellow(),
            harmless(&blocker.who),
            harmless(&blocker.id),
            harmless(&blocker.why)
        ));
    }
    if attempt.cancel_requested && !is_terminal(attempt.state()) {
        lines.push(format!(
            "  {}cancelling; the device has not answered yet",
            labelled(label)
        ));
    }
    if let Some(recovered) = words::moment(attempt.recovered_time.as_ref()) {
        lines.push(format!(
            "  {}seen again at {}",
            labelled(label),
            words::calendar(recovered)
        ));
    }
    lines
}

/// The line that moves: the present state, how long it has lasted, what is expected.
pub(crate) fn moving(attempt: &RebootAttempt, now: Timestamp, label: Option<&str>) -> String {
    let mut text = format!(
        "{}{}",
        labelled(label),
        words::state(attempt.state()).cyan().bold()
    );
    if let Some(since) = words::moment(attempt.state_time.as_ref()) {
        text += &format!(
            "  {}",
            words::span(since.duration_until(now).max(SignedDuration::ZERO))
        );
    }
    let waiting = words::waiting(attempt.state());
    if !waiting.is_empty() {
        text += &format!("  {waiting}");
    }
    if let Some(eta) = words::moment(attempt.eta.as_ref()) {
        let left = now.duration_until(eta);
        text += &match left.is_positive() {
            true => format!("; expected back in {}", words::span(left)),
            false => format!("; {} later than expected", words::span(-left)),
        };
    }
    if attempt.late {
        text += &format!("; {}", "late".yellow());
    }
    text
}

/// How an attempt ended: the verdict, its evidence or its reason, and what to do.
pub(crate) fn verdict(attempt: &RebootAttempt, label: Option<&str>) -> Vec<String> {
    let state = words::state(attempt.state());
    let state = if attempt.state() == AttemptState::Succeeded {
        state.green().bold().to_string()
    } else {
        state.red().bold().to_string()
    };
    let took = match words::moment(attempt.end_time.as_ref()) {
        Some(end) => match since_request(attempt, Some(end)).strip_prefix('+') {
            Some(took) => format!(" after {took}"),
            None => String::new(),
        },
        None => String::new(),
    };
    let device = match label {
        Some(label) => format!("{}: ", label.bold()),
        None => String::new(),
    };

    let mut lines = vec![format!("{device}{state}{took}: {}", cause(attempt))];
    lines.extend(steps(attempt));
    lines.extend(evidence(attempt));
    if let Some(advice) = words::advice(attempt.state(), attempt.error.as_ref()) {
        lines.push(format!("  next      {advice}"));
    }
    lines
}

/// Why an attempt ended as it did, in one line.
pub(crate) fn cause(attempt: &RebootAttempt) -> String {
    match &attempt.error {
        Some(error) => told(error),
        None => match (attempt.state(), &attempt.evidence) {
            (AttemptState::Succeeded, Some(evidence)) => {
                words::meaning(evidence.grade()).to_owned()
            }
            (state, _) => words::ending(state).to_owned(),
        },
    }
}

fn told(error: &AttemptError) -> String {
    let code = harmless(&error.code);
    match error.message.as_str() {
        "" => code.into_owned(),
        message => format!("{code}: {}", harmless(message)),
    }
}

/// The commands that were given, in lines; none where there was but one.
fn steps(attempt: &RebootAttempt) -> Vec<String> {
    if attempt.steps.len() < 2 {
        return Vec::new();
    }
    let tell = |step: &RebootStep| {
        let since = since_request(attempt, words::moment(step.time.as_ref()));
        let mode = words::mode(step.mode());
        let came_of_it = match &step.error {
            Some(error) => told(error),
            None => words::grade(
                step.evidence
                    .as_ref()
                    .map_or(EvidenceGrade::Unspecified, Evidence::grade),
            )
            .unwrap_or("nothing seen yet")
            .to_owned(),
        };
        format!("  step      {since:>9}  {mode:<11}  {came_of_it}")
    };
    attempt.steps.iter().map(tell).collect()
}

/// The evidence in lines; none where there is none.
pub(crate) fn evidence(attempt: &RebootAttempt) -> Vec<String> {
    let Some(evidence) = &attempt.evidence else {
        return Vec::new();
    };
    let grade = words::grade(evidence.grade()).unwrap_or("none");
    let mut lines = vec![format!(
        "  evidence  {}, by {}",
        grade.bold(),
        harmless(&evidence.method)
    )];
    for (name, text) in [("before", &evidence.before), ("after", &evidence.after)] {
        if !text.is_empty() {
            lines.push(format!("  {name:<8}  {}", harmless(text)));
        }
    }
    lines
}

/// A stream that broke.
pub(crate) fn interrupted(label: Option<&str>, problem: &Problem, pause: Duration) -> String {
    format!(
        "  {}{}: {}; trying again in {}",
        labelled(label),
        "interrupted".yellow(),
        harmless(&problem.message),
        words::span(pause.try_into().unwrap_or_default())
    )
}

/// Time since the request, such as `+2.3 s`.
pub(crate) fn since_request(attempt: &RebootAttempt, time: Option<Timestamp>) -> String {
    match (words::moment(attempt.create_time.as_ref()), time) {
        (Some(begin), Some(time)) => {
            let since = begin.duration_until(time);
            let sign = if since.is_negative() { "" } else { "+" };
            format!("{sign}{}", words::span(since))
        }
        _ => String::new(),
    }
}

fn labelled(label: Option<&str>) -> String {
    match label {
        Some(label) => format!("{:<LABEL_WIDTH$}  ", label).bold().to_string(),
        None => String::new(),
    }
}

/// By when an open attempt has to have ended.
pub(crate) fn deadline(attempt: &RebootAttempt) -> Option<String> {
    let deadline = words::moment(attempt.deadline.as_ref())?;
    (!is_terminal(attempt.state()))
        .then(|| format!("  ends by {} at the latest", words::calendar(deadline)))
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use iothubdm_proto::v1::{Blocker, RebootMode};

    use super::*;
    use crate::fake::{GOOD, after, attempt};

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(strip_str(text).to_string(), expected);
    }

    #[test]
    fn the_moving_line_counts_down_to_the_expected_return_and_beyond() {
        let attempt = RebootAttempt {
            eta: Some(words::to_moment(after(9_450))),
            ..attempt(&GOOD[..4])
        };
        check(
            &moving(&attempt, after(2_450), Some("pump-1")),
            "pump-1    DOWN  1.0 s  waiting for the device to come back; expected back in 7.0 s",
        );
        check(
            &moving(&attempt, after(12_450), None),
            "DOWN  11.0 s  waiting for the device to come back; 3.0 s later than expected",
        );
    }

    #[test]
    fn nothing_that_others_wrote_moves_the_cursor() {
        let controls = |foreign: &str| {
            let foreign = foreign.to_owned();
            let error = AttemptError {
                code: foreign.clone(),
                message: foreign.clone(),
                retryable: false,
            };
            let evidence = Evidence {
                grade: EvidenceGrade::Claimed.into(),
                method: foreign.clone(),
                before: foreign.clone(),
                after: foreign.clone(),
            };
            let step = RebootStep {
                error: Some(error.clone()),
                ..RebootStep::default()
            };
            let attempt = RebootAttempt {
                name: format!("devices/{foreign}/reboots/x"),
                request_id: foreign.clone(),
                reason: foreign.clone(),
                error: Some(error),
                evidence: Some(evidence),
                blockers: vec![Blocker {
                    id: foreign.clone(),
                    who: foreign.clone(),
                    why: foreign.clone(),
                    until: None,
                }],
                steps: vec![step.clone(), step],
                ..attempt(&GOOD)
            };
            let problem = Problem::usage(foreign.clone()).with_note(foreign.clone());
            let lines = [
                heading(&attempt, None),
                vec![stage(&attempt, attempt.state(), None, &foreign, None)],
                remarks(&attempt, None),
                verdict(&attempt, None),
                vec![interrupted(None, &problem, Duration::ZERO)],
                vec![problem.to_string()],
            ];
            let all = lines.concat().concat();
            all.chars().filter(|c| c.is_control()).collect::<Vec<_>>()
        };
        // Those of our own colours and lines are left.
        assert_eq!(controls("a\x1b[8m\r\nb\u{9b}J\x07"), controls("a"));
    }

    #[test]
    fn a_clock_that_is_behind_is_shown_as_it_is() {
        let attempt = attempt(&[(AttemptState::Accepted, -200)]);
        let time = words::moment(attempt.state_time.as_ref());
        let line = stage(&attempt, attempt.state(), time, "accepted", None);
        check(&line, "  03:41:06Z     -0.2 s  ACCEPTED     accepted");
    }

    #[test]
    fn what_else_is_worth_knowing_is_told() {
        let attempt = RebootAttempt {
            blockers: vec![Blocker {
                id: "ops".into(),
                who: "maintenance".into(),
                why: "a valve is open".into(),
                until: Some(words::to_moment(after(60_000))),
            }],
            cancel_requested: true,
            ..attempt(&[(AttemptState::Blocked, 100)])
        };
        let lines = remarks(&attempt, None);
        check(
            &lines.join("\n"),
            "  blocked by maintenance (ops): a valve is open, until 2026-11-23 03:42:07Z\n  \
             cancelling; the device has not answered yet",
        );
    }

    #[test]
    fn each_step_of_an_escalation_is_shown_with_what_came_of_it() {
        let step = |mode: RebootMode, at, error: Option<&str>| RebootStep {
            mode: mode.into(),
            time: Some(words::to_moment(after(at))),
            error: error.map(|code| AttemptError {
                code: code.into(),
                message: "still in the old boot".into(),
                retryable: true,
            }),
            evidence: None,
        };
        let mut attempt = crate::fake::succeeded();
        attempt.steps = vec![step(RebootMode::Graceful, 1_000, Some("NO_SHUTDOWN"))];
        assert_eq!(steps(&attempt), Vec::<String>::new());
        attempt.steps.push(step(RebootMode::Forced, 9_000, None));
        attempt.steps[1].evidence.clone_from(&attempt.evidence);
        check(
            &steps(&attempt).join("\n"),
            "  step         +1.0 s  graceful     NO_SHUTDOWN: still in the old boot\n  \
             step         +9.0 s  forced       HEALTHY",
        );
    }

    #[test]
    fn a_lost_attempt_says_what_to_find_out() {
        let attempt = RebootAttempt {
            recovered_time: Some(words::to_moment(after(90_000))),
            ..attempt(&[GOOD[0], (AttemptState::Lost, 60_000)])
        };
        check(
            &verdict(&attempt, None).join("\n"),
            "LOST after 60.0 s: it may have rebooted, and nobody came back in time\n  \
             next      find out whether the device rebooted before you ask again",
        );
        check(
            &remarks(&attempt, None).join("\n"),
            "  seen again at 2026-11-23 03:42:37Z",
        );
    }
}
