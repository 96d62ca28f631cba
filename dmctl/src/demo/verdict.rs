//! What the demo's verdicts have to be: a reboot is proved, a lie is found out.

use iothubdm_proto::v1::{AttemptState, EvidenceGrade, RebootAttempt};
use owo_colors::OwoColorize as _;

use crate::{
    demo::world::{Actor, PUMP, VALVE},
    name,
    view::tables,
    words,
};

/// Compares the verdicts with what they have to be; returns a table for a person and whether all
/// of them are right.
pub(crate) fn judge(attempts: &[RebootAttempt]) -> (Vec<String>, bool) {
    let mut rows = vec![["DEVICE", "THAT", "VERDICT", "EVIDENCE", "REASON", ""].map(String::from)];
    let mut all_right = true;
    for (actor, is_right) in [
        (PUMP, is_proved as fn(&RebootAttempt) -> bool),
        (VALVE, is_found_out),
    ] {
        let attempt = attempts
            .iter()
            .find(|attempt| name::device_of(&attempt.name) == actor.id);
        let right = attempt.is_some_and(is_right);
        all_right &= right;
        rows.push(row(actor, attempt, right));
    }

    let mut lines = vec![String::new()];
    lines.extend(tables::table(&rows));
    lines.push(String::new());
    lines.push(match all_right {
        true => "The reboot is proved and the lie is found out."
            .green()
            .to_string(),
        false => "The verdicts are not what they have to be."
            .red()
            .to_string(),
    });
    (lines, all_right)
}

/// The device that obeys booted again because of the request, and is healthy.
fn is_proved(attempt: &RebootAttempt) -> bool {
    let grade = attempt.evidence.as_ref().map(|evidence| evidence.grade());
    attempt.state() == AttemptState::Succeeded && grade == Some(EvidenceGrade::Healthy)
}

/// The device that lies said yes and kept its boot identity.
fn is_found_out(attempt: &RebootAttempt) -> bool {
    let code = attempt.error.as_ref().map(|error| error.code.as_str());
    attempt.state() == AttemptState::Failed && code == Some("NO_SHUTDOWN")
}

fn row(actor: Actor, attempt: Option<&RebootAttempt>, right: bool) -> [String; 6] {
    let grade = attempt
        .and_then(|attempt| attempt.evidence.as_ref())
        .and_then(|evidence| words::grade(evidence.grade()));
    let error = attempt.and_then(|attempt| attempt.error.as_ref());
    [
        actor.id.to_owned(),
        actor.about.to_owned(),
        attempt
            .map_or("none", |attempt| words::state(attempt.state()))
            .to_owned(),
        grade.unwrap_or("-").to_owned(),
        error.map_or("-", |error| error.code.as_str()).to_owned(),
        if right { "as it has to be" } else { "WRONG" }.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::fake::{failed, succeeded};

    fn of(actor: Actor, attempt: RebootAttempt) -> RebootAttempt {
        RebootAttempt {
            name: attempt.name.replace("pump-1", actor.id),
            ..attempt
        }
    }

    #[test]
    fn both_verdicts_as_they_have_to_be() {
        let (lines, right) = judge(&[succeeded(), of(VALVE, failed("NO_SHUTDOWN"))]);
        let text = strip_str(&lines.join("\n")).to_string();
        assert_eq!(
            text,
            "
DEVICE   THAT                       VERDICT    EVIDENCE  REASON
pump-1   does what it is told       SUCCEEDED  HEALTHY   -            as it has to be
valve-2  says yes and does nothing  FAILED     -         NO_SHUTDOWN  as it has to be

The reboot is proved and the lie is found out."
        );
        assert!(right);
    }

    #[test]
    fn anything_else_is_wrong() {
        let mut weak = succeeded();
        if let Some(evidence) = &mut weak.evidence {
            evidence.grade = EvidenceGrade::Caused.into();
        }
        let lie = || of(VALVE, failed("NO_SHUTDOWN"));
        for attempts in [
            vec![],
            vec![succeeded()],
            vec![weak, lie()],
            vec![succeeded(), of(VALVE, succeeded())],
            vec![succeeded(), of(VALVE, failed("NO_RETURN"))],
        ] {
            assert!(!judge(&attempts).1, "{attempts:?}");
        }
    }
}
