//! Which errors mean that a call certainly did not reach the device.

use std::{io::Read as _, net::TcpListener, thread};

use iot_hub::{error::Tracking, identity::ConnectionString};
use jiff::Timestamp;
use reqwest::header::HeaderValue;
use serde_json::Value;
use uuid::Uuid;

use super::*;

const UNDELIVERED: &str = "undelivered";
const AMBIGUOUS: &str = "ambiguous";

#[test]
fn error_answers_to_a_call_are_told_apart() {
    let inner = |code: u32| {
        let message = json!({ "errorCode": code, "message": "m", "info": {} }).to_string();
        json!({ "Message": message, "ExceptionMessage": "" }).to_string()
    };
    let named = |name: &str, text: &str| {
        json!({ "Message": format!("ErrorCode:{name};{text}") }).to_string()
    };
    let absent = "Timed out waiting for device to connect.";
    let not_online = HubError::device_not_online(Duration::ZERO).body_b(&Tracking {
        id: Uuid::nil(),
        at: Timestamp::UNIX_EPOCH,
    });
    for (status, body, expected) in [
        (404, not_online.to_string(), UNDELIVERED),
        (404, named("DeviceNotOnline", absent), UNDELIVERED),
        (404, inner(404_103), AMBIGUOUS),
        (404, named("DeviceNotOnline", "gone"), AMBIGUOUS),
        (404, inner(404_001), UNDELIVERED),
        (404, "Device unavailable".to_owned(), AMBIGUOUS),
        (404, String::new(), AMBIGUOUS),
        (504, inner(504_101), AMBIGUOUS),
        (500, String::new(), AMBIGUOUS),
        (503, inner(503_001), AMBIGUOUS),
        (502, "<html>".to_owned(), AMBIGUOUS),
        (408, String::new(), AMBIGUOUS),
        (429, inner(429_001), UNDELIVERED),
        (401, inner(401_002), UNDELIVERED),
        (403, inner(403_002), UNDELIVERED),
        (400, inner(400_004), UNDELIVERED),
        (413, String::new(), UNDELIVERED),
        (302, String::new(), UNDELIVERED),
    ] {
        let outcome = failed_call(&HubError::parse(status, None, &body), None);
        let got = match &outcome {
            CallOutcome::Undelivered(_) => UNDELIVERED,
            CallOutcome::Ambiguous(_) => AMBIGUOUS,
            CallOutcome::Answered(_) => "answered",
        };
        assert_eq!(got, expected, "{status} {body}: {outcome:?}");
    }
}

#[test]
fn an_unknown_device_is_known_by_its_code_alone() {
    let body = json!({ "Message": "ErrorCode:DeviceNotFound;x" }).to_string();
    let trouble = failed_read(&HubError::parse(404, None, &body), None);
    assert_eq!(trouble, Trouble::NoDevice);
    let trouble = failed_read(&HubError::parse(404, None, "not here"), None);
    assert!(matches!(trouble, Trouble::HubUnreachable(_)), "{trouble}");
}

#[test]
fn retry_after_is_in_seconds() {
    let mut headers = HeaderMap::new();
    assert_eq!(retry_after(&headers), None);
    headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
    assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
    let date = HeaderValue::from_static("Wed, 21 Oct 2015 07:28:00 GMT");
    headers.insert(RETRY_AFTER, date);
    assert_eq!(retry_after(&headers), None);
}

#[tokio::test]
async fn a_refused_connection_is_certainly_undelivered() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let outcome = hub(port).call(&device(), &call()).await;
    assert!(
        matches!(
            outcome,
            CallOutcome::Undelivered(Trouble::HubUnreachable(_))
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_failed_handshake_is_certainly_undelivered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut hello = [0; 5];
        socket.read_exact(&mut hello).unwrap();
    });
    let outcome = hub(port).call(&device(), &call()).await;
    peer.join().unwrap();
    assert!(
        matches!(
            outcome,
            CallOutcome::Undelivered(Trouble::HubUnreachable(_))
        ),
        "{outcome:?}"
    );
}

#[test]
fn a_device_is_one_segment_of_the_path() {
    let device: DeviceId = "a%b#c?d".parse().unwrap();
    let url = hub(8443).device_url(&device, "/methods");
    assert_eq!(
        url,
        "https://127.0.0.1:8443/twins/a%25b%23c%3Fd/methods?api-version=2021-04-12"
    );
}

fn hub(port: u16) -> Hub {
    let text = "HostName=127.0.0.1;SharedAccessKeyName=service;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let ConnectionString::Service(connection) = text.parse().unwrap() else {
        panic!("a service's connection string");
    };
    Hub::new(&HubCredential::SharedKey(connection), port, None).unwrap()
}

fn device() -> DeviceId {
    "d".parse().unwrap()
}

fn call() -> MethodCall {
    MethodCall::new("reboot".parse().unwrap(), Value::Null)
}
