//! Bodies and topics as the SDKs and the service write them, and the inverse of printing.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{identity::tests::device_id, time, topic::RequestId};

fn rid(text: &str) -> RequestId {
    text.parse().unwrap()
}

#[test]
fn reads_what_sdks_publish() {
    #[track_caller]
    fn check(topic: &str, expected: RegistrationTopic) {
        assert_eq!(topic.parse(), Ok(expected));
    }
    let register = RegistrationTopic::Register { rid: rid("7f-a") };
    check(
        "$dps/registrations/PUT/iotdps-register/?$rid=7f-a",
        register,
    );
    let status = RegistrationTopic::Status {
        rid: rid("1"),
        operation: "4.d0a6 x".to_owned(),
    };
    for operation in ["4.d0a6 x", "4.d0a6%20x"] {
        let topic = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=";
        check(&format!("{topic}{operation}"), status.clone());
    }
}

#[test]
fn refuses_what_nobody_publishes() {
    use RegistrationTopicError::{Operation, RequestId, RetryAfter, Status, Unknown};
    let of = |topic: &str| topic.parse::<RegistrationTopic>().unwrap_err();
    let get = "$dps/registrations/GET/iotdps-get-operationstatus/";
    assert_eq!(of("$dps/registrations/PUT/iotdps-register/"), Unknown);
    assert_eq!(of("$iothub/twin/GET/?$rid=1"), Unknown);
    assert!(matches!(
        of("$dps/registrations/PUT/iotdps-register/?rid=1"),
        RequestId(_)
    ));
    for options in ["?$rid=1", "?$rid=1&operationId=", "?$rid=1&operationId=%ff"] {
        assert_eq!(of(&format!("{get}{options}")), Operation, "{options}");
    }
    let answer = |topic: &str| topic.parse::<AnswerTopic>().unwrap_err();
    assert_eq!(answer("$dps/registrations/res/ok/?$rid=1"), Status);
    assert_eq!(answer("$dps/registrations/res/200?$rid=1"), Unknown);
    assert_eq!(
        answer("$dps/registrations/res/202/?$rid=1&retry-after=soon"),
        RetryAfter
    );
}

#[test]
fn answers_have_the_shape_that_pythons_sdk_cuts_apart() {
    let answer = AnswerTopic {
        status: 202,
        rid: rid("1"),
        retry_after: Some(Duration::from_secs(3)),
    };
    assert_eq!(
        answer.to_string(),
        "$dps/registrations/res/202/?$rid=1&retry-after=3"
    );
}

#[test]
fn user_names_are_those_of_both_sdks() {
    let user = "0ne00001234/registrations/dev-1/api-version=2019-03-31&ClientVersion=azure%2F1";
    let read: RegistrationUser = user.parse().unwrap();
    assert_eq!(read.scope, "0ne00001234".parse().unwrap());
    assert_eq!(read.registration.as_str(), "dev-1");
    assert_eq!(read.query[1].1, "azure/1");
    assert_eq!(read.to_string(), user);
    let ours = RegistrationUser::new(read.scope, read.registration, "2019-03-31");
    assert_eq!(
        ours.to_string(),
        "0ne00001234/registrations/dev-1/api-version=2019-03-31"
    );
    for wrong in [
        "",
        "0ne/registrations",
        "0ne/devices/d/x",
        "0 ne/registrations/d/x",
    ] {
        assert!(wrong.parse::<RegistrationUser>().is_err(), "{wrong}");
    }
}

#[test]
fn names_are_compared_without_regard_to_case_and_signed_as_given() {
    let id = |text: &str| text.parse::<RegistrationId>();
    assert_eq!(id("Dev-1").unwrap(), id("dev-1").unwrap());
    assert_eq!(id("Dev-1").unwrap().folded(), "dev-1");
    assert_eq!(id("Dev-1").unwrap().to_string(), "Dev-1");
    assert_eq!(id("a."), Err(RegistrationIdError::End));
    assert_eq!(id(""), Err(RegistrationIdError::Empty));
    assert_eq!(id(&"a".repeat(129)), Err(RegistrationIdError::Length(129)));
    assert_eq!(
        id("a b").unwrap_err().to_string(),
        "id contains ' '; allowed are ASCII letters, digits and -._:"
    );
}

#[test]
fn tokens_and_derived_keys_are_those_of_the_service() {
    let key: SharedKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
        .parse()
        .unwrap();
    let registration = "dev-1".parse().unwrap();
    let expiry = Timestamp::from_second(1_893_456_000).unwrap();
    let token = token(&"0ne00001234".parse().unwrap(), &registration, &key, expiry);
    assert_eq!(
        token.to_string(),
        "SharedAccessSignature sr=0ne00001234%2Fregistrations%2Fdev-1\
         &sig=fwzmWvHlgz%2FXobScGOh%2FrR4UlwOhGrLs1%2FSmrLT2yxw%3D&se=1893456000&skn=registration"
    );
    assert_eq!(
        key.derive(registration.as_str()).to_base64(),
        "uPrGCZtSCJ9Nt+iY0r7te47dbsu7OCYEU9tz7kQloUs="
    );
}

#[test]
fn a_request_without_a_payload_says_so_or_nothing() {
    let bare = RegistrationRequest {
        registration: "reg1".parse().unwrap(),
        payload: None,
    };
    assert_eq!(bare.to_value(), json!({ "registrationId": "reg1" }));
    for body in [
        bare.to_value(),
        json!({ "registrationId": "reg1", "payload": null }),
    ] {
        assert_eq!(RegistrationRequest::from_value(&body), Ok(bare.clone()));
    }
    assert_eq!(
        RegistrationRequest::from_value(&json!([])),
        Err(RequestError::Missing)
    );
}

