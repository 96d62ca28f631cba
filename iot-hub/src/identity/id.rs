//! Device and module ids.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The most characters an id may have.
const MAX_CHARS: usize = 128;

/// The characters other than ASCII letters and digits that an id may have.
const PUNCTUATION: &str = "-.+%_#*?!(),:=@$'";

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if let Some(bad) = text
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !PUNCTUATION.contains(*c))
    {
        return Err(IdError::Character(bad));
    }
    if text.len() > MAX_CHARS {
        return Err(IdError::Length(text.len()));
    }
    Ok(())
}

/// Why a text is no device or module id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// There is nothing.
    #[error("id is empty")]
    Empty,
    /// It is too long.
    #[error("id has {0} characters, more than 128")]
    Length(usize),
    /// It has a character that ids may not have.
    #[error("id contains {0:?}; allowed are ASCII letters, digits and -.+%_#*?!(),:=@$'")]
    Character(char),
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text).map(|()| Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                check(&text).map(|()| Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

id! {
    /// A device's name in its hub: 1 to 128 characters, case-sensitive. Clones share it: who holds
    /// thousands of devices names each of them in a dozen places.
    DeviceId
}

id! {
    /// A module's name in its device: 1 to 128 characters, case-sensitive.
    ModuleId
}
