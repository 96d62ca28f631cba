//! Who a caller is, and how the settings name callers.

use std::{fmt, str::FromStr, sync::Arc};

use serde_json::{Map, Value};

use super::StaticToken;
use crate::certificate::Certificate;

/// Who a caller is, as far as its credentials say.
#[derive(Debug, Clone, PartialEq)]
pub enum Identity {
    /// Nobody asks, for no credentials are configured.
    Anonymous,
    /// Whom a certificate names.
    Certificate(Arc<Certificate>),
    /// Whom a static token names.
    Token(StaticToken),
    /// Whom a signed token names.
    Subject(Arc<Subject>),
}

/// What a signed token says of its bearer.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// Everything the token says.
    pub claims: Map<String, Value>,
}

/// The caller in one word, for the audit: two callers of the same word are the same caller.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Certificate(certificate) => write!(f, "certificate:{}", certificate.name()),
            Self::Token(token) => write!(f, "token:{}", token.name),
            Self::Subject(subject) => write!(f, "subject:{}", subject.name),
        }
    }
}

/// How the settings name callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Everybody who has shown credentials.
    Authenticated,
    /// The subject of a signed token.
    Subject(String),
    /// A group that a signed token names.
    Group(String),
    /// A claim of a signed token, and what it has to be or to contain.
    Claim(String, String),
    /// A name of a certificate.
    Certificate(String),
    /// The name of a static token.
    Token(String),
}

impl Who {
    /// Says whether a caller is meant.
    pub(crate) fn is(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (_, Identity::Anonymous) => false,
            (Self::Authenticated, _) => true,
            (Self::Subject(name), Identity::Subject(subject)) => subject.name == *name,
            (Self::Group(name), Identity::Subject(subject)) => subject.groups.contains(name),
            (Self::Claim(name, wanted), Identity::Subject(subject)) => {
                texts_of(&subject.claims, name).contains(wanted)
            }
            (Self::Certificate(name), Identity::Certificate(certificate)) => {
                certificate.is_named(name)
            }
            (Self::Token(name), Identity::Token(token)) => *name == token.name,
            (Self::Subject(_) | Self::Group(_) | Self::Claim(..), _)
            | (Self::Certificate(_) | Self::Token(_), _) => false,
        }
    }
}

/// The texts that a claim is made of: itself, or the items of its list. A claim inside another one is
/// named by both, with a dot between.
pub(crate) fn texts_of(claims: &Map<String, Value>, name: &str) -> Vec<String> {
    let found = claims.get(name).or_else(|| {
        let (outer, inner) = name.rsplit_once('.')?;
        let outer = outer
            .split('.')
            .try_fold(claims, |claims, name| claims.get(name)?.as_object());
        outer?.get(inner)
    });
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match found {
        Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
        Some(value) => text(value).into_iter().collect(),
        None => Vec::new(),
    }
}

impl FromStr for Who {
    type Err = WhoError;

    fn from_str(text: &str) -> Result<Self, WhoError> {
        if text == "authenticated" {
            return Ok(Self::Authenticated);
        }
        let (kind, name) = text.split_once(':').ok_or(WhoError)?;
        if name.is_empty() {
            return Err(WhoError);
        }
        match kind {
            "subject" => Ok(Self::Subject(name.to_owned())),
            "group" => Ok(Self::Group(name.to_owned())),
            "certificate" => Ok(Self::Certificate(name.to_owned())),
            "token" => Ok(Self::Token(name.to_owned())),
            "claim" => match name.split_once('=') {
                Some((claim, value)) if !claim.is_empty() => {
                    Ok(Self::Claim(claim.to_owned(), value.to_owned()))
                }
                Some(_) | None => Err(WhoError),
            },
            _ => Err(WhoError),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authenticated => f.write_str("authenticated"),
            Self::Subject(name) => write!(f, "subject:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Claim(name, value) => write!(f, "claim:{name}={value}"),
            Self::Certificate(name) => write!(f, "certificate:{name}"),
            Self::Token(name) => write!(f, "token:{name}"),
        }
    }
}

/// A text names no callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"authenticated\", or \"subject:\", \"group:\", \"certificate:\" or \"token:\" and a name, or \"claim:NAME=VALUE\""
)]
pub struct WhoError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn subject(claims: Value) -> Identity {
        let Value::Object(claims) = claims else {
            unreachable!("claims are an object");
        };
        Identity::Subject(Arc::new(Subject {
            name: "alice".into(),
            groups: texts_of(&claims, "groups"),
            claims,
        }))
    }

    #[test]
    fn each_kind_of_caller_is_named_in_its_own_way() {
        let alice = subject(json!({
            "groups": ["ops", 7], "team": "field", "admin": true,
            "realm_access": {"roles": ["fleet"]}, "https://acme.example/site": "north",
        }));
        let token = Identity::Token(StaticToken::new("alice".into(), "secret"));
        for (who, is_alice, is_token) in [
            ("authenticated", true, true),
            ("subject:alice", true, false),
            ("subject:bob", false, false),
            ("group:ops", true, false),
            ("group:7", true, false),
            ("group:field", false, false),
            ("claim:team=field", true, false),
            ("claim:team=", false, false),
            ("claim:admin=true", true, false),
            ("claim:realm_access.roles=fleet", true, false),
            ("claim:https://acme.example/site=north", true, false),
            ("claim:groups.ops=ops", false, false),
            ("token:alice", false, true),
            ("certificate:alice", false, false),
        ] {
            let parsed: Who = who.parse().unwrap();
            assert_eq!(parsed.is(&alice), is_alice, "{who}");
            assert_eq!(parsed.is(&token), is_token, "{who}");
            assert!(!parsed.is(&Identity::Anonymous), "{who}");
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for text in [
            "",
            "alice",
            "subject:",
            "user:alice",
            "claim:team",
            "claim:=x",
        ] {
            assert_eq!(text.parse::<Who>(), Err(WhoError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_are_written(
            text in "(subject|group|token|certificate):[ -~]{1,20}|claim:[a-z.:/]{1,9}=[ -~]{0,9}|authenticated"
        ) {
            let who: Who = text.parse().unwrap();
            prop_assert_eq!(who.to_string(), text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", name in "[a-z.]{0,10}") {
            let _ = text.parse::<Who>();
            let claims = json!({"a": {"b": 1}});
            let _ = texts_of(claims.as_object().unwrap(), &name);
        }
    }
}
