//! Which devices a role is for.

use std::{fmt, str::FromStr};

use iot_hub::identity::DeviceId;
use serde_json::{Map, Value};

/// The longest pattern; a device id has 128 characters.
const MAX_PATTERN_CHARS: usize = 256;

/// Which devices a role is for: one of the patterns fits the id, and every tag is as wanted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// Patterns of device ids; none stands for every device.
    pub devices: Vec<Pattern>,
    /// What the twin's tags have to be.
    pub tags: Vec<Tag>,
}

/// Whether a device is in a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Yes,
    No,
    /// Its tags decide, and they are not known.
    Unknown,
}

impl Scope {
    /// Says that every device is in it.
    pub(crate) fn is_everything(&self) -> bool {
        let any = |pattern: &Pattern| pattern.parts == [Part::Any];
        (self.devices.is_empty() || self.devices.iter().any(any)) && self.tags.is_empty()
    }

    /// Says whether a device is in it; `tags` are those of its twin, if they are known.
    pub(crate) fn fits(&self, device: &DeviceId, tags: Option<&Map<String, Value>>) -> Fit {
        let id = device.as_str();
        if !self.devices.is_empty() && !self.devices.iter().any(|pattern| pattern.fits(id)) {
            return Fit::No;
        }
        match tags {
            _ if self.tags.is_empty() => Fit::Yes,
            None => Fit::Unknown,
            Some(tags) if self.tags.iter().all(|tag| tag.is_in(tags)) => Fit::Yes,
            Some(_) => Fit::No,
        }
    }
}

/// A pattern of device ids: `*` is any text, `?` any character, `\` takes the next one as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// This character.
    Is(char),
    /// One character.
    One,
    /// Any number of characters.
    Any,
}

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut part, mut at) = (0, 0);
        // Where to go on when what follows the last `*` does not fit.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let fits = match (self.parts.get(part), text.get(at)) {
                (Some(Part::Any), _) => {
                    retry = Some((part + 1, at));
                    part += 1;
                    continue;
                }
                (None, None) => return true,
                (Some(Part::One), Some(_)) => true,
                (Some(Part::Is(wanted)), Some(found)) => wanted == found,
                (None, Some(_)) | (Some(_), None) => false,
            };
            if fits {
                part += 1;
                at += 1;
                continue;
            }
            match retry {
                Some((after, from)) if from < text.len() => {
                    retry = Some((after, from + 1));
                    part = after;
                    at = from + 1;
                }
                Some(_) | None => return false,
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.chars().count() > MAX_PATTERN_CHARS {
            return Err(PatternError);
        }
        let mut parts = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let part = match character {
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => Part::Is(characters.next().ok_or(PatternError)?),
                other => Part::Is(other),
            };
            match part {
                // What no device id can have would make the pattern fit none.
                Part::Is(character) if character.to_string().parse::<DeviceId>().is_err() => {
                    return Err(PatternError);
                }
                Part::Any if parts.last() == Some(&Part::Any) => {}
                Part::Is(_) | Part::One | Part::Any => parts.push(part),
            }
        }
        Ok(Self { parts })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Any => f.write_str("*")?,
                Part::One => f.write_str("?")?,
                Part::Is(character @ ('*' | '?')) => write!(f, "\\{character}")?,
                Part::Is(character) => write!(f, "{character}")?,
            }
        }
        Ok(())
    }
}

/// A text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pattern of device ids, such as \"pump-*\"")]
pub struct PatternError;

/// What one tag of a twin has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    /// Where it is, from the outermost name to its own.
    pub path: Vec<String>,
    /// Its value: a text, a number, or true or false.
    pub value: Value,
}

impl Tag {
    fn is_in(&self, tags: &Map<String, Value>) -> bool {
        let Some((name, outer)) = self.path.split_last() else {
            return false;
        };
        let inner = outer
            .iter()
            .try_fold(tags, |tags, name| tags.get(name)?.as_object());
        let found = inner.and_then(|tags| tags.get(name));
        found.is_some_and(|found| same(found, &self.value))
    }
}

