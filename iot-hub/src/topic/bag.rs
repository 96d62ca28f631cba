//! The properties of a message, which travel in its topic.

use std::{fmt, str::FromStr};

use crate::percent;

/// Properties of a message, in order. Names that begin with `$.` are the system's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertyBag(Vec<(String, Option<String>)>);

impl PropertyBag {
    /// Adds a property; without a value only its name is written.
    pub fn push(&mut self, name: impl Into<String>, value: Option<String>) -> Result<(), BagError> {
        let name = name.into();
        if name.is_empty() {
            return Err(BagError::Nameless);
        }
        self.0.push((name, value));
        Ok(())
    }

    /// The value of the first property of that name; a property without a value reads as empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value.as_deref().unwrap_or_default())
    }

    /// All properties, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for PropertyBag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, value) in &self.0 {
            write!(f, "{separator}{}", percent::encode(name))?;
            if let Some(value) = value {
                write!(f, "={}", percent::encode(value))?;
            }
            separator = "&";
        }
        Ok(())
    }
}

impl FromStr for PropertyBag {
    type Err = BagError;

    /// Tolerates a leading `?` and a trailing `/`, which some clients write.
    fn from_str(text: &str) -> Result<Self, BagError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let text = text.strip_prefix('?').unwrap_or(text);
        let mut bag = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (pair, None),
            };
            let name = percent::decode(name).ok_or(BagError::Encoding)?;
            let value = value
                .map(|value| percent::decode(value).ok_or(BagError::Encoding))
                .transpose()?;
            bag.push(name, value)?;
        }
        Ok(bag)
    }
}

/// Why a text holds no message properties.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BagError {
    /// A value has no name.
    #[error("message property has no name")]
    Nameless,
    /// What is percent-encoded is no UTF-8.
    #[error("message property is no percent-encoded UTF-8")]
    Encoding,
}
