//! The filter of a list of attempts: comparisons joined by AND.

use iot_hub::reboot::State;
use jiff::Timestamp;

use crate::store::{Comparison, Condition};

/// Reads a filter; an error says what was expected, and where.
pub(super) fn parse(text: &str) -> Result<Vec<Condition>, String> {
    let mut words = Words::new(text);
    let mut conditions = Vec::new();
    if words.peek()?.is_none() {
        return Ok(conditions);
    }
    loop {
        conditions.push(comparison(&mut words)?);
        match words.next()? {
            None => return Ok(conditions),
            Some(word) if word.text == "AND" => {}
            Some(word) => return Err(word.expected("AND")),
        }
    }
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
            let comparison = match operator.text {
                "<" => Comparison::Before,
                "<=" => Comparison::AtOrBefore,
                ">" => Comparison::After,
                ">=" => Comparison::AtOrAfter,
                _ => return Err(operator.expected("<, <=, > or >=")),
            };
            let time: Option<Timestamp> = value
                .text
                .strip_prefix('"')
                .and_then(|text| text.strip_suffix('"'))
                .and_then(|text| text.parse().ok());
            let time = time.ok_or_else(|| value.expected("an RFC 3339 time in quotes"))?;
            Ok(Condition::Created(comparison, time))
        }
        _ => Err(field.expected("state, create_time or open")),
    }
}

/// A filter, word by word.
pub(super) struct Words<'a> {
    text: &'a str,
    position: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    position: usize,
}

impl Word<'_> {
    pub(super) fn expected(&self, what: &str) -> String {
        format!(
            "expected {what} at character {}, found {}",
            self.position + 1,
            self.text
        )
    }
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    pub(super) fn required(&mut self, what: &str) -> Result<Word<'a>, String> {
        self.next()?
            .ok_or_else(|| format!("expected {what} at the end"))
    }

    pub(super) fn next(&mut self) -> Result<Option<Word<'a>>, String> {
        let word = self.peek()?;
        if let Some(word) = &word {
            self.position = word.position + word.text.len();
        }
        Ok(word)
    }

    pub(super) fn peek(&self) -> Result<Option<Word<'a>>, String> {
        let rest = &self.text[self.position..];
        let position = self.text.len() - rest.trim_start().len();
        let rest = &self.text[position..];
        let Some(first) = rest.chars().next() else {
            return Ok(None);
        };
        let length = match first {
            '"' => match rest[1..].find('"') {
                Some(end) => end + 2,
                None => {
                    return Err(format!(
                        "the quote at character {} is not closed",
                        position + 1
                    ));
                }
            },
            '=' | '!' | '<' | '>' => rest
                .find(|c| !matches!(c, '=' | '!' | '<' | '>'))
                .unwrap_or(rest.len()),
            _ => rest
                .find(|c: char| c.is_whitespace() || matches!(c, '"' | '=' | '!' | '<' | '>'))
                .unwrap_or(rest.len()),
        };
        let text = &rest[..length];
        Ok(Some(Word { text, position }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
