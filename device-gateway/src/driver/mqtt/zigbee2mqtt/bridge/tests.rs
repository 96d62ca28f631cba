//! The view as a value: what a bridge said in, the picture out.

use proptest::prelude::*;

use super::*;
use crate::driver::tests::ID;

fn connected() -> View {
    let mut view = View::new("zigbee2mqtt");
    view.connect();
    view
}

#[track_caller]
fn says(view: &mut View, topic: &str, payload: &str) {
    view.message_elsewhere(topic, payload.as_bytes(), Instant::now())
        .unwrap();
}

#[test]
fn it_is_there_once_it_says_so_on_this_connection() {
    const STATE: &str = "zigbee2mqtt/bridge/state";
    for (online, offline) in [
        (r#"{"state":"online"}"#, r#"{"state":"offline"}"#),
        ("online", "offline"),
    ] {
        let mut view = connected();
        assert!(!view.is_online(), "it is only connected");
        says(&mut view, "zigbee2mqtt/lamp/bridge/state", online);
        assert!(!view.is_online(), "that is a device behind it");
        says(&mut view, STATE, online);
        assert!(view.is_online() && !view.contact().was_absent());
        says(&mut view, STATE, offline);
        assert!(!view.is_online() && view.contact().was_absent());
        says(&mut view, STATE, online);
        view.connect();
        assert!(!view.is_online(), "that was another connection");
    }
}

#[test]
fn only_the_command_that_was_given_is_answered() {
    let mut view = connected();
    let response = |view: &mut View, status: &str, transaction: &str| {
        let payload = format!(
            r#"{{"data":{{}},"status":"{status}","error":"busy","transaction":"{transaction}"}}"#
        );
        says(view, "zigbee2mqtt/bridge/response/restart", &payload);
    };
    response(&mut view, "ok", &ID.to_string());
    assert_eq!(view.contact().answer(), None, "nobody asked");
    view.contact().await_answer(ID);
    response(&mut view, "ok", "somebody else's");
    says(
        &mut view,
        "zigbee2mqtt/bridge/response/restart",
        r#"{"status":"ok","data":{}}"#,
    );
    assert_eq!(view.contact().answer(), None);
    response(&mut view, "error", &ID.to_string());
    let refused = Answer::Refused("busy".to_owned());
    assert_eq!(view.contact().answer(), Some(&refused));
    view.contact().await_answer(ID);
    response(&mut view, "ok", &ID.to_string());
    assert_eq!(view.contact().answer(), Some(&Answer::Accepted));
}

#[test]
fn its_health_is_what_it_answers() {
    #[track_caller]
    fn check(payload: &str, expected: Health) {
        let mut view = connected();
        says(
            &mut view,
            "zigbee2mqtt/bridge/response/health_check",
            payload,
        );
        assert_eq!(view.newer_than(0), Some(expected), "{payload}");
        assert_eq!(view.newer_than(1), None, "it is not asked for");
    }
    let ill = Health::Unhealthy("it says that it is not healthy".to_owned());
    check(
        r#"{"data":{"healthy":true},"status":"ok"}"#,
        Health::Healthy,
    );
    check(r#"{"data":{"healthy":false},"status":"ok"}"#, ill.clone());
    check(r#"{"data":{},"status":"ok"}"#, ill);
    let error = Health::Unhealthy("no coordinator".to_owned());
    check(
        r#"{"data":{"healthy":true},"status":"error","error":"no coordinator"}"#,
        error,
    );
}

proptest! {
    #[test]
    fn no_message_is_ever_the_end_of_us(
        messages in prop::collection::vec(
            (
                prop::sample::select(vec!["state", "response/restart", "response/health_check", "info"]),
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..64),
                    r#"\{"(status|state|data|transaction)":("(ok|online|x)"|\{"healthy":(true|7)\}|null)\}"#
                        .prop_map(String::into_bytes),
                ],
            ),
            0..20,
        ),
    ) {
        let joined: Vec<_> = messages
            .iter()
            .map(|(topic, payload)| [b"z/bridge/", topic.as_bytes(), b"\n", payload].concat())
            .collect();
        fuzz(&joined.join(&0));
    }
}
