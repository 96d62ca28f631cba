//! Direct methods, from the caller to the device and back.

use std::time::{Duration, Instant};

use hub_emulator::{Emulator, EmulatorConfig, MethodOutcome, MethodRecord};
use serde_json::{Value, json};

use crate::device::{DEADLINE, Device, METHODS};
use crate::service::Service;

async fn emulator() -> Emulator {
    Emulator::start(EmulatorConfig::default()).await.unwrap()
}

/// An emulator on which no call waits long for an answer.
async fn impatient() -> Emulator {
    let response_timeout_cap = Some(Duration::from_secs(1));
    Emulator::start(EmulatorConfig {
        response_timeout_cap,
        ..EmulatorConfig::default()
    })
    .await
    .unwrap()
}

async fn ready_device(emulator: &Emulator, id: &str) -> Device {
    let mut device = Device::connect(emulator, id).await;
    device.subscribe(METHODS).await;
    device
}

#[tokio::test]
async fn the_device_gets_the_payload_and_the_caller_the_answer() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = ready_device(&emulator, "d1").await;

    let (answer, ()) = tokio::join!(
        service.invoke("d1", "reboot", json!({"a": [1, null]})),
        async {
            let (name, rid, payload) = device.method().await;
            assert_eq!(
                (name.as_str(), payload),
                ("reboot", json!({"a": [1, null]}))
            );
            device.answer(&rid, 202, r#""Reboot started""#).await;
        }
    );
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({"status": 202, "payload": "Reboot started"})
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(emulator.counters().method_calls.total, 1);
    let records = emulator.methods();
    assert_eq!((records.len(), records[0].name.as_str()), (1, "reboot"));
    assert_eq!(records[0].payload, json!({"a": [1, null]}));
    assert_eq!(records[0].outcome, MethodOutcome::Answered(202));
}

#[tokio::test]
async fn no_payload_reaches_the_device_as_null_and_no_answer_body_the_caller_as_null() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = ready_device(&emulator, "d1").await;

    let body = json!({"methodName": "m", "timeoutInSeconds": 30});
    let (answer, ()) = tokio::join!(service.post("/twins/d1/methods", &body), async {
        let (_, rid, payload) = device.method().await;
        assert_eq!(payload, Value::Null);
        device.answer(&rid, -7, "").await;
    });
    assert_eq!(answer.text, r#"{"status":-7,"payload":null}"#);
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_passed_on_as_it_is() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = ready_device(&emulator, "d1").await;

    let (answer, ()) = tokio::join!(service.invoke("d1", "m", Value::Null), async {
        let (_, rid, _) = device.method().await;
        device.answer(&rid, 200, "'started'").await;
    });
    assert_eq!(answer.text, r#"{"status":200,"payload":'started'}"#);
}

#[tokio::test]
async fn a_device_that_is_absent_or_not_subscribed_is_not_online() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("absent");
    let _deaf = Device::connect(&emulator, "deaf").await;

    for device in ["absent", "deaf"] {
        let (status, name, error) = service
            .invoke(device, "m", Value::Null)
            .await
            .nested_error();
        assert_eq!((status, name.as_str()), (404, "DeviceNotOnline"));
        assert_eq!(error["errorCode"], 404_103);
        assert_eq!(error["message"], "Timed out waiting for device to connect.");
        assert_eq!(error["info"]["timeout"], "00:00:00");
    }
}

#[tokio::test]
async fn an_unknown_device_is_not_found() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let (status, name, error) = service
        .invoke("nobody", "m", Value::Null)
        .await
        .nested_error();
    assert_eq!((status, name.as_str()), (404, "DeviceNotFound"));
    assert_eq!(error["errorCode"], 404_001);
}

#[tokio::test]
async fn a_call_waits_for_the_device_to_connect_and_subscribe() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");

    let body = json!({"methodName": "m", "connectTimeoutInSeconds": 20});
    let (answer, ()) = tokio::join!(service.post("/twins/d1/methods", &body), async {
        emulator
            .counted(|counters| counters.method_calls.total == 1)
            .await;
        let mut device = ready_device(&emulator, "d1").await;
        let (_, rid, _) = device.method().await;
        device.answer(&rid, 200, "1").await;
    });
    assert_eq!(answer.json(), json!({"status": 200, "payload": 1}));
}

