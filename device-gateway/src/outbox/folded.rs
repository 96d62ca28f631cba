//! A document at rest, as text: a fifth of the room that its tree takes, and clones share it.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Document;

/// A document at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Text(Arc<str>),
    /// Its text reads as another document: the last digit of a number differs.
    Whole(Arc<Document>),
}

impl Folded {
    /// Lays a document to rest.
    pub fn new(document: Document) -> Self {
        let text = serde_json::to_string(&document).unwrap_or_default();
        Self(match serde_json::from_str::<Document>(&text) {
            Ok(read) if read == document => Form::Text(text.into()),
            Ok(_) | Err(_) => Form::Whole(Arc::new(document)),
        })
    }

    /// The document.
    pub fn open(&self) -> Document {
        match &self.0 {
            // It was read when it was made.
            Form::Text(text) => serde_json::from_str(text).unwrap_or_default(),
            Form::Whole(document) => Document::clone(document),
        }
    }
}

impl Default for Folded {
    fn default() -> Self {
        Self::new(Document::new())
    }
}

impl Serialize for Folded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Form::Text(_) => self.open().serialize(serializer),
            Form::Whole(document) => document.as_ref().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Folded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Document::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn what_is_opened_is_what_was_folded(number in any::<f64>(), text in ".*", key in ".*") {
            let document = json!({ key: { "n": number, "t": text, "o": {} } });
            let document = document.as_object().unwrap();
            let folded = Folded::new(document.clone());
            prop_assert_eq!(&folded.open(), document);
            let written = serde_json::to_string(document).unwrap();
            prop_assert_eq!(serde_json::to_string(&folded).unwrap(), written);
            prop_assert_eq!(Folded::new(folded.open()), folded);
        }
    }
}
