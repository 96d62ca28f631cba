//! Subscriptions, and which topics they match.

use std::{fmt, str::FromStr};

use crate::text::MAX_STRING;

/// A topic filter: levels separated by `/`, of which one may be `+` for any level, and the last may
/// be `#` for any further ones and none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(String);

impl Filter {
    /// Whether a message on `topic` is for this subscription.
    ///
    /// A wildcard at the beginning does not match topics that begin with `$`.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for wanted in self.0.split('/') {
            match (wanted, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// The filter's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) fn check(filter: &str) -> Result<(), FilterError> {
    if filter.is_empty() {
        return Err(FilterError::Empty);
    }
    if filter.len() > MAX_STRING {
        return Err(FilterError::Length);
    }
    if filter.contains('\0') {
        return Err(FilterError::Null);
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        match level {
            "+" => {}
            "#" if is_last => {}
            level if level.contains(['+', '#']) => return Err(FilterError::Wildcard),
            _ => {}
        }
    }
    Ok(())
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        check(text).map(|()| Self(text.to_owned()))
    }
}

impl AsRef<str> for Filter {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is no topic filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// There is nothing.
    #[error("topic filter is empty")]
    Empty,
    /// It is too long.
    #[error("topic filter is longer than 65535 bytes")]
    Length,
    /// It contains the null character.
    #[error("topic filter contains a null character")]
    Null,
    /// A wildcard shares its level with something, or `#` is not the last level.
    #[error("topic filter has a wildcard that is no level of its own, or `#` that is not the last")]
    Wildcard,
}

#[cfg(test)]
mod tests;
