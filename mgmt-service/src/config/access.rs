//! The section `[access]`: whom to let in, and to what.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use daemon::settings::{Given, Section};
use jsonwebtoken::Algorithm;
use serde_json::Value;

use crate::{
    access::{
        AccessOptions, JwtOptions, KeyAddress, KeySource, StaticToken,
        jwt::{ALGORITHMS, JwtRules},
        keys::KeySet,
        policy::{Binding, Policy},
        right::{Right, Role},
        scope::{Pattern, Scope, Tag},
        who::Who,
    },
    http,
};

/// The shortest static token: what can be guessed is none.
const MIN_TOKEN_CHARS: usize = 16;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What the section says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Read {
    pub(super) options: AccessOptions,
    /// Static tokens are wanted although others than this machine's programs can reach the service.
    pub(super) allow_static_tokens: bool,
}

/// Reads the section; what is wrong with it is noted. `certificates` says that callers may have some.
pub(super) fn read(mut section: Section, certificates: bool) -> Read {
    let allow_static_tokens = section.flag("allow_static_tokens").or(false);
    let has_tokens = section.has("static_token");
    let mut tokens: Vec<StaticToken> = Vec::new();
    for section in section.sections("static_token") {
        tokens.extend(static_token(section, &tokens));
    }
    let has_jwt = section.has("jwt");
    let jwt = has_jwt.then(|| jwt(section.section("jwt"))).flatten();
    let known = Known {
        certificates,
        jwt: has_jwt,
        tokens: tokens.iter().map(|token| token.name.clone()).collect(),
    };
    let has_bindings = section.has("binding");
    let bindings = section.sections("binding").into_iter();
    let bindings = bindings.filter_map(|section| binding(section, &known));
    let bindings = bindings.collect();
    let has_credentials = certificates || has_jwt || has_tokens;
    match (has_credentials, has_bindings) {
        (true, false) => section.mistake(
            "binding",
            "",
            "at least one: without any, nobody may do anything",
        ),
        (false, true) => section.mistake(
            "binding",
            "",
            "credentials to tell callers by: tls.client_ca_file, access.jwt or access.static_token",
        ),
        (true, true) | (false, false) => {}
    }
    Read {
        options: AccessOptions {
            tokens,
            jwt,
            policy: Policy {
                bindings,
                open: !has_credentials,
            },
        },
        allow_static_tokens,
    }
}

fn static_token(mut section: Section, others: &[StaticToken]) -> Option<StaticToken> {
    let name = section.text("name").required("a name for it");
    if !section.has("file") {
        section.mistake("file", "", "a file with the token alone");
    }
    let text = section.file("file");
    let (name, text) = (name?, String::from_utf8(text?).unwrap_or_default());
    let text = text.trim();
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || text.len() < MIN_TOKEN_CHARS {
        let expected = "a file with one token of at least 16 visible ASCII characters";
        section.mistake("file", "", expected);
        return None;
    }
    let token = StaticToken::new(name, text);
    if others.iter().any(|other| other.name == token.name) {
        section.mistake("name", &token.name, "a name that no other token has");
        return None;
    }
    if others.iter().any(|other| other.is_same(&token)) {
        section.mistake("file", "", "another token than the others");
        return None;
    }
    Some(token)
}

fn jwt(mut section: Section) -> Option<JwtOptions> {
    let issuer = section
        .text("issuer")
        .required("who issues the tokens, as they say in `iss`");
    let audiences = some_texts(&mut section, "audience")
        .required("for whom the tokens are, as they say in `aud`: a text or a list of texts");
    let algorithms = algorithms(&mut section);
    let leeway = section
        .duration("leeway", Duration::ZERO, 5 * MINUTE)
        .or(MINUTE);
    let subject_claim = section.text("subject_claim").or("sub".to_owned());
    let groups_claim = section.text("groups_claim").or("groups".to_owned());
    let keys = keys(&mut section);
    Some(JwtOptions {
        rules: JwtRules {
            issuer: issuer?,
            audiences: audiences?,
            algorithms: algorithms?,
            leeway,
            subject_claim,
            groups_claim,
        },
        keys: keys?,
    })
}

/// A text, or a list of them.
fn texts(section: &mut Section, key: &str) -> Given<Vec<String>> {
    section.take(key, "a text or a list of texts", read_texts)
}

/// A text, or a list of at least one.
fn some_texts(section: &mut Section, key: &str) -> Given<Vec<String>> {
    section.take(
        key,
        "a text or a list of texts that is not empty",
        |value| read_texts(value).filter(|texts| !texts.is_empty()),
    )
}