#[test]
fn an_assignment_is_read_as_the_service_writes_it() {
    let body = json!({
        "operationId": "4.d0a6",
        "status": "assigned",
        "registrationState": {
            "registrationId": "reg1",
            "createdDateTimeUtc": "2026-01-02T03:04:05.123Z",
            "assignedHub": "myhub.azure-devices.net",
            "deviceId": "d1",
            "status": "assigned",
            "substatus": "initialAssignment",
            "lastUpdatedDateTimeUtc": "2026-01-02T03:04:05.123Z",
            "etag": "\"a\"",
            "payload": {"floor": 2},
            "newer": true,
        },
    });
    let Progress::Assigned(read) = Operation::from_value(&body).unwrap().progress else {
        panic!("it is assigned");
    };
    assert_eq!(read.assignment.hub.as_str(), "myhub.azure-devices.net");
    assert_eq!(read.assignment.device.as_str(), "d1");
    assert_eq!(read.substatus, Some(Substatus::InitialAssignment));
    assert_eq!(read.payload, Some(json!({"floor": 2})));
}

#[test]
fn an_answer_that_says_nothing_is_an_error_that_names_the_field() {
    #[track_caller]
    fn check(body: &Value, expected: &str) {
        assert_eq!(
            Operation::from_value(body).unwrap_err().to_string(),
            expected
        );
    }
    check(&json!({}), "answer has no known `status`");
    check(&json!({"status": "soon"}), "answer has no known `status`");
    check(&json!({"status": "assigned"}), "answer has no `deviceId`");
    let state = json!({"deviceId": "d", "assignedHub": "a b"});
    check(
        &json!({"status": "assigned", "registrationState": state}),
        "answer's host is neither a name (letters, digits, `-`, `_`, `.`) nor an IP address",
    );
}

fn registration_id() -> impl Strategy<Value = RegistrationId> {
    "[a-zA-Z0-9._:-]{0,20}[a-zA-Z0-9-]".prop_map(|text| text.parse().unwrap())
}

fn moment() -> impl Strategy<Value = Option<Timestamp>> {
    proptest::option::of(
        (0..4_000_000_000_i64)
            .prop_map(|second| time::truncate(Timestamp::from_second(second).unwrap())),
    )
}

fn progress() -> impl Strategy<Value = Progress> {
    let substatus = proptest::option::of(proptest::sample::select(vec![
        Substatus::InitialAssignment,
        Substatus::DeviceDataMigrated,
        Substatus::DeviceDataReset,
    ]));
    let payload = proptest::option::of(Just(json!({"a": [1, null]})));
    let hub = "[a-z]{1,9}(\\.[a-z]{1,9})?".prop_map(|text| text.parse().unwrap());
    let assignment = (hub, device_id()).prop_map(|(hub, device)| Assignment { hub, device });
    let times = (moment(), moment());
    let assigned = (
        registration_id(),
        assignment,
        substatus,
        times,
        any::<String>(),
        payload,
    );
    prop_oneof![
        Just(Progress::Assigning),
        Just(Progress::Disabled),
        (any::<u32>(), any::<String>()).prop_map(|(code, message)| {
            Progress::Failed(RegistrationFailure { code, message })
        }),
        assigned.prop_map(
            |(registration, assignment, substatus, times, etag, payload)| {
                Progress::Assigned(Box::new(Registration {
                    registration,
                    assignment,
                    substatus,
                    created: times.0,
                    updated: times.1,
                    etag,
                    payload,
                }))
            }
        ),
    ]
}

proptest! {
    #[test]
    fn reading_inverts_printing_a_body(id in any::<String>(), progress in progress()) {
        let operation = Operation { id, progress };
        prop_assert_eq!(Operation::from_value(&operation.to_value()), Ok(operation));
    }

    #[test]
    fn reading_inverts_printing_a_topic(
        rid in 0..u64::MAX,
        operation in "\\PC{1,20}",
        status in any::<u16>(),
        wait in proptest::option::of(any::<u32>()),
    ) {
        let rid = RequestId::from(rid);
        let asked = RegistrationTopic::Status { rid: rid.clone(), operation };
        prop_assert_eq!(asked.to_string().parse(), Ok(asked));
        let retry_after = wait.map(|seconds| Duration::from_secs(seconds.into()));
        let answer = AnswerTopic { status, rid, retry_after };
        prop_assert_eq!(answer.to_string().parse(), Ok(answer));
    }

    #[test]
    fn reading_inverts_printing_a_user_name(
        registration in registration_id(),
        query in proptest::collection::vec(("[a-z-]{1,9}", "\\PC{0,9}"), 1..3),
    ) {
        let user = RegistrationUser { scope: "0ne".parse().unwrap(), registration, query };
        prop_assert_eq!(user.to_string().parse(), Ok(user));
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,60}") {
        let _ = text.parse::<RegistrationTopic>();
        let _ = text.parse::<AnswerTopic>();
        let _ = text.parse::<RegistrationUser>();
        let _ = format!("$dps/registrations/res/{text}").parse::<AnswerTopic>();
        let _ = format!("0ne/registrations/{text}").parse::<RegistrationUser>();
    }
}
