//! What is wrong with settings.

use std::fmt;

use super::Origin;

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, with its sections; empty for the settings as a whole.
    pub key: String,
    /// The value as it was given; empty when there is none.
    pub value: String,
    /// Where it is from.
    pub origin: Origin,
    /// What was expected.
    pub expected: String,
}

/// All that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistake {
    pub(super) fn general(expected: String) -> Self {
        Self {
            key: String::new(),
            value: String::new(),
            origin: Origin::Default,
            expected,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if !self.value.is_empty() {
                write!(f, " = {}", self.value)?;
            }
            match &self.origin {
                Origin::Default | Origin::File => {}
                Origin::Environment(name) | Origin::Argument(name) => write!(f, " ({name})")?,
            }
            f.write_str(": ")?;
        }
        write!(f, "expected {}", self.expected)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{count} {noun} in the settings")?;
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
