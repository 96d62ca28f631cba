//! One setting: a value that was given, or not.

use std::{cell::RefCell, net::SocketAddr, path::PathBuf, rc::Rc, time::Duration};

use humantime_serde::re::humantime;
use toml::Value;

use super::{Origin, in_force::Shown, section::Record};

/// A value that was given, or not. Whoever takes it says which of the two it has to be.
#[derive(Debug)]
#[must_use = "a setting that nobody takes has no effect"]
pub struct Given<T> {
    pub(super) key: String,
    pub(super) value: Option<T>,
    /// How it is printed.
    pub(super) shown: Option<Value>,
    pub(super) origin: Origin,
    /// It was given and is wrong, which is noted already.
    pub(super) mistaken: bool,
    pub(super) record: Rc<RefCell<Record>>,
}

impl<T> Given<T> {
    /// The value, or what holds when nobody gave one.
    pub fn or(self, default: T) -> T
    where
        T: Show,
    {
        let shown = match &self.value {
            Some(_) => self.shown.clone(),
            None => Some(default.show()),
        };
        self.note(shown.map_or(Shown::Absent, Shown::Value));
        self.value.unwrap_or(default)
    }

    /// The value, which may be absent.
    pub fn optional(self) -> Option<T> {
        self.note(self.shown.clone().map_or(Shown::Absent, Shown::Value));
        self.value
    }

    /// The value, which must not be absent; that it is will be told.
    pub fn required(self, expected: &str) -> Option<T> {
        if self.value.is_none() && !self.mistaken {
            self.record
                .borrow_mut()
                .mistake(self.key.clone(), String::new(), expected);
        }
        self.optional()
    }

    fn note(&self, shown: Shown) {
        let origin = match &self.value {
            Some(_) => self.origin.clone(),
            None => Origin::Default,
        };
        let key = self.key.clone();
        self.record.borrow_mut().in_force.add(key, shown, origin);
    }
}

/// A value that can be printed as a setting.
pub trait Show {
    /// The value as TOML has it.
    fn show(&self) -> Value;
}

impl Show for String {
    fn show(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Show for bool {
    fn show(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Show for u16 {
    fn show(&self) -> Value {
        Value::Integer(i64::from(*self))
    }
}

impl Show for u32 {
    fn show(&self) -> Value {
        Value::Integer(i64::from(*self))
    }
}

impl Show for f64 {
    fn show(&self) -> Value {
        Value::Float(*self)
    }
}

impl Show for Duration {
    fn show(&self) -> Value {
        Value::String(humantime::format_duration(*self).to_string())
    }
}

impl Show for SocketAddr {
    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Show for PathBuf {
    fn show(&self) -> Value {
        Value::String(self.display().to_string())
    }
}

impl Show for Vec<String> {
    fn show(&self) -> Value {
        Value::Array(self.iter().map(Show::show).collect())
    }
}
