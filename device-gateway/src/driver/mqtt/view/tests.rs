//! The view as a value: what a device said in, the picture out.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::driver::tests::ID;

struct Device {
    view: View,
    now: Instant,
}

impl Device {
    fn connected() -> Self {
        let mut view = View::default();
        view.connect();
        Self {
            view,
            now: Instant::now(),
        }
    }

    fn born(boot: &str) -> Self {
        let mut device = Self::connected();
        device.birth(boot, None);
        device
    }

    #[track_caller]
    fn says(&mut self, name: &str, payload: &str) {
        self.view
            .message(name, payload.as_bytes(), self.now)
            .unwrap();
    }

    fn birth(&mut self, boot: &str, cause: Option<RequestId>) {
        let cause = cause.map_or(String::new(), |id| format!(r#","causeId":"{id}""#));
        self.says("birth", &format!(r#"{{"v":1,"bootId":"{boot}"{cause}}}"#));
    }

    fn boot(&self) -> Option<&str> {
        self.view.boot().map(|boot| boot.id.as_str())
    }
}

#[test]
fn a_device_that_never_came_is_absent_and_unknown() {
    let view = View::default();
    assert!(!view.contact.is_present());
    assert!(!view.contact.was_absent());
    assert_eq!(view.boot(), None);
    assert_eq!(view.health(), Health::Unknown);
}

#[test]
fn a_new_boot_after_the_command_is_seen_with_its_cause() {
    let mut device = Device::born("b1");
    device.view.contact.await_answer(ID);
    device.says("ack", &format!(r#"{{"id":"{ID}","accepted":true}}"#));
    assert_eq!(device.view.contact.answer(), Some(&Answer::Accepted));
    device.says("status", "offline");
    device.view.disconnect();
    assert!(!device.view.contact.is_present());
    assert!(device.view.contact.was_absent());
    assert_eq!(
        device.view.contact.answer(),
        Some(&Answer::Accepted),
        "the answer stays"
    );

    device.view.connect();
    device.birth("b2", Some(ID));
    assert!(device.view.contact.is_present());
    assert_eq!(device.boot(), Some("b2"));
    assert_eq!(device.view.boot().unwrap().cause, Some(ID));
}

#[test]
fn online_without_a_birth_shows_no_boot() {
    let mut device = Device::born("b1");
    device.says("health", r#"{"healthy":true}"#);
    device.view.disconnect();
    device.view.connect();
    device.says("status", "online");
    assert!(device.view.contact.is_present());
    assert_eq!(device.boot(), None);
    assert_eq!(device.view.health(), Health::Unknown);

    // Nor does a connection inherit from one whose end was not told.
    let mut device = Device::born("b1");
    device.view.connect();
    assert_eq!(device.boot(), None);
}

#[test]
fn health_counts_after_the_birth_only() {
    let mut device = Device::connected();
    device.says("health", r#"{"healthy":true}"#);
    assert_eq!(device.view.health(), Health::Unknown);
    device.birth("b1", None);
    assert_eq!(device.view.health(), Health::Unknown);
    device.says("health", r#"{"healthy":false,"message":"hot\n"}"#);
    assert_eq!(device.view.health(), Health::Unhealthy("hot".into()));
    device.says("health", r#"{"healthy":true}"#);
    assert_eq!(device.view.health(), Health::Healthy);
    device.birth("b1", None);
    assert_eq!(device.view.health(), Health::Unknown);
}

#[test]
fn only_the_awaited_command_can_be_answered() {
    let mut device = Device::born("b1");
    let ack = |id: &str| format!(r#"{{"id":"{id}","accepted":false,"message":"busy"}}"#);
    device.says("ack", &ack(&ID.to_string()));
    assert_eq!(device.view.contact.answer(), None, "nobody asked");
    device.view.contact.await_answer(ID);
    device.says("ack", &ack("no uuid"));
    device.says("ack", &ack(&RequestId(Uuid::from_u128(8)).to_string()));
    assert_eq!(device.view.contact.answer(), None);
    device.says("ack", &ack(&ID.to_string()));
    assert_eq!(
        device.view.contact.answer(),
        Some(&Answer::Refused("busy".into()))
    );
}

#[test]
fn a_device_that_leaves_without_an_answer_gave_none() {
    let mut device = Device::born("b1");
    device.view.contact.await_answer(ID);
    device.view.disconnect();
    assert_eq!(device.view.contact.answer(), Some(&Answer::Gone));
}

#[test]
fn uptime_goes_on_from_what_was_said() {
    #[track_caller]
    fn check(said: &str, expected: Option<u64>) {
        let mut device = Device::connected();
        device.says("birth", &format!(r#"{{"bootId":"b1","uptimeSec":{said}}}"#));
        let later = device.now + Duration::from_secs(10);
        let uptime = device.view.boot().unwrap().uptime(later);
        assert_eq!(uptime, expected.map(Duration::from_secs), "{said}");
    }
    check("2.0", Some(12));
    check("0", Some(10));
    check("-1", None);
    check("1e300", None);
    check("null", None);
}

#[test]
fn a_birth_without_an_identity_shows_no_boot() {
    for bad in [String::new(), "x".repeat(129), "a\\u0000b".into()] {
        let mut device = Device::born("b1");
        let payload = format!(r#"{{"bootId":"{bad}"}}"#);
        let now = device.now;
        let read = device.view.message("birth", payload.as_bytes(), now);
        assert!(read.is_err(), "{bad}");
        assert_eq!(device.boot(), None, "{bad}");
    }
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let mut device = Device::born("b1");
    for (name, payload) in [
        ("birth", "{}"),
        ("birth", ""),
        ("birth", r#"{"bootId":7}"#),
        ("health", r#"{"healthy":"yes"}"#),
        ("ack", "[]"),
    ] {
        let read = device
            .view
            .message(name, payload.as_bytes(), Instant::now());
        assert!(read.is_err(), "{name} {payload}");
    }
    device.says("telemetry/x", "anything");
    assert_eq!(device.boot(), Some("b1"));
    assert!(device.view.contact.is_present());
}

proptest! {
    #[test]
    fn no_message_is_ever_the_end_of_us(
        messages in prop::collection::vec(
            (
                prop::sample::select(vec!["birth", "status", "health", "ack", "other"]),
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..64),
                    r#"\{"(bootId|healthy|id|uptimeSec)":("[a-z]{0,3}"|-?[0-9]{1,20}|true|null)\}"#
                        .prop_map(String::into_bytes),
                ],
            ),
            0..20,
        ),
    ) {
        let mut view = View::default();
        let now = Instant::now();
        view.connect();
        view.contact.await_answer(ID);
        for (name, payload) in &messages {
            let _ = view.message(name, payload, now);
            prop_assert_ne!(view.contact.answer(), Some(&Answer::Accepted));
        }
        view.disconnect();
        prop_assert!(!view.contact.is_present());
        prop_assert!(view.boot().is_none());
    }
}
