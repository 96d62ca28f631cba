//! What may stand in a twin.

use serde_json::{Number, Value};

use super::Properties;
use crate::error::{ErrorCode, HubError};

/// The section of a twin, which decides how large it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// Written and read by services alone.
    Tags,
    /// Written by services, read by the device.
    Desired,
    /// Written by the device, read by services.
    Reported,
}

impl SectionKind {
    /// The most bytes that the section may have, counted as [`TwinError::TooLarge`] says.
    pub fn max_bytes(self) -> usize {
        match self {
            Self::Tags => 8 * 1024,
            Self::Desired | Self::Reported => 32 * 1024,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Desired => "desired properties",
            Self::Reported => "reported properties",
        }
    }
}

const MAX_KEY_BYTES: usize = 1024;
const MAX_STRING_BYTES: usize = 4096;
const MAX_DEPTH: usize = 10;
/// Empty lists and control characters do not count towards a section's size, and must not fill the
/// memory all the same. What counts is never so much: every value has a name, or bytes that count.
const MAX_BULK: usize = 1024 * 1024;
const VALUE_BULK: usize = 16;
const MIN_INTEGER: i64 = -(1 << 52);
const MAX_INTEGER: i64 = (1 << 52) - 1;

/// Checks a patch, or a whole section, against the limits: names, values, depth and size.
pub fn validate(kind: SectionKind, patch: &Properties) -> Result<(), TwinError> {
    check_object(patch, 0, Nulls::Delete)?;
    check_size(kind, patch)
}

/// Checks the size alone, which a merge can change.
pub(super) fn check_size(kind: SectionKind, section: &Properties) -> Result<(), TwinError> {
    let bytes = object_size(section);
    if bytes > kind.max_bytes() {
        return Err(TwinError::TooLarge { kind, bytes });
    }
    if object_bulk(section) > MAX_BULK {
        return Err(TwinError::Bulk { kind });
    }
    Ok(())
}

/// Whether a `null` means deletion where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Delete,
    Forbidden,
}

/// `depth` is that of the object itself, the section's being 0. It bounds the recursion.
fn check_object(object: &Properties, depth: usize, nulls: Nulls) -> Result<(), TwinError> {
    for (name, value) in object {
        check_name(name)?;
        if nulls == Nulls::Forbidden && value.is_null() {
            return Err(TwinError::NullInArray);
        }
        check_value(name, value, depth, nulls)?;
    }
    Ok(())
}

fn check_value(name: &str, value: &Value, depth: usize, nulls: Nulls) -> Result<(), TwinError> {
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) => check_number(name, number),
        Value::String(text) if text.len() > MAX_STRING_BYTES => Err(TwinError::StringLength {
            name: shorten(name),
            bytes: text.len(),
        }),
        Value::String(_) => Ok(()),
        Value::Array(_) | Value::Object(_) if depth == MAX_DEPTH => Err(TwinError::Depth {
            name: shorten(name),
        }),
        Value::Object(object) => check_object(object, depth + 1, nulls),
        Value::Array(items) if items.contains(&Value::Null) => Err(TwinError::NullInArray),
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check_value(name, item, depth + 1, Nulls::Forbidden)),
    }
}

fn check_name(name: &str) -> Result<(), TwinError> {
    if name.len() > MAX_KEY_BYTES {
        return Err(TwinError::NameLength {
            name: shorten(name),
            bytes: name.len(),
        });
    }
    match name
        .chars()
        .find(|c| matches!(c, '.' | '$' | ' ') || c.is_control())
    {
        Some(character) => Err(TwinError::NameCharacter {
            name: shorten(name),
            character,
        }),
        None => Ok(()),
    }
}

fn check_number(name: &str, number: &Number) -> Result<(), TwinError> {
    let in_range = match (number.as_i64(), number.as_u64()) {
        (Some(integer), _) => (MIN_INTEGER..=MAX_INTEGER).contains(&integer),
        (None, Some(_)) => false,
        (None, None) => true,
    };
    if in_range {
        Ok(())
    } else {
        Err(TwinError::Number {
            name: shorten(name),
        })
    }
}

fn object_size(object: &Properties) -> usize {
    object
        .iter()
        .map(|(name, value)| text_size(name) + value_size(value))
        .sum()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text_size(text),
        Value::Array(items) => items.iter().map(value_size).sum(),
        Value::Object(object) => object_size(object),
    }
}

/// What an object takes, whether it counts or not.
fn object_bulk(object: &Properties) -> usize {
    object
        .iter()
        .map(|(name, value)| name.len() + value_bulk(value))
        .sum()
}

fn value_bulk(value: &Value) -> usize {
    VALUE_BULK
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(value_bulk).sum(),
            Value::Object(object) => object_bulk(object),
        }
}

fn text_size(text: &str) -> usize {
    text.chars()
        .filter(|c| !c.is_control())
        .map(char::len_utf8)
        .sum()
}

/// Keeps error messages readable: a name may have a kilobyte and more.
fn shorten(name: &str) -> String {
    name.chars().take(40).collect()
}

/// Why a twin cannot take a patch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TwinError {
    /// A property's name is too long.
    #[error("length {bytes} of property name {name} exceeds the maximum of 1024 bytes")]
    NameLength {
        /// The beginning of the name.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// A property's name has a character that names may not have: a control character, `.`, `$` or
    /// space.
    #[error("property name {name:?} contains the invalid character {character:?}")]
    NameCharacter {
        /// The beginning of the name.
        name: String,
        /// The character.
        character: char,
    },
    /// A text is too long.
    #[error("value of property {name} has {bytes} bytes, more than the maximum of 4096")]
    StringLength {
        /// The property.
        name: String,
        /// The text's length.
        bytes: usize,
    },
    /// An integer is out of range.
    #[error(
        "value of property {name} is out of bounds: integers are between -4503599627370496 and 4503599627370495"
    )]
    Number {
        /// The property.
        name: String,
    },
    /// Objects and arrays are nested too deeply.
    #[error("nested depth at property {name} exceeds 10")]
    Depth {
        /// The property.
        name: String,
    },
    /// A `null` stands where it cannot mean deletion.
    #[error("arrays cannot contain null, nor can objects in them")]
    NullInArray,
    /// The section is too large. Counted are names and values: a text's bytes without control
    /// characters, 8 for a number, 4 for a boolean.
    #[error("{} have {bytes} bytes, more than the maximum of {}", kind.name(), kind.max_bytes())]
    TooLarge {
        /// The section.
        kind: SectionKind,
        /// Its size.
        bytes: usize,
    },
    /// The section has too much that does not count: empty objects and arrays, control characters.
    #[error("{} hold too many empty values or control characters", kind.name())]
    Bulk {
        /// The section.
        kind: SectionKind,
    },
}

impl From<TwinError> for HubError {
    fn from(error: TwinError) -> Self {
        Self::new(ErrorCode::ArgumentInvalid, error.to_string())
    }
}
