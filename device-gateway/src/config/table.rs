//! Reading a TOML table key by key, so that one run finds every mistake in it.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use humantime_serde::re::humantime;
use toml::{Table, Value};

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, with the tables it is in.
    pub key: String,
    /// What is wrong with it, and what was expected.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

/// A table that is being read. What is left when it is dropped was not expected.
#[derive(Debug)]
pub(super) struct Reader {
    path: String,
    table: Table,
    mistakes: Rc<RefCell<Vec<Mistake>>>,
}

impl Reader {
    pub(super) fn new(table: Table, mistakes: Rc<RefCell<Vec<Mistake>>>) -> Self {
        Self {
            path: String::new(),
            table,
            mistakes,
        }
    }

    /// The full name of a key.
    fn name(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    pub(super) fn mistake(&self, key: &str, problem: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake {
            key: self.name(key),
            problem: problem.into(),
        });
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Takes a value, if it is there and well-formed.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.table.remove(key)?;
        match read(&value) {
            Ok(read) => Some(read),
            Err(expected) => {
                self.mistake(key, format!("{value} is wrong: expected {expected}"));
                None
            }
        }
    }

    /// As [`Reader::take`], for a value that must be there.
    pub(super) fn require<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.mistake(key, "is missing");
        }
        self.take(key, read)
    }

    pub(super) fn duration(&mut self, key: &str, default: Duration) -> Duration {
        self.take(key, |value| {
            value
                .as_str()
                .and_then(|text| humantime::parse_duration(text).ok())
                .ok_or_else(|| "a time such as \"90s\" or \"15m\"".to_owned())
        })
        .unwrap_or(default)
    }

    /// As [`Reader::duration`], for a time that must not be nothing.
    pub(super) fn positive_duration(&mut self, key: &str, default: Duration) -> Duration {
        let duration = self.duration(key, default);
        if duration.is_zero() {
            self.mistake(key, "0 is wrong: expected a time longer than nothing");
        }
        duration
    }

    /// Takes a table within this one; an empty one when it is absent.
    pub(super) fn table(&mut self, key: &str) -> Self {
        let table = self.take(key, |value| {
            value
                .as_table()
                .cloned()
                .ok_or_else(|| "a table".to_owned())
        });
        Self {
            path: self.name(key),
            table: table.unwrap_or_default(),
            mistakes: self.mistakes.clone(),
        }
    }

    /// Takes an array of tables.
    pub(super) fn tables(&mut self, key: &str) -> Vec<Self> {
        let tables = self.take(key, |value| {
            let tables = value.as_array().and_then(|values| {
                values
                    .iter()
                    .map(|value| value.as_table().cloned())
                    .collect::<Option<Vec<_>>>()
            });
            tables.ok_or_else(|| "an array of tables".to_owned())
        });
        let tables = tables.unwrap_or_default().into_iter().enumerate();
        tables
            .map(|(index, table)| Self {
                path: format!("{}[{index}]", self.name(key)),
                table,
                mistakes: self.mistakes.clone(),
            })
            .collect()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for key in self.table.keys() {
            self.mistake(key, "is unknown here");
        }
    }
}

pub(super) fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| "a text that is not empty".to_owned())
}

pub(super) fn flag(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "true or false".to_owned())
}

pub(super) fn port(value: &Value) -> Result<u16, String> {
    value
        .as_integer()
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .ok_or_else(|| "a port from 1 to 65535".to_owned())
}

pub(super) fn count(value: &Value) -> Result<usize, String> {
    value
        .as_integer()
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| (1..=30).contains(count))
        .ok_or_else(|| "a number from 1 to 30".to_owned())
}