/// JSON has one kind of number: 3 and 3.0 are the same.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        (None, None) => one == other,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, fits: &[&str], others: &[&str]) {
        let parsed: Pattern = pattern.parse().unwrap();
        for id in fits {
            assert!(parsed.fits(id), "{pattern} {id}");
        }
        for id in others {
            assert!(!parsed.fits(id), "{pattern} {id}");
        }
    }

    #[test]
    fn a_pattern_fits_the_whole_id() {
        check(
            "pump-1",
            &["pump-1"],
            &["pump-10", "a-pump-1", "Pump-1", "pump-"],
        );
        check(
            "pump-*",
            &["pump-", "pump-1", "pump-a-b"],
            &["pump", "a-pump-1"],
        );
        check(
            "*-north",
            &["a-north", "-north", "north-north"],
            &["a-north-1", "north"],
        );
        check("a*b*c", &["abc", "aXbYc", "abcbc"], &["acb", "ab"]);
        check("pump-?", &["pump-1"], &["pump-", "pump-10"]);
        check("*", &["x"], &[]);
        check("a\\*b", &["a*b"], &["aXb", "a\\*b"]);
        check("a\\?", &["a?"], &["ab"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["", "pump 1", "a\\", "é*", &"x".repeat(257)] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn tags_are_looked_up_by_their_path() {
        let tag = |path: &str, value: Value| Tag {
            path: path.split('.').map(str::to_owned).collect(),
            value,
        };
        let tags = json!({"site": "north", "floor": {"number": 3, "dry": true}});
        let tags = tags.as_object().unwrap();
        for (path, value, is_in) in [
            ("site", json!("north"), true),
            ("site", json!("North"), false),
            ("site", json!(1), false),
            ("floor.number", json!(3.0), true),
            ("floor.number", json!("3"), false),
            ("floor.dry", json!(true), true),
            ("floor.dry", json!(1), false),
            ("floor", json!(3), false),
            ("site.north", json!("north"), false),
            ("nothing", json!("north"), false),
        ] {
            assert_eq!(
                tag(path, value.clone()).is_in(tags),
                is_in,
                "{path} {value}"
            );
        }
    }

    #[test]
    fn patterns_and_tags_have_to_fit_both() {
        let device: DeviceId = "pump-1".parse().unwrap();
        let scope = |devices: &[&str], site: Option<&str>| Scope {
            devices: devices.iter().map(|text| text.parse().unwrap()).collect(),
            tags: site
                .map(|site| Tag {
                    path: vec!["site".into()],
                    value: site.into(),
                })
                .into_iter()
                .collect(),
        };
        let tags = json!({"site": "north"});
        let tags = tags.as_object();
        for (devices, site, without, with) in [
            (&[][..], None, Fit::Yes, Fit::Yes),
            (&["a", "pump-*"], None, Fit::Yes, Fit::Yes),
            (&["a"], None, Fit::No, Fit::No),
            (&[], Some("north"), Fit::Unknown, Fit::Yes),
            (&[], Some("south"), Fit::Unknown, Fit::No),
            (&["pump-1"], Some("north"), Fit::Unknown, Fit::Yes),
            (&["a"], Some("north"), Fit::No, Fit::No),
        ] {
            let scope = scope(devices, site);
            assert_eq!(scope.fits(&device, None), without, "{scope:?}");
            assert_eq!(scope.fits(&device, tags), with, "{scope:?}");
        }
        assert!(scope(&[], None).is_everything());
        assert!(scope(&["a", "*"], None).is_everything());
        assert!(!scope(&["a*"], None).is_everything());
        assert!(!scope(&["*"], Some("north")).is_everything());
    }

    /// What a pattern means, said as plainly as possible.
    fn model(parts: &[Part], text: &[char]) -> bool {
        match (parts.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((Part::Any, rest)), _) => {
                (0..=text.len()).any(|taken| model(rest, &text[taken..]))
            }
            (Some((Part::One, rest)), Some((_, text))) => model(rest, text),
            (Some((Part::Is(wanted), rest)), Some((found, text))) => {
                wanted == found && model(rest, text)
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_the_model_says(pattern in "[ab*?]{1,8}", text in "[ab]{0,8}") {
            let pattern: Pattern = pattern.parse().unwrap();
            let characters: Vec<char> = text.chars().collect();
            prop_assert_eq!(pattern.fits(&text), model(&pattern.parts, &characters));
        }

        #[test]
        fn patterns_are_read_as_they_are_written(text in "([a-z0-9*?-]|\\\\[*?]){1,20}") {
            let pattern: Pattern = text.parse().unwrap();
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<Pattern>();
        }
    }
}
