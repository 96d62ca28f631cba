//! The filter of a list of attempts: comparisons joined by AND.

use iot_hub::reboot::State;

use super::words::{Words, conjunction, moment};
use crate::store::Condition;

/// Reads a filter; an error says what was expected, and where.
pub(super) fn parse(text: &str) -> Result<Vec<Condition>, String> {
    conjunction(text, comparison)
}

fn comparison(words: &mut Words<'_>) -> Result<Condition, String> {
    let field = words.required("state, create_time or open")?;
    let operator = words.required("an operator")?;
    let value = words.required("a value")?;
    match field.text {
        "state" => {
            let state: State = value
                .text
                .parse()
                .map_err(|_| value.expected("a state, for example FAILED"))?;
            match operator.text {
                "=" => Ok(Condition::StateIs(state)),
                "!=" => Ok(Condition::StateIsNot(state)),
                _ => Err(operator.expected("= or !=")),
            }
        }
        "open" => match (operator.text, value.text) {
            ("=", "true") => Ok(Condition::Open(true)),
            ("=", "false") => Ok(Condition::Open(false)),
            ("=", _) => Err(value.expected("true or false")),
            _ => Err(operator.expected("=")),
        },
        "create_time" => {
            let (comparison, time) = moment(&operator, &value)?;
            Ok(Condition::Created(comparison, time))
        }
        _ => Err(field.expected("state, create_time or open")),
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
        let text = " state = FAILED AND create_time>\"2026-01-01T00:00:00Z\" AND open = false AND state!=LOST ";
        assert_eq!(
            parse(text),
            Ok(vec![
                Condition::StateIs(State::Failed),
                Condition::Created(Comparison::After, time),
                Condition::Open(false),
                Condition::StateIsNot(State::Lost),
            ])
        );
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(parse("  "), Ok(vec![]));
    }

    #[test]
    fn an_error_says_what_was_expected_and_where() {
        for (text, expected) in [
            (
                "status = FAILED",
                "expected state, create_time or open at character 1, found status",
            ),
            (
                "state = BROKEN",
                "expected a state, for example FAILED at character 9, found BROKEN",
            ),
            ("state < FAILED", "expected = or != at character 7, found <"),
            (
                "state = FAILED OR open = true",
                "expected AND at character 16, found OR",
            ),
            ("state =", "expected a value at the end"),
            (
                "state = FAILED AND",
                "expected state, create_time or open at the end",
            ),
            (
                "open = maybe",
                "expected true or false at character 8, found maybe",
            ),
            (
                "create_time > 2026",
                "expected an RFC 3339 time in quotes at character 15, found 2026",
            ),
            (
                "create_time > \"2026",
                "the quote at character 15 is not closed",
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
