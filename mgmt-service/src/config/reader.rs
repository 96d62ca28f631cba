//! Takes values out of a table and notes what is wrong with them; what is left over is unknown.

use std::{fmt, fs, net::SocketAddr, path::Path, time::Duration};

use humantime_serde::re::humantime;
use toml::{Table, Value};

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, with its sections; empty for the file as a whole.
    pub key: String,
    /// The value, as the file has it; empty when there is none.
    pub value: String,
    /// What was expected.
    pub expected: String,
}

/// A table, and where to note mistakes.
pub(super) struct Section<'a> {
    prefix: String,
    table: Table,
    mistakes: &'a mut Vec<Mistake>,
}

impl Mistake {
    pub(super) fn of_file(what: &str) -> Self {
        Self {
            key: String::new(),
            value: String::new(),
            expected: format!("a TOML file: {what}"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.is_empty(), self.value.is_empty()) {
            (true, _) => write!(f, "expected {}", self.expected),
            (false, true) => write!(f, "{}: expected {}", self.key, self.expected),
            (false, false) => write!(
                f,
                "{} = {}: expected {}",
                self.key, self.value, self.expected
            ),
        }
    }
}

impl<'a> Section<'a> {
    pub(super) fn root(table: Table, mistakes: &'a mut Vec<Mistake>) -> Self {
        Self {
            prefix: String::new(),
            table,
            mistakes,
        }
    }

    /// Takes a table out of this one; an absent one is empty.
    pub(super) fn section(&mut self, name: &str) -> Section<'_> {
        let table = match self.table.remove(name) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.mistake(name, &other.to_string(), "a section");
                Table::new()
            }
        };
        Section {
            prefix: format!("{}{name}.", self.prefix),
            table,
            mistakes: self.mistakes,
        }
    }

    /// Notes a mistake.
    pub(super) fn mistake(&mut self, key: &str, value: &str, expected: &str) {
        self.mistakes.push(Mistake {
            key: format!("{}{key}", self.prefix),
            value: value.to_owned(),
            expected: expected.to_owned(),
        });
    }

    /// Notes every key that nobody took.
    pub(super) fn finish(&mut self) {
        for (key, value) in std::mem::take(&mut self.table) {
            // A misspelt key may hold a secret.
            let value = if value.is_str() {
                "…".to_owned()
            } else {
                value.to_string()
            };
            self.mistake(&key, &value, "no such key");
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.take(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.take(key, "true or false", Value::as_bool)
    }

    pub(super) fn address(&mut self, key: &str) -> Option<SocketAddr> {
        let expected = "an IP address and a port, for example \"127.0.0.1:50051\"";
        self.take(key, expected, |value| value.as_str()?.parse().ok())
    }

    pub(super) fn port(&mut self, key: &str) -> Option<u16> {
        self.take(key, "a port from 1 to 65535", |value| {
            u16::try_from(value.as_integer()?)
                .ok()
                .filter(|port| *port > 0)
        })
    }

    pub(super) fn count(&mut self, key: &str, min: u32, max: u32) -> Option<u32> {
        self.take(key, &format!("a number from {min} to {max}"), |value| {
            let count = u32::try_from(value.as_integer()?).ok()?;
            (min..=max).contains(&count).then_some(count)
        })
    }

    pub(super) fn number(&mut self, key: &str, min: f64, max: f64) -> Option<f64> {
        self.take(key, &format!("a number from {min} to {max}"), |value| {
            let whole = value
                .as_integer()
                .and_then(|number| i32::try_from(number).ok());
            let number = value.as_float().or(whole.map(f64::from))?;
            (min..=max).contains(&number).then_some(number)
        })
    }

    pub(super) fn duration(&mut self, key: &str, min: Duration, max: Duration) -> Option<Duration> {
        let print = humantime::format_duration;
        let expected = format!(
            "a duration from {} to {}, for example \"30s\"",
            print(min),
            print(max)
        );
        self.take(key, &expected, |value| {
            let duration = humantime::parse_duration(value.as_str()?).ok()?;
            (min..=max).contains(&duration).then_some(duration)
        })
    }

    /// Reads the file that a key names.
    pub(super) fn file(&mut self, key: &str, path: &Path) -> Option<Vec<u8>> {
        match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let expected = format!("a file that can be read: {error}");
                self.mistake(key, &path.display().to_string(), &expected);
                None
            }
        }
    }

    fn take<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.table.remove(key)?;
        let taken = read(&value);
        if taken.is_none() {
            self.mistake(key, &value.to_string(), expected);
        }
        taken
    }
}