fn read_texts(value: &toml::Value) -> Option<Vec<String>> {
    let text = |value: &toml::Value| {
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    match value.as_array() {
        None => Some(vec![text(value)?]),
        Some(items) => items.iter().map(text).collect(),
    }
}

fn algorithms(section: &mut Section) -> Option<Vec<Algorithm>> {
    let names = some_texts(section, "algorithms").or(vec!["RS256".to_owned()]);
    let known = |name: &String| {
        let mut all = ALGORITHMS.iter();
        all.find(|(known, _)| known == name)
            .map(|(_, algorithm)| *algorithm)
    };
    let algorithms: Option<Vec<_>> = names.iter().map(known).collect();
    if algorithms.is_none() {
        let all = ALGORITHMS.map(|(name, _)| name).join(", ");
        section.mistake(
            "algorithms",
            &format!("{names:?}"),
            &format!("some of {all}"),
        );
    }
    algorithms
}

fn keys(section: &mut Section) -> Option<KeySource> {
    let has_file = section.has("jwks_file");
    let url = section.text("jwks_url").optional();
    let file = section.file("jwks_file");
    let ca = section.file("ca_file");
    let refresh = section
        .duration("refresh_interval", SECOND / 10, 24 * HOUR)
        .or(10 * MINUTE);
    let refetch_pause = section
        .duration("refetch_pause", Duration::ZERO, HOUR)
        .or(30 * SECOND);
    match (url, has_file) {
        (Some(url), false) => {
            if let Err(expected) = http::check_url(&url) {
                section.mistake("jwks_url", &url, expected);
                return None;
            }
            Some(KeySource::At(KeyAddress {
                url,
                ca,
                refresh,
                refetch_pause,
            }))
        }
        (None, true) => {
            let text = file?;
            if let Err(error) = KeySet::parse(&text) {
                let expected = format!("a JSON Web Key Set or PEM public keys: {error}");
                section.mistake("jwks_file", "", &expected);
                return None;
            }
            Some(KeySource::Here(Arc::from(text)))
        }
        (Some(_), true) => {
            section.mistake("jwks_file", "", "no jwks_url beside it");
            None
        }
        (None, false) => {
            section.mistake("jwks_url", "", "this or jwks_file");
            None
        }
    }
}

/// What callers can be told by.
struct Known {
    certificates: bool,
    jwt: bool,
    tokens: BTreeSet<String>,
}

impl Known {
    /// Says why a caller cannot come. A binding that can never apply is a mistake.
    fn check(&self, who: &Who) -> Result<(), &'static str> {
        match who {
            Who::Subject(_) | Who::Group(_) | Who::Claim(..) if !self.jwt => {
                Err("access.jwt, without which nobody is told so")
            }
            Who::Certificate(_) if !self.certificates => {
                Err("tls.client_ca_file, without which nobody is told so")
            }
            Who::Token(name) if !self.tokens.contains(name) => {
                Err("the name of an access.static_token")
            }
            Who::Authenticated
            | Who::Subject(_)
            | Who::Group(_)
            | Who::Claim(..)
            | Who::Certificate(_)
            | Who::Token(_) => Ok(()),
        }
    }
}

fn binding(mut section: Section, known: &Known) -> Option<Binding> {
    let who = who(&mut section, known);
    let roles = "viewer, operator or admin";
    let role = section.parsed::<Role>("role", roles).required(roles);
    let extras = extras(&mut section, role);
    let patterns = texts(&mut section, "devices").or(Vec::new());
    let mut devices = Vec::new();
    for text in patterns {
        match text.parse::<Pattern>() {
            Ok(pattern) => devices.push(pattern),
            Err(error) => section.mistake("devices", &text, &error.to_string()),
        }
    }
    let tags = section.take_or_why("tags", tags).optional();
    Some(Binding {
        who: who?,
        role: role?,
        extras,
        scope: Scope {
            devices,
            tags: tags.unwrap_or_default(),
        },
    })
}

fn who(section: &mut Section, known: &Known) -> Option<Vec<Who>> {
    let texts = some_texts(section, "who").required("a caller, or a list of them")?;
    let mut all = Vec::new();
    for text in texts {
        match text.parse::<Who>() {
            Ok(who) => match known.check(&who) {
                Ok(()) => all.push(who),
                Err(expected) => section.mistake("who", &text, expected),
            },
            Err(error) => section.mistake("who", &text, &error.to_string()),
        }
    }
    Some(all)
}

fn extras(section: &mut Section, role: Option<Role>) -> BTreeSet<Right> {
    let names = texts(section, "rights").or(Vec::new());
    let allowed = role.map_or(&Right::ALL[..], Role::extras);
    let mut extras = BTreeSet::new();
    for name in names {
        let right = name.parse::<Right>().ok();
        match right.filter(|right| allowed.contains(right)) {
            Some(right) => {
                extras.insert(right);
            }
            None => {
                let names: Vec<_> = allowed.iter().map(|right| right.name()).collect();
                let expected = if names.is_empty() {
                    "nothing, for an admin has every right".to_owned()
                } else {
                    format!("what this role may have besides: {}", names.join(", "))
                };
                section.mistake("rights", &name, &expected);
            }
        }
    }
    extras
}

fn tags(value: &toml::Value) -> Result<Vec<Tag>, String> {
    let expected = "tags and their values, for example { site = \"north\", \"floor.number\" = 3 }";
    let table = value.as_table().ok_or(expected)?;
    let mut tags = Vec::new();
    for (path, value) in table {
        let value = match value {
            toml::Value::String(text) => Value::from(text.as_str()),
            toml::Value::Integer(number) => Value::from(*number),
            toml::Value::Float(number) => Value::from(*number),
            toml::Value::Boolean(flag) => Value::from(*flag),
            toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
                return Err(expected.to_owned());
            }
        };
        tags.push(Tag {
            path: path.split('.').map(str::to_owned).collect(),
            value,
        });
    }
    Ok(tags)
}
