//! The filter of the audit: comparisons joined by AND.

use super::words::{Words, conjunction, moment};
use crate::store::AuditCondition;

const FIELDS: &str = "action, caller, decision or time";

/// Reads a filter; an error says what was expected, and where.
pub(super) fn parse(text: &str) -> Result<Vec<AuditCondition>, String> {
    conjunction(text, comparison)
}

fn comparison(words: &mut Words<'_>) -> Result<AuditCondition, String> {
    let field = words.required(FIELDS)?;
    let operator = words.required("an operator")?;
    let value = words.required("a value")?;
    if field.text == "time" {
        let (comparison, time) = moment(&operator, &value)?;
        return Ok(AuditCondition::Time(comparison, time));
    }
    if !["action", "caller", "decision"].contains(&field.text) {
        return Err(field.expected(FIELDS));
    }
    if operator.text != "=" {
        return Err(operator.expected("="));
    }
    match (field.text, value.text) {
        ("decision", "ALLOWED") => Ok(AuditCondition::Allowed(true)),
        ("decision", "DENIED") => Ok(AuditCondition::Allowed(false)),
        ("decision", _) => Err(value.expected("ALLOWED or DENIED")),
        ("action", action) => Ok(AuditCondition::Action(action.to_owned())),
        _ => match value.unquoted() {
            Some(caller) => Ok(AuditCondition::Caller(caller.to_owned())),
            None => Err(value.expected("a caller in quotes")),
        },
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::store::Comparison;

    #[test]
    fn comparisons_are_joined_by_and() {
        let time: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let text = "decision = DENIED AND action=REBOOT AND caller = \"subject:a b\" AND time >= \"2026-01-01T00:00:00Z\"";
        assert_eq!(
            parse(text),
            Ok(vec![
                AuditCondition::Allowed(false),
                AuditCondition::Action("REBOOT".into()),
                AuditCondition::Caller("subject:a b".into()),
                AuditCondition::Time(Comparison::AtOrAfter, time),
            ])
        );
        assert_eq!(parse(" "), Ok(vec![]));
    }

    #[test]
    fn an_error_says_what_was_expected_and_where() {
        for (text, expected) in [
            (
                "who = a",
                "expected action, caller, decision or time at character 1, found who",
            ),
            (
                "decision = NO",
                "expected ALLOWED or DENIED at character 12, found NO",
            ),
            (
                "caller = a",
                "expected a caller in quotes at character 10, found a",
            ),
            ("action != REBOOT", "expected = at character 8, found !="),
            (
                "time = \"2026\"",
                "expected <, <=, > or >= at character 6, found =",
            ),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}|[a-z=<>!\" ]{0,40}") {
            let _ = parse(&text);
        }
    }
}
