//! The view as a value: what a device said in, the picture out.

use proptest::prelude::*;

use super::*;
use crate::driver::tests::ID;

const COUNTED_AFTER: Duration = Duration::from_secs(12);

fn connected() -> View {
    let mut view = View::new("plug");
    view.connect();
    view
}

#[track_caller]
fn says(view: &mut View, topic: &str, payload: &str) {
    let now = Instant::now();
    view.message_elsewhere(topic, payload.as_bytes(), now)
        .unwrap();
}

fn reading(view: &View) -> Option<Reading> {
    view.newer_than(0, Instant::now(), COUNTED_AFTER)
}

#[test]
fn a_status_shows_the_boot_once_it_is_counted() {
    #[track_caller]
    fn check(status: &str, boot_count: Option<u64>, uptime: Option<u64>) {
        let mut view = connected();
        let payload = format!(r#"{{"StatusPRM":{{"Baudrate":115200,{status}}}}}"#);
        says(&mut view, "stat/plug/STATUS1", &payload);
        let reading = reading(&view).unwrap();
        assert_eq!(reading.boot_count, boot_count, "{status}");
        let seconds = reading.uptime.map(|uptime| uptime.as_secs());
        assert_eq!(seconds, uptime, "{status}");
    }
    check(r#""Uptime":"0T00:01:24","BootCount":7"#, Some(7), Some(84));
    check(
        r#""Uptime":"2T01:00:00","BootCount":7"#,
        Some(7),
        Some(176_400),
    );
    check(r#""Uptime":"0T00:00:12","BootCount":7"#, Some(7), Some(12));
    check(r#""Uptime":"0T00:00:11","BootCount":7"#, None, Some(11));
    // Nobody knows whether that is counted.
    check(r#""Uptime":"1 02:33:26","BootCount":7"#, None, None);
    check(r#""BootCount":7"#, None, None);
    check(r#""Uptime":"0T00:01:24""#, None, Some(84));
}

#[test]
fn only_what_is_said_of_this_device_on_this_connection_counts() {
    const STATUS: &str =
        r#"{"StatusPRM":{"Uptime":"0T00:01:24","BootCount":7,"RestartReason":"Power On"}}"#;
    let mut view = connected();
    for other in [
        "stat/plug2/STATUS1",
        "stat/plug/x/STATUS1",
        "stat/plug",
        "tele/plug/STATUS1",
        "STATUS1",
    ] {
        says(&mut view, other, STATUS);
        assert_eq!(reading(&view), None, "{other}");
    }
    says(&mut view, "stat/plug/STATUS1", STATUS);
    assert_eq!(
        reading(&view).unwrap().reset_reason.as_deref(),
        Some("Power On")
    );
    assert_eq!(
        view.newer_than(1, Instant::now(), COUNTED_AFTER),
        None,
        "it is not asked for"
    );
    says(&mut view, "tele/plug/LWT", "Offline");
    assert!(!view.contact().is_present() && reading(&view).is_none());
    says(&mut view, "tele/plug/LWT", "Online");
    assert!(view.contact().is_present() && reading(&view).is_none());
    view.connect();
    assert_eq!(reading(&view), None);
}

#[test]
fn a_restart_is_acknowledged_by_its_own_words_alone() {
    let mut view = connected();
    let result = |view: &mut View, payload: &str| says(view, "stat/plug/RESULT", payload);
    result(&mut view, r#"{"Restart":"Restarting"}"#);
    assert_eq!(view.contact().answer(), None, "nobody asked");
    view.contact().await_answer(ID);
    result(&mut view, r#"{"POWER":"ON"}"#);
    assert_eq!(view.contact().answer(), None);
    result(&mut view, r#"{"Restart":"1 to restart"}"#);
    let refused = Answer::Refused("1 to restart".to_owned());
    assert_eq!(view.contact().answer(), Some(&refused));
    view.contact().await_answer(ID);
    result(&mut view, r#"{"Restart":"Restarting"}"#);
    assert_eq!(view.contact().answer(), Some(&Answer::Accepted));
}

#[test]
fn a_crash_is_a_reset_reason_too() {
    let mut view = connected();
    let crash = r#"{"StatusPRM":{"Uptime":"0T00:01:24","RestartReason":{"Exception":28}}}"#;
    says(&mut view, "stat/plug/STATUS1", crash);
    let reason = reading(&view).unwrap().reset_reason;
    assert_eq!(reason.as_deref(), Some(r#"{"Exception":28}"#));
}

proptest! {
    #[test]
    fn an_uptime_is_read_as_it_is_written(days in 0..50_000_u64, rest in 0..86_400_u64) {
        let text = format!("{days}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
        prop_assert_eq!(uptime(&text), Some(Duration::from_secs(days * 86_400 + rest)));
    }

    #[test]
    fn no_text_whatever_is_the_end_of_us(text in "\\PC{0,40}") {
        let _ = uptime(&text);
    }

    #[test]
    fn no_message_is_ever_the_end_of_us(
        messages in prop::collection::vec(
            (
                prop::sample::select(vec!["stat/t/STATUS1", "stat/t/RESULT", "tele/t/LWT", "x"]),
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..64),
                    r#"\{"(StatusPRM|Restart)":(\{"(BootCount|Uptime|RestartReason)":("[0-9T:]{0,12}"|-?[0-9]{1,25}|null)\}|"x"|7)\}"#
                        .prop_map(String::into_bytes),
                ],
            ),
            0..20,
        ),
    ) {
        let joined: Vec<_> = messages
            .iter()
            .map(|(topic, payload)| [topic.as_bytes(), b"\n", payload].concat())
            .collect();
        fuzz(&joined.join(&0));
    }
}
