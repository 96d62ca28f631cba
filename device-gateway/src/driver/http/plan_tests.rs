//! What answers mean, as values.

use iot_hub::reboot::Grade;
use proptest::prelude::*;

use super::*;

fn pointer(text: &str) -> Find {
    Find::Pointer(text.to_owned())
}

fn pattern(text: &str) -> Find {
    Find::Pattern(Regex::new(text).unwrap())
}

#[test]
fn a_value_is_found_by_a_pointer_or_a_pattern() {
    #[track_caller]
    fn check(find: &Find, body: &str, expected: Option<&str>) {
        let found = find.text(&Body::new(body.as_bytes()));
        assert_eq!(found.as_deref(), expected, "{find:?} in {body}");
    }
    let id = pointer("/sys/0/id");
    check(&id, r#"{"sys":[{"id":" b1 "}]}"#, Some("b1"));
    check(&id, r#"{"sys":[{"id":7}]}"#, Some("7"));
    check(&id, r#"{"sys":[{"id":true}]}"#, Some("true"));
    for nothing in [
        r#"{"sys":[{"id":null}]}"#,
        r#"{"sys":[{"id":{}}]}"#,
        r#"{"sys":[{"id":""}]}"#,
        r#"{"sys":[]}"#,
        "sys",
        "",
    ] {
        check(&id, nothing, None);
    }
    check(&pattern("up (\\d+) s"), "it is up 12 s", Some("12"));
    check(&pattern("b\\d"), "boot b7, b8", Some("b7"));
    check(&pattern("up (\\d+)?"), "up ", Some("up"));
    check(&pattern("up"), "down", None);
}

#[test]
fn an_uptime_has_a_unit_and_makes_sense_or_is_none() {
    let read = |unit, text: &str| {
        let uptime = Uptime {
            find: pointer("/u"),
            unit,
            lags: false,
        };
        uptime.read(&Body::new(format!(r#"{{"u":{text}}}"#).as_bytes()))
    };
    let second = Duration::from_secs(1);
    assert_eq!(read(second, "90"), Some(Duration::from_secs(90)));
    assert_eq!(read(second, r#""1.5""#), Some(Duration::from_millis(1_500)));
    let milli = Duration::from_millis(1);
    assert_eq!(read(milli, "1500"), Some(Duration::from_millis(1_500)));
    for nonsense in ["-1", "1e300", r#""NaN""#, r#""inf""#, r#""NA""#, "null"] {
        assert_eq!(read(second, nonsense), None, "{nonsense}");
    }
}

#[test]
fn the_best_grade_is_what_the_answers_can_carry() {
    #[track_caller]
    fn check(change: impl Fn(&mut Look), health: bool, expected: Grade) {
        let mut look = Look::presence(Ask::get("/"));
        change(&mut look);
        let health = health.then(|| Check {
            ask: Ask::get("/health"),
            holds: None,
            unchecked: &[],
        });
        let plan = Plan {
            looks: vec![Look::presence(Ask::get("/")), look],
            trigger: Ask::post("/", None),
            forced: None,
            health,
        };
        assert_eq!(plan.proofs().best_grade(), expected);
    }
    check(|_| {}, true, Grade::Returned);
    check(
        |look| {
            look.uptime = Some(Uptime {
                find: pointer("/u"),
                unit: Duration::from_secs(1),
                lags: false,
            });
        },
        true,
        Grade::UptimeReset,
    );
    let count = |look: &mut Look| look.boot_count = Some(pointer("/n"));
    check(count, true, Grade::BootChanged);
    let cause = |look: &mut Look| {
        look.boot_id = Some(pointer("/b"));
        look.cause = Some(pointer("/c"));
    };
    check(cause, false, Grade::Caused);
    check(cause, true, Grade::Healthy);
    // A cause without an identity proves nothing.
    check(
        |look| look.cause = Some(pointer("/c")),
        true,
        Grade::Returned,
    );
}

proptest! {
    #[test]
    fn whatever_is_answered_is_read_or_not(body: Vec<u8>, value in r#"[0-9.eE+-]{0,12}|"[^"\\]{0,9}""#) {
        let look = Look {
            boot_id: Some(pattern("(.)$")),
            boot_count: Some(pointer("/v")),
            uptime: Some(Uptime { find: pointer("/v"), unit: Duration::from_secs(1), lags: false }),
            ..Look::presence(Ask::get("/"))
        };
        look.read(&Body::new(&body));
        look.read(&Body::new(format!(r#"{{"v":{value}}}"#).as_bytes()));
    }
}
