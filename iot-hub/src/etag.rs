//! Entity tags, and the `If-Match` header that guards an update with one.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};

/// Makes the tag that a hub would show for the `counter`-th version of a document: its eight bytes
/// in base64.
pub fn etag(counter: u64) -> String {
    STANDARD.encode(counter.to_be_bytes())
}

/// The condition in an `If-Match` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: the document must exist, in whatever version.
    Any,
    /// The document must still be at this version.
    Tag(String),
}

impl IfMatch {
    /// Reads a header value: `*`, `"*"`, `"tag"` or `W/"tag"`.
    ///
    /// Anything else is no condition at all, as in the real service, which ignores an unquoted tag.
    pub fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        if header == "*" {
            return Some(Self::Any);
        }
        let quoted = header.strip_prefix("W/").unwrap_or(header);
        match quoted.strip_prefix('"')?.strip_suffix('"')? {
            "*" => Some(Self::Any),
            tag => Some(Self::Tag(tag.to_owned())),
        }
    }

    /// Whether a document at version `current` meets the condition.
    pub fn allows(&self, current: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Tag(tag) => tag == current,
        }
    }
}

/// The header's value, quoted as the service demands.
impl fmt::Display for IfMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("\"*\""),
            Self::Tag(tag) => write!(f, "\"{tag}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_is_a_big_endian_counter() {
        assert_eq!(etag(1), "AAAAAAAAAAE=");
        assert_eq!(etag(258), "AAAAAAAAAQI=");
    }

    #[test]
    fn header_forms() {
        let tag = Some(IfMatch::Tag("AAAAAAAAAAE=".to_owned()));
        assert_eq!(IfMatch::parse("*"), Some(IfMatch::Any));
        assert_eq!(IfMatch::parse("\"*\""), Some(IfMatch::Any));
        assert_eq!(IfMatch::parse("\"AAAAAAAAAAE=\""), tag);
        assert_eq!(IfMatch::parse(" W/\"AAAAAAAAAAE=\" "), tag);
        assert_eq!(IfMatch::parse("AAAAAAAAAAE="), None);
        assert_eq!(IfMatch::parse("\""), None);
        assert_eq!(IfMatch::parse(""), None);
    }

    #[test]
    fn only_the_current_tag_is_allowed() {
        let condition = IfMatch::parse("\"b\"").unwrap();
        assert!(condition.allows("b"));
        assert!(!condition.allows("a"));
        assert!(IfMatch::Any.allows("a"));
        assert_eq!(IfMatch::parse(&condition.to_string()), Some(condition));
    }
}
