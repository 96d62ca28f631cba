//! Bodies as captured from the service, and the inverse of writing them.

use proptest::prelude::*;

use super::*;

fn tracking() -> Tracking {
    Tracking {
        id: Uuid::from_u128(0x7b27_0000_0000_0000_0000_0000_0000_0001),
        at: "2018-08-24T17:49:33.201157Z".parse().unwrap(),
    }
}

#[test]
fn codes_are_found_by_number_and_name() {
    assert_eq!(
        ErrorCode::from_number(412_001),
        Some(ErrorCode::PreconditionFailed)
    );
    assert_eq!(
        ErrorCode::from_name("devicenotonline"),
        Some(ErrorCode::DeviceNotOnline)
    );
    assert_eq!(ErrorCode::from_number(404_301), None);
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
        assert_eq!(ErrorCode::from_name(code.name()), Some(*code));
        assert!((400..600).contains(&code.http_status()), "{code:?}");
    }
    assert!(ErrorCode::ALL.is_sorted_by_key(|code| code.number()));
}

#[test]
fn writes_each_style_as_captured() {
    let error = HubError::new(ErrorCode::DeviceNotFound, "no such device; sorry");
    assert_eq!(
        error.body_a(&tracking()),
        json!({
            "Message": "ErrorCode:DeviceNotFound;no such device, sorry",
            "ExceptionMessage": "Tracking ID:7b270000000000000000000000000001-G:0-TimeStamp:08/24/2018 17:49:33",
        })
    );
    assert_eq!(error.header(), Some("DeviceNotFound"));

    let body = HubError::device_not_online(Duration::from_secs(60)).body_b(&tracking());
    let inner: Value = serde_json::from_str(body["Message"].as_str().unwrap()).unwrap();
    assert_eq!(
        inner,
        json!({
            "errorCode": 404_103,
            "trackingId": "7b270000000000000000000000000001-G:0-TimeStamp:08/24/2018 17:49:33",
            "message": "Timed out waiting for device to connect.",
            "info": {"timeout": "00:01:00"},
            "timestampUtc": "2018-08-24T17:49:33.2011570Z",
        })
    );
    assert_eq!(body["ExceptionMessage"], "");

    let error = HubError::new(ErrorCode::ArgumentInvalid, "text");
    assert_eq!(
        error.mqtt_body(&tracking()),
        json!({
            "errorCode": 400_004,
            "trackingId": "7b270000000000000000000000000001-G:0-TimeStamp:08/24/2018 17:49:33",
            "message": "text",
            "timestampUtc": "2018-08-24T17:49:33.2011570Z",
        })
    );
}

#[test]
fn reads_every_style() {
    #[track_caller]
    fn check(
        status: u16,
        header: Option<&str>,
        body: &str,
        code: Option<ErrorCode>,
        message: &str,
    ) {
        let error = HubError::parse(status, header, body);
        assert_eq!(
            (error.status, error.code, error.message.as_str()),
            (status, code, message),
            "{body}"
        );
    }
    let offline = Some(ErrorCode::DeviceNotOnline);
    let waiting = "Timed out waiting for device to connect.";
    check(
        404,
        None,
        r#"{"Message":"{\"errorCode\":404103,\"trackingId\":\"7b27-G:0-TimeStamp:08/24/2018 17:49:33\",\"message\":\"Timed out waiting for device to connect.\",\"info\":{\"timeout\":\"00:00:00\"},\"timestampUtc\":\"2018-08-24T17:49:33.201157Z\"}","ExceptionMessage":""}"#,
        offline,
        waiting,
    );
    check(
        404,
        None,
        r#"{"Message":"ErrorCode:DeviceNotOnline;Timed out waiting for device to connect.","ExceptionMessage":"Tracking ID:x"}"#,
        offline,
        waiting,
    );
    check(
        400,
        None,
        r#"{"errorCode":400004,"trackingId":"x","message":"bad","timestampUtc":"2020-05-04T11:22:33.0000000Z"}"#,
        Some(ErrorCode::ArgumentInvalid),
        "bad",
    );
    check(
        404,
        None,
        r#"{"message":"Device not connected"}"#,
        None,
        "Device not connected",
    );
    check(401, None, r#"{"ErrorMessage":"no"}"#, None, "no");
    check(
        404,
        Some("DeviceNotFound"),
        "",
        Some(ErrorCode::DeviceNotFound),
        "",
    );
    check(
        404,
        Some("DeviceNotFound"),
        r#"{"Message":"gone"}"#,
        Some(ErrorCode::DeviceNotFound),
        "gone",
    );
    check(
        404,
        Some("DeviceNotFound"),
        r#"{"Message":"{\"errorCode\":404103,\"message\":\"m\"}"}"#,
        offline,
        "m",
    );
    check(
        502,
        None,
        " <html>bad gateway</html>\n",
        None,
        "<html>bad gateway</html>",
    );
    check(
        404,
        None,
        r#"{"Message":"{\"errorCode\":404301,\"message\":\"m\"}"}"#,
        None,
        "undocumented code 404301: m",
    );
    check(
        400,
        None,
        r#"{"Message":"ErrorCode:Odd;m"}"#,
        None,
        "undocumented code Odd: m",
    );
    check(400, None, r#"{"errors":[]}"#, None, r#"{"errors":[]}"#);
    check(500, None, "\"text\"", None, "text");
    check(500, None, "null", None, "null");
}

#[test]
fn keeps_a_foreign_page_short() {
    assert_eq!(
        HubError::parse(502, None, &"ä".repeat(9000))
            .message
            .chars()
            .count(),
        300
    );
}

#[test]
fn keeps_the_info_of_a_method_failure() {
    let error = HubError::device_not_online(Duration::from_secs(5));
    let body = error.body_b(&tracking()).to_string();
    assert_eq!(HubError::parse(404, None, &body), error);
}

#[test]
fn says_what_may_do_better_later() {
    assert!(HubError::parse(503, None, "").is_retryable());
    assert!(HubError::new(ErrorCode::ThrottlingException, "").is_retryable());
    assert!(HubError::no_answer().is_retryable());
    assert!(!HubError::new(ErrorCode::JobCancelled, "").is_retryable());
    assert!(!HubError::new(ErrorCode::PreconditionFailed, "").is_retryable());
    assert!(!HubError::device_not_online(Duration::ZERO).is_retryable());
    assert!(!HubError::parse(501, None, "").is_retryable());
}

#[test]
fn shows_code_name_and_text() {
    let shown = HubError::new(ErrorCode::DeviceNotFound, "d1").to_string();
    assert_eq!(shown, "hub error 404001 DeviceNotFound: d1");
    assert_eq!(HubError::parse(502, None, "").to_string(), "hub error 502");
}

proptest! {
    #[test]
    fn reading_inverts_writing(index in 0..ErrorCode::ALL.len(), message in "[^;]{0,40}") {
        let error = HubError::new(ErrorCode::ALL[index], message);
        for body in [error.body_a(&tracking()), error.body_b(&tracking()), error.mqtt_body(&tracking())] {
            prop_assert_eq!(&HubError::parse(error.status, None, &body.to_string()), &error);
        }
    }

    #[test]
    fn no_text_panics(status in any::<u16>(), header in proptest::option::of("\\PC{0,10}"), body in "(\\{|\\}|\"|:|;|errorCode|ErrorCode:|Message|message|[0-9]|\\PC){0,20}") {
        let error = HubError::parse(status, header.as_deref(), &body);
        let _ = (error.body_a(&tracking()), error.body_b(&tracking()), error.mqtt_body(&tracking()), error.to_string());
    }
}