#[tokio::test]
async fn a_call_waits_for_the_device_no_longer_than_asked() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");

    let start = Instant::now();
    let body = json!({"methodName": "m", "connectTimeoutInSeconds": 1});
    let (status, _, error) = service
        .post("/twins/d1/methods", &body)
        .await
        .nested_error();
    assert!((Duration::from_secs(1)..DEADLINE).contains(&start.elapsed()));
    assert_eq!(
        (status, &error["info"]["timeout"]),
        (404, &json!("00:00:01"))
    );
}

#[tokio::test]
async fn no_answer_in_time_is_504101_and_a_late_one_reaches_nobody() {
    let emulator = impatient().await;
    let service = Service::owner(&emulator);
    let mut device = ready_device(&emulator, "d1").await;

    let (status, name, error) = service.invoke("d1", "m", Value::Null).await.nested_error();
    assert_eq!((status, name.as_str()), (504, "GatewayTimeout"));
    assert_eq!(error["errorCode"], 504_101);
    let (_, late, _) = device.method().await;

    let (answer, ()) = tokio::join!(service.invoke("d1", "m", Value::Null), async {
        let (_, rid, _) = device.method().await;
        device.answer(&late, 200, r#""late""#).await;
        device.answer(&rid, 200, r#""in time""#).await;
    });
    assert_eq!(answer.json()["payload"], "in time");
    let outcomes: Vec<_> = emulator
        .methods()
        .iter()
        .map(|record| record.outcome)
        .collect();
    assert_eq!(
        outcomes,
        [MethodOutcome::GivenUp, MethodOutcome::Answered(200)]
    );
}

#[tokio::test]
async fn another_device_cannot_answer() {
    let emulator = impatient().await;
    let service = Service::owner(&emulator);
    let mut device = ready_device(&emulator, "d1").await;
    let mut other = ready_device(&emulator, "d2").await;

    let (answer, ()) = tokio::join!(service.invoke("d1", "m", Value::Null), async {
        let (_, rid, _) = device.method().await;
        other.answer(&rid, 200, "1").await;
    });
    assert_eq!(answer.status, 504);
}

#[tokio::test]
async fn a_device_that_goes_away_ends_the_call_at_once() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = ready_device(&emulator, "d1").await;

    let (answer, ()) = tokio::join!(service.invoke("d1", "m", Value::Null), async {
        device.method().await;
        let waiting = |records: &[MethodRecord]| records[0].outcome == MethodOutcome::Waiting;
        emulator.watch_methods(waiting).await;
        drop(device);
    });
    assert_eq!(emulator.methods()[0].outcome, MethodOutcome::DeviceGone);
    let (status, name, error) = answer.nested_error();
    assert_eq!((status, name.as_str()), (404, "DeviceUnavailable"));
    assert_eq!(error["message"], "Device unavailable");
}

#[tokio::test]
async fn a_call_that_breaks_a_rule_is_refused_with_the_rule() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _device = ready_device(&emulator, "d1").await;

    let long_name = "m".repeat(101);
    let cases = [
        (json!({}), "methodName"),
        (json!({"methodName": 5}), "methodName"),
        (json!({"methodName": long_name}), "methodName"),
        (
            json!({"methodName": "m", "responseTimeoutInSeconds": 4}),
            "responseTimeoutInSeconds",
        ),
        (
            json!({"methodName": "m", "responseTimeoutInSeconds": 301}),
            "responseTimeoutInSeconds",
        ),
        (
            json!({"methodName": "m", "connectTimeoutInSeconds": -1}),
            "connectTimeoutInSeconds",
        ),
        (
            json!({"methodName": "m", "payload": "x".repeat(128 * 1024 - 1)}),
            "payload",
        ),
    ];
    for (body, field) in cases {
        let (status, _, error) = service
            .post("/twins/d1/methods", &body)
            .await
            .nested_error();
        assert_eq!(status, 400, "{field}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(field), "{message} does not name {field}");
    }
}

#[tokio::test]
async fn a_payload_of_128_kib_passes() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = ready_device(&emulator, "d1").await;

    // Two quotes belong to the payload.
    let largest = "x".repeat(128 * 1024 - 2);
    let (answer, ()) = tokio::join!(service.invoke("d1", "m", json!(largest)), async {
        let (_, rid, payload) = device.method().await;
        assert_eq!(payload, json!(largest));
        device.answer(&rid, 200, "").await;
    });
    assert_eq!(answer.status, 200);
}
