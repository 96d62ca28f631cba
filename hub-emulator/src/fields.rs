//! Takes named values out of a JSON object and notes everything that is wrong with them, so that
//! one reading tells all of it. Names are asked for with underscores and spelled `likeThis`.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use humantime_serde::re::humantime;
use jiff::SignedDuration;
use serde_json::{Map, Value};

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Which value.
    pub(crate) field: String,
    /// The value as the document has it, unless there is none or it may be a secret.
    pub(crate) given: Option<String>,
    /// What was expected.
    pub(crate) expected: String,
}

impl Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        if let Some(given) = &self.given {
            write!(f, " = {given}")?;
        }
        write!(f, ": expected {}", self.expected)
    }
}

/// The values of one object, and where to note mistakes.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    values: Map<String, Value>,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(values: Map<String, Value>, mistakes: &'a mut Vec<Mistake>) -> Self {
        Self { values, mistakes }
    }

    /// Notes a mistake.
    pub(crate) fn mistake(
        &mut self,
        key: &str,
        given: Option<String>,
        expected: impl Into<String>,
    ) {
        let field = name(key);
        self.mistakes.push(Mistake {
            field,
            given,
            expected: expected.into(),
        });
    }

    /// Notes every value that nobody took.
    pub(crate) fn finish(&mut self) {
        let left: Vec<String> = std::mem::take(&mut self.values)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        for key in left {
            // Its value is not told: a misspelt name may hold a secret.
            self.mistakes.push(Mistake {
                field: key,
                given: None,
                expected: "no such name".to_owned(),
            });
        }
    }

    /// Drops what nobody took: without a value that is missing it means nothing.
    pub(crate) fn ignore_the_rest(&mut self) {
        self.values.clear();
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        let value = self.values.get(&name(key));
        value.is_some_and(|value| !value.is_null())
    }

    /// Reads a value that must be there.
    pub(crate) fn demand<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.values.remove(&name(key));
            self.mistake(key, None, expected);
            return None;
        }
        read(self, key)
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        self.take(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn flag(&mut self, key: &str) -> Option<bool> {
        self.take(key, "true or false", Value::as_bool)
    }

    pub(crate) fn count(&mut self, key: &str, min: u64, max: u64) -> Option<u64> {
        let expected = match max {
            u64::MAX => format!("a whole number from {min}"),
            max => format!("a whole number from {min} to {max}"),
        };
        self.take(key, &expected, |value| {
            value.as_u64().filter(|count| (min..=max).contains(count))
        })
    }

    /// A text that stands for something.
    pub(crate) fn parsed<T: FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        self.take(key, expected, |value| value.as_str()?.parse().ok())
    }

    /// The same for a text that is told to nobody.
    pub(crate) fn secret<T: FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        let value = self.values.remove(&name(key))?;
        let found = value.as_str().and_then(|text| text.parse().ok());
        if found.is_none() && !value.is_null() {
            self.mistake(key, None, expected);
        }
        found
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let expected = format!("one of {}", words.join(", "));
        self.take(key, &expected, |value| {
            let word = value.as_str()?;
            let choice = choices.iter().find(|(known, _)| *known == word);
            choice.map(|(_, meaning)| *meaning)
        })
    }

    /// A text such as `1m 30s` or `250ms`.
    pub(crate) fn duration(&mut self, key: &str, max: Duration) -> Option<Duration> {
        let expected = format!(
            "a duration up to {}, such as \"1m 30s\" or \"250ms\"",
            print(max)
        );
        self.take(key, &expected, |value| {
            let duration = humantime::parse_duration(value.as_str()?).ok()?;
            (duration <= max).then_some(duration)
        })
    }

    /// The same, which may begin with a minus.
    pub(crate) fn signed_duration(&mut self, key: &str, max: Duration) -> Option<SignedDuration> {
        let expected = format!(
            "a duration up to {}, such as \"10m\" or \"-1h\"",
            print(max)
        );
        self.take(key, &expected, |value| {
            let text = value.as_str()?;
            let (text, negative) = match text.strip_prefix('-') {
                Some(rest) => (rest, true),
                None => (text, false),
            };
            let duration = humantime::parse_duration(text).ok()?;
            let duration = SignedDuration::try_from(duration)
                .ok()
                .filter(|_| duration <= max)?;
            Some(if negative { -duration } else { duration })
        })
    }

    pub(crate) fn object(&mut self, key: &str) -> Option<Map<String, Value>> {
        self.take(key, "an object", |value| value.as_object().cloned())
    }

    fn take<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.values.remove(&name(key))?;
        if value.is_null() {
            return None;
        }
        let found = read(&value);
        if found.is_none() {
            self.mistake(key, Some(value.to_string()), expected);
        }
        found
    }
}

/// `retryAfter` for `retry_after`.
fn name(key: &str) -> String {
    let mut words = key.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        name + &initial.to_ascii_uppercase() + rest
    })
}

/// A duration as it is read.
pub(crate) fn print(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// The same with its sign.
pub(crate) fn print_signed(duration: SignedDuration) -> String {
    let sign = if duration.is_negative() { "-" } else { "" };
    format!("{sign}{}", print(duration.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_mistake_is_noted_with_its_place() {
        let document = json!({
            "retryAfter": "soon", "count": 7, "color": "red", "on": "yes", "who": null,
            "spare": "secret",
        });
        let mut mistakes = Vec::new();
        let values = document.as_object().cloned().unwrap();
        let mut fields = Fields::new(values, &mut mistakes);
        assert_eq!(
            fields.duration("retry_after", Duration::from_secs(60)),
            None
        );
        assert_eq!(fields.count("count", 1, 5), None);
        assert_eq!(fields.choice("color", &[("green", 1), ("blue", 2)]), None);
        assert_eq!(fields.flag("on"), None);
        assert_eq!(fields.demand("who", "a name", Fields::text), None);
        fields.finish();
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                r#"retryAfter = "soon": expected a duration up to 1m, such as "1m 30s" or "250ms""#,
                "count = 7: expected a whole number from 1 to 5",
                r#"color = "red": expected one of green, blue"#,
                r#"on = "yes": expected true or false"#,
                "who: expected a name",
                "spare: expected no such name",
            ]
        );
    }
}
