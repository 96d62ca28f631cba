//! Known answers for tokens, from the SDKs that made them, and what must be refused.

use proptest::prelude::*;

use super::*;

const SE: i64 = 1_893_456_000;

/// The bytes 0 to 31.
fn key() -> SharedKey {
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
        .parse()
        .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[track_caller]
fn check_vector(sr: &str, signature: &str, resource: &str) {
    let token: SasToken = format!(
        "SharedAccessSignature sr={sr}&sig={}&se={SE}",
        percent::encode(signature)
    )
    .parse()
    .unwrap();
    assert_eq!(token.verify(&[&key()], at(SE)), Ok(()));
    assert_eq!(token.resource(), resource);
}

#[track_caller]
fn check_signing(resource: &str, sr: &str, signature: &str) {
    let token = SasToken::sign(resource, &key(), None, at(SE));
    let expected = format!(
        "SharedAccessSignature sr={sr}&sig={}&se={SE}",
        percent::encode(signature)
    );
    assert_eq!(token.to_string(), expected);
}

#[test]
fn verifies_every_known_answer() {
    let device = "myhub.azure-devices.net/devices/dev-1";
    check_vector(
        "myhub.azure-devices.net",
        "0erPtW+UZwK56IPujRFtwej1EwQMsCuQYucBqMXo/LU=",
        "myhub.azure-devices.net",
    );
    check_vector(
        "myhub.azure-devices.net%2Fdevices%2Fdev-1",
        "xGx18r8CP/Gty2onrPdoP/Xp6ZZ6Kkd1JKx602k4MeM=",
        device,
    );
    check_vector(
        "myhub.azure-devices.net%2fdevices%2fdev-1",
        "bboOy8+fTuo7oThJ71m578jpYJse90r7LeLni792Wig=",
        device,
    );
    check_vector(
        "myhub.azure-devices.net%2Fdevices%2Fdev-1%2Fmodules%2Fm1",
        "16R4fNC4rU+KUdpdZrSS0zWOzABlDhhrzobigRri2Xo=",
        "myhub.azure-devices.net/devices/dev-1/modules/m1",
    );
    check_vector(
        "myhub.azure-devices.net%2Fdevices%2Fdev%211",
        "aW7tAPb58f4tUziLyq4/BFDuW3fns08ggU71kbW0OIo=",
        "myhub.azure-devices.net/devices/dev!1",
    );
    check_vector(
        "0ne00001234%2Fregistrations%2Fdev-1",
        "fwzmWvHlgz/XobScGOh/rR4UlwOhGrLs1/SmrLT2yxw=",
        "0ne00001234/registrations/dev-1",
    );
}

#[test]
fn signs_every_known_answer() {
    check_signing(
        "myhub.azure-devices.net",
        "myhub.azure-devices.net",
        "0erPtW+UZwK56IPujRFtwej1EwQMsCuQYucBqMXo/LU=",
    );
    check_signing(
        "myhub.azure-devices.net/devices/dev-1",
        "myhub.azure-devices.net%2Fdevices%2Fdev-1",
        "xGx18r8CP/Gty2onrPdoP/Xp6ZZ6Kkd1JKx602k4MeM=",
    );
    check_signing(
        "myhub.azure-devices.net/devices/dev-1/modules/m1",
        "myhub.azure-devices.net%2Fdevices%2Fdev-1%2Fmodules%2Fm1",
        "16R4fNC4rU+KUdpdZrSS0zWOzABlDhhrzobigRri2Xo=",
    );
    check_signing(
        "myhub.azure-devices.net/devices/dev!1",
        "myhub.azure-devices.net%2Fdevices%2Fdev%211",
        "aW7tAPb58f4tUziLyq4/BFDuW3fns08ggU71kbW0OIo=",
    );
}

#[test]
fn encodes_all_but_unreserved_characters_in_upper_case() {
    let token = SasToken::sign("h/a-b_c.d~e!'()*:ü", &key(), None, at(SE)).to_string();
    assert!(
        token.starts_with("SharedAccessSignature sr=h%2Fa-b_c.d~e%21%27%28%29%2A%3A%C3%BC&sig="),
        "{token}"
    );
}

#[test]
fn derives_a_group_enrolment_key() {
    assert_eq!(
        key().derive("dev-1").to_base64(),
        "uPrGCZtSCJ9Nt+iY0r7te47dbsu7OCYEU9tz7kQloUs="
    );
}

#[test]
fn accepts_a_service_token_as_each_sdk_writes_it() {
    for text in [
        "SharedAccessSignature sr=myhub.azure-devices.net&sig=0erPtW%2BUZwK56IPujRFtwej1EwQMsCuQYucBqMXo%2FLU%3D&skn=service&se=1893456000",
        "SharedAccessSignature sr=myhub.azure-devices.net&sig=0erPtW%2BUZwK56IPujRFtwej1EwQMsCuQYucBqMXo/LU%3D&se=1893456000&skn=service",
        "SharedAccessSignature  SIG=0erPtW+UZwK56IPujRFtwej1EwQMsCuQYucBqMXo/LU=&Se=1893456000&x=1&SKN=service&sR=myhub.azure-devices.net",
    ] {
        let token: SasToken = text.parse().unwrap();
        assert_eq!(token.verify(&[&key()], at(SE)), Ok(()), "{text}");
        assert_eq!(token.policy(), Some("service"));
        assert_eq!(token.expiry(), at(SE));
    }
}

#[test]
fn either_key_will_do_and_no_other() {
    let other: SharedKey = "HR4fAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw="
        .parse()
        .unwrap();
    let token = SasToken::sign("h/devices/d", &key(), None, at(SE));
    assert_eq!(token.verify(&[&other, &key()], at(SE)), Ok(()));
    assert_eq!(
        token.verify(&[&other], at(SE)),
        Err(SasError::WrongSignature)
    );
    assert_eq!(token.verify(&[], at(SE)), Err(SasError::WrongSignature));
}

#[test]
fn ends_after_the_allowed_skew() {
    let token = SasToken::sign("h", &key(), None, at(SE));
    assert_eq!(token.verify(&[&key()], at(SE + 299)), Ok(()));
    assert_eq!(
        token.verify(&[&key()], at(SE + 300)),
        Err(SasError::Expired { expiry: at(SE) })
    );
}

#[test]
fn a_changed_token_is_refused() {
    let token = SasToken::sign("h/devices/d1", &key(), None, at(SE)).to_string();
    for (from, to) in [("d1", "d2"), ("1893456000", "1893456001"), ("%2F", "%2f")] {
        let changed: SasToken = token.replace(from, to).parse().unwrap();
        assert_eq!(
            changed.verify(&[&key()], at(0)),
            Err(SasError::WrongSignature),
            "{from} → {to}"
        );
    }
}

#[test]
fn covers_whole_segments() {
    #[track_caller]
    fn check(resource: &str, scope: &str, expected: bool) {
        let token = SasToken::sign(resource, &key(), None, at(SE));
        assert_eq!(token.covers(scope), expected, "{resource} covers {scope}");
    }
    check("hub.net", "hub.net", true);
    check("HUB.net", "hub.NET/devices/d1", true);
    check("hub.net/devices", "hub.net/devices/d1", true);
    check("hub.net/devices/d1", "hub.net/devices/d1", true);
    check("hub.net/devices/d1/", "hub.net/devices/d1", true);
    check("hub.net/devices/d1", "hub.net/devices/d1/modules/m", true);
    check("hub.net/devices/d1", "hub.net/devices/d10", false);
    check("hub.net/devices/d1", "hub.net/devices/D1", false);
    check("hub.net/devices/d1", "hub.net/devices", false);
    check("hub.ne", "hub.net/devices/d1", false);
    check("", "", false);
    check("/", "hub.net", false);
}

#[test]
fn refuses_what_is_no_token() {
    #[track_caller]
    fn check(text: &str, expected: SasParseError) {
        assert_eq!(text.parse::<SasToken>(), Err(expected), "{text}");
    }
    check("", SasParseError::Scheme);
    check("SharedAccessSignature", SasParseError::Scheme);
    check(
        "sharedaccesssignature sr=h&sig=AAAA&se=1",
        SasParseError::Scheme,
    );
    check(
        "SharedAccessSignature sr=h&sig=AAAA&se=1 x",
        SasParseError::Scheme,
    );
    check(
        "SharedAccessSignature sig=AAAA&se=1",
        SasParseError::Missing("sr"),
    );
    check(
        "SharedAccessSignature sr=h&se=1",
        SasParseError::Missing("sig"),
    );
    check(
        "SharedAccessSignature sr=h&sig=AAAA",
        SasParseError::Missing("se"),
    );
    check(
        "SharedAccessSignature sr=h&sig=AAAA&se=1&SE=2",
        SasParseError::Duplicate("se"),
    );
    check(
        "SharedAccessSignature sr=%FF&sig=AAAA&se=1",
        SasParseError::Malformed("sr"),
    );
    check(
        "SharedAccessSignature sr=h&sig=A&se=1",
        SasParseError::Malformed("sig"),
    );
    check(
        "SharedAccessSignature sr=h&sig=AAAA&se=-1",
        SasParseError::Malformed("se"),
    );
    check(
        "SharedAccessSignature sr=h&sig=AAAA&se=",
        SasParseError::Malformed("se"),
    );
}

#[test]
fn an_expiry_beyond_the_calendar_is_kept_in_text() {
    let text = "SharedAccessSignature sr=h&sig=AAAA&se=99999999999999999999";
    let token: SasToken = text.parse().unwrap();
    assert_eq!(token.expiry(), Timestamp::MAX);
    assert_eq!(token.to_string(), text);
}

#[test]
fn keys_have_16_to_64_bytes() {
    for (bytes, good) in [(15, false), (16, true), (64, true), (65, false)] {
        let parsed = STANDARD.encode(vec![7; bytes]).parse::<SharedKey>();
        assert_eq!(parsed.is_ok(), good, "{bytes}");
    }
    assert_eq!("not base64".parse::<SharedKey>(), Err(KeyError::Base64));
}

#[test]
fn debug_shows_no_secret() {
    let token = SasToken::sign("h", &key(), None, at(SE));
    let shown = format!("{:?} {token:?}", key());
    assert!(!shown.contains(&key().to_base64()));
    assert!(!shown.contains(&STANDARD.encode(&token.signature)));
}

proptest! {
    #[test]
    fn parsing_inverts_printing(resource in ".{0,40}", policy in proptest::option::of(".{1,20}"), se in 0..4_000_000_000_i64) {
        let token = SasToken::sign(&resource, &key(), policy.as_deref(), at(se));
        let again: SasToken = token.to_string().parse().unwrap();
        prop_assert_eq!(again.verify(&[&key()], at(se)), Ok(()));
        prop_assert_eq!(again, token);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}", fields in "(s[re]|sig|skn|=|&|%|[0-9A-F]|\\PC){0,40}") {
        let _ = text.parse::<SasToken>();
        if let Ok(token) = format!("SharedAccessSignature {fields}").parse::<SasToken>() {
            let _ = token.verify(&[&key()], at(0));
            let _ = token.covers(&text);
        }
        let _ = text.parse::<SharedKey>();
    }
}
