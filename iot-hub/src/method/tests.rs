//! Calls as the SDKs write them, what must be refused, and answers of every kind.

use proptest::prelude::*;

use super::*;

fn call(name: &str) -> MethodCall {
    MethodCall::new(name.parse().unwrap(), Value::Null)
}

#[test]
fn reads_a_call_as_each_sdk_writes_it() {
    #[track_caller]
    fn check(body: &str, expected: MethodCall) {
        assert_eq!(
            MethodCall::from_json(body.as_bytes()).unwrap(),
            expected,
            "{body}"
        );
    }
    check(
        r#"{"methodName":"reboot","payload":null,"timeoutInSeconds":30,"responseTimeoutInSeconds":30,"connectTimeoutInSeconds":0}"#,
        call("reboot"),
    );
    check(
        r#"{"methodName": "reboot", "payload": ""}"#,
        MethodCall {
            payload: json!(""),
            ..call("reboot")
        },
    );
    check(
        r#"{"methodName":"reboot","responseTimeoutInSeconds":null}"#,
        call("reboot"),
    );
    check(
        r#"{"methodName":"x","payload":{"a":1},"responseTimeoutInSeconds":300,"connectTimeoutInSeconds":300}"#,
        MethodCall {
            payload: json!({"a": 1}),
            response_timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(300),
            ..call("x")
        },
    );
}

#[test]
fn refuses_what_is_no_call() {
    #[track_caller]
    fn check(body: &str, code: ErrorCode, message: &str) {
        let error = HubError::from(MethodCall::from_json(body.as_bytes()).unwrap_err());
        assert_eq!(
            (error.code, error.message.as_str()),
            (Some(code), message),
            "{body}"
        );
    }
    let argument = ErrorCode::ArgumentInvalid;
    check(
        "",
        ErrorCode::IotHubFormatError,
        "body is not JSON: EOF while parsing a value at line 1 column 0",
    );
    check("[]", argument, "body is not a JSON object");
    check("{}", argument, "`methodName` must be a text");
    check(
        r#"{"methodName":7}"#,
        argument,
        "`methodName` must be a text",
    );
    check(
        r#"{"methodName":"a/b"}"#,
        argument,
        "`methodName`: method name contains '/'",
    );
    for bad in ["4", "301", "-1", "5.5", "\"5\""] {
        check(
            &format!(r#"{{"methodName":"x","responseTimeoutInSeconds":{bad}}}"#),
            argument,
            "`responseTimeoutInSeconds` has to be between 5 and 300 seconds",
        );
    }
    check(
        r#"{"methodName":"x","connectTimeoutInSeconds":301}"#,
        argument,
        "`connectTimeoutInSeconds` has to be between 0 and 300 seconds",
    );
}

#[test]
fn payload_may_have_128_kib_and_no_more() {
    let body =
        |bytes: usize| json!({"methodName": "x", "payload": "p".repeat(bytes - 2)}).to_string();
    assert!(MethodCall::from_json(body(MAX_PAYLOAD_BYTES).as_bytes()).is_ok());
    let error = MethodCall::from_json(body(MAX_PAYLOAD_BYTES + 1).as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`payload` has 131073 bytes, more than 131072"
    );
}

#[test]
fn reads_answers_of_every_kind() {
    #[track_caller]
    fn check(status: i32, device_body: &[u8], payload: Payload) {
        let answer = splice(status, device_body);
        assert_eq!(
            MethodResult::from_json(&answer).unwrap(),
            MethodResult { status, payload }
        );
    }
    check(
        200,
        b"\"Reboot started\"",
        Payload::Json(json!("Reboot started")),
    );
    check(404, b"{\"a\":1}", Payload::Json(json!({"a": 1})));
    check(-5, b"", Payload::Json(Value::Null));
    check(200, b" ", Payload::Json(Value::Null));
    check(
        200,
        b"'FirmwareUpdate started.'",
        Payload::Text("'FirmwareUpdate started.'".to_owned()),
    );
    check(200, b"half a {", Payload::Text("half a {".to_owned()));
    check(200, b"\xff", Payload::Text("\u{fffd}".to_owned()));
}

#[test]
fn refuses_what_is_no_answer() {
    for bad in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"status":"200"}"#,
        r#"{"status":99999999999}"#,
    ] {
        assert!(MethodResult::from_json(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn a_devices_body_is_json_or_text() {
    assert_eq!(Payload::from_bytes(b" {} "), Payload::Json(json!({})));
    assert_eq!(Payload::from_bytes(b"  "), Payload::Json(Value::Null));
    assert_eq!(Payload::from_bytes(b"ok"), Payload::Text("ok".to_owned()));
    assert_eq!(Payload::from_bytes(b"ok").as_json(), None);
}

proptest! {
    #[test]
    fn reading_a_call_inverts_writing(name in "[a-zA-Z ]{1,100}", text in ".{0,20}", response in 5..=300_u64, connect in 0..=300_u64) {
        let call = MethodCall {
            name: name.parse().unwrap(),
            payload: json!({ "text": text }),
            response_timeout: Duration::from_secs(response),
            connect_timeout: Duration::from_secs(connect),
        };
        prop_assert_eq!(MethodCall::from_json(call.to_json().to_string().as_bytes()).unwrap(), call);
    }

    #[test]
    fn reading_an_answer_inverts_writing(status in any::<i32>(), text in ".{0,20}") {
        let result = MethodResult { status, payload: Payload::Json(json!(text)) };
        prop_assert_eq!(MethodResult::from_json(result.to_json().to_string().as_bytes()).unwrap(), result);
    }

    #[test]
    fn no_bytes_panic(status in any::<i32>(), bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = MethodCall::from_json(&bytes);
        let _ = MethodResult::from_json(&bytes);
        let _ = MethodResult::from_json(&splice(status, &bytes));
        let _ = Payload::from_bytes(&bytes);
    }
}
