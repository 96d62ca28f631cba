//! A document at rest, as text: a fifth of the room that its tree takes, and clones share it.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error as _};
use serde_json::{Value, value::RawValue};

use super::Document;

/// Deeper than any document of ours, and far from where reading ends.
const DEEP: usize = 32;

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
        let read_back = || serde_json::from_str::<Document>(&text);
        let is_its_text = document.values().all(|value| is_plain(value, DEEP))
            || read_back().is_ok_and(|read| read == document);
        Self(if is_its_text {
            Form::Text(text.into())
        } else {
            Form::Whole(Arc::new(document))
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

/// Its text certainly reads as itself.
fn is_plain(value: &Value, deep: usize) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => deep > 0 && items.iter().all(|item| is_plain(item, deep - 1)),
        Value::Object(fields) => deep > 0 && fields.values().all(|item| is_plain(item, deep - 1)),
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
            // Copied as it is: an outbox is written far more often than it is read.
            Form::Text(text) => serde_json::from_str::<&RawValue>(text)
                .map_err(S::Error::custom)?
                .serialize(serializer),
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
            prop_assert_eq!(&json!(folded), &json!(document));
            prop_assert_eq!(Folded::new(folded.open()), folded);
        }
    }

    #[test]
    fn a_document_of_any_depth_is_opened_as_it_was_folded() {
        for depth in [1, DEEP, DEEP + 1, 126, 127, 128, 300] {
            let deep = (0..depth).fold(json!(1), |inner, _| json!({ "a": inner }));
            let document = deep.as_object().unwrap();
            assert!(Folded::new(document.clone()).open() == *document, "{depth}");
        }
    }
}
