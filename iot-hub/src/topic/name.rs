//! The variable parts of `$iothub` topics.

use std::{fmt, str::FromStr};

/// What ties an answer to its request: text that the requester chose, without `&`, `/`, `#`, `+`
/// and control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<u64> for RequestId {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(text: &str) -> Result<Self, RequestIdError> {
        if text.is_empty() {
            return Err(RequestIdError::Missing);
        }
        match text
            .chars()
            .find(|c| matches!(c, '&' | '/' | '#' | '+') || c.is_control())
        {
            Some(bad) => Err(RequestIdError::Character(bad)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl AsRef<str> for RequestId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is no request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestIdError {
    /// There is nothing.
    #[error("`$rid` is missing")]
    Missing,
    /// It has a character that would end it.
    #[error("`$rid` contains {0:?}")]
    Character(char),
}

/// The name of a direct method: 1 to 100 characters that may stand in one level of a topic,
/// case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodName(String);

impl MethodName {
    /// The most characters that a name may have.
    pub const MAX_CHARS: usize = 100;

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MethodName {
    type Err = MethodNameError;

    fn from_str(text: &str) -> Result<Self, MethodNameError> {
        if text.is_empty() {
            return Err(MethodNameError::Empty);
        }
        let chars = text.chars().count();
        if chars > Self::MAX_CHARS {
            return Err(MethodNameError::Length(chars));
        }
        match text
            .chars()
            .find(|c| matches!(c, '/' | '?' | '#' | '+') || c.is_control())
        {
            Some(bad) => Err(MethodNameError::Character(bad)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl AsRef<str> for MethodName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is no method name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MethodNameError {
    /// There is nothing.
    #[error("method name is empty")]
    Empty,
    /// It is too long.
    #[error("method name has {0} characters, more than 100")]
    Length(usize),
    /// It has a character that cannot stand in one level of a topic.
    #[error("method name contains {0:?}")]
    Character(char),
}
