//! The names that the provisioning service knows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The most characters that either name may have.
const MAX_CHARS: usize = 128;

/// Which customer's part of the service: letters, digits, `-` and `_`, such as `0ne00001234`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdScope(String);

/// A device's name before it has one in a hub: 1 to 128 letters, digits, `-`, `.`, `_` and `:`,
/// of which the last is a letter, a digit or `-`.
///
/// The service does not tell upper from lower case, so neither does a comparison; the text is kept
/// as given, for a derived key depends on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistrationId(String);

impl IdScope {
    /// The scope's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RegistrationId {
    /// The id as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as all of its spellings have it.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for RegistrationId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for RegistrationId {}

fn check(text: &str, punctuation: &'static str) -> Result<(), RegistrationIdError> {
    if text.is_empty() {
        return Err(RegistrationIdError::Empty);
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || punctuation.contains(c);
    if let Some(found) = text.chars().find(|c| !is_allowed(*c)) {
        return Err(RegistrationIdError::Character {
            found,
            allowed: punctuation,
        });
    }
    if text.len() > MAX_CHARS {
        return Err(RegistrationIdError::Length(text.len()));
    }
    Ok(())
}

impl FromStr for IdScope {
    type Err = RegistrationIdError;

    fn from_str(text: &str) -> Result<Self, RegistrationIdError> {
        check(text, "-_").map(|()| Self(text.to_owned()))
    }
}

impl FromStr for RegistrationId {
    type Err = RegistrationIdError;

    fn from_str(text: &str) -> Result<Self, RegistrationIdError> {
        check(text, "-._:")?;
        if text.ends_with(['.', '_', ':']) {
            return Err(RegistrationIdError::End);
        }
        Ok(Self(text.to_owned()))
    }
}

macro_rules! text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = RegistrationIdError;

            fn try_from(text: String) -> Result<Self, RegistrationIdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text!(IdScope);
text!(RegistrationId);

/// Why a text is no id scope or registration id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationIdError {
    /// There is nothing.
    #[error("id is empty")]
    Empty,
    /// It is too long.
    #[error("id has {0} characters, more than 128")]
    Length(usize),
    /// It has a character that ids may not have.
    #[error("id contains {found:?}; allowed are ASCII letters, digits and {allowed}")]
    Character {
        /// The character.
        found: char,
        /// What is allowed beside letters and digits.
        allowed: &'static str,
    },
    /// It ends in punctuation.
    #[error("id ends in punctuation other than `-`")]
    End,
}
