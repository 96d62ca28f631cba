//! The throttles of a tier, as clients meet them.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hub_emulator::{CloudToDeviceMessage, Edition, Emulator, EmulatorConfig, Shaping, Tier};
use iot_hub::error::ErrorCode;
use jiff::{SignedDuration, Timestamp};
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet};
use serde_json::json;

use crate::device::{Credentials, Device, METHODS, TWIN_ANSWERS, dial};
use crate::service::Service;

const S1: Tier = Tier {
    edition: Edition::S1,
    units: 1,
};

async fn emulator() -> Emulator {
    shaped(Shaping::default()).await
}

/// A small hub that treats a surplus like this.
async fn shaped(shaping: Shaping) -> Emulator {
    let config = EmulatorConfig {
        tier: Some(S1),
        shaping,
        ..EmulatorConfig::default()
    };
    Emulator::start(config).await.unwrap()
}

/// Nothing passes at once but the first.
const NO_CREDIT: Shaping = Shaping {
    credit: Duration::ZERO,
    queue: Duration::from_secs(10),
};

/// And nothing waits.
const NO_QUEUE: Shaping = Shaping {
    credit: Duration::ZERO,
    queue: Duration::ZERO,
};

#[tokio::test]
async fn the_twenty_first_query_of_a_minute_is_refused() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let query = json!({"query": "SELECT * FROM devices"});
    for _ in 0..20 {
        let answer = service.post("/devices/query", &query).await;
        assert_eq!(answer.status, 200);
    }
    let refused = service.post("/devices/query", &query).await;
    assert_eq!(refused.header("retry-after"), None);
    let (status, name, _) = refused.named_error();
    assert_eq!((status, name.as_str()), (429, "ThrottlingException"));
    assert_eq!(emulator.counters().throttled.total, 1);
    // Other kinds have limits of their own.
    assert_eq!(service.get("/devices").await.status, 200);
}

#[tokio::test]
async fn a_hundred_messages_a_minute_go_to_devices() {
    let emulator = emulator().await;
    let device = "d1".parse().unwrap();
    for _ in 0..100 {
        // There is no such device; asking counts.
        let unknown = emulator.send_to_device(&device, CloudToDeviceMessage::default());
        assert_eq!(unknown.unwrap_err().code, Some(ErrorCode::DeviceNotFound));
    }
    let refused = emulator.send_to_device(&device, CloudToDeviceMessage::default());
    let code = refused.unwrap_err().code;
    assert_eq!(code, Some(ErrorCode::ThrottlingException));
}

#[tokio::test]
async fn large_methods_wait_their_turn_and_are_refused_when_too_many_do() {
    let emulator = shaped(NO_CREDIT).await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");
    let begin = Instant::now();
    // 32 units each, of 40 in a second: the last of those that may wait waits for 9.6 s.
    let payload = json!("x".repeat(131_000));
    let mut calls: FuturesUnordered<_> = (0..16)
        .map(|_| service.invoke("d1", "m", payload.clone()))
        .collect();
    let mut refusals = 0;
    let mut nobody_there = 0;
    while nobody_there < 2 {
        let (status, name, error) = calls.next().await.unwrap().nested_error();
        if status == 429 {
            assert_eq!(
                (name.as_str(), &error["errorCode"]),
                ("ThrottlingException", &json!(429_001))
            );
            refusals += 1;
        } else {
            assert_eq!((status, name.as_str()), (404, "DeviceNotOnline"));
            nobody_there += 1;
        }
    }
    assert!(begin.elapsed() >= Duration::from_millis(800));
    assert!((1..=3).contains(&refusals), "{refusals}");
    let counters = emulator.counters();
    assert_eq!(counters.throttled.total, refusals);
    assert_eq!(counters.delayed.total, 15 - refusals);
}

#[tokio::test]
async fn reports_wait_their_turn() {
    let emulator = shaped(NO_CREDIT).await;
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(TWIN_ANSWERS).await;
    let begin = Instant::now();
    for number in 0..6 {
        let (status, _, _) = device.report(&format!("{{\"n\":{number}}}")).await;
        assert_eq!(status, 204);
    }
    // 50 in a second.
    assert!(begin.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_device_is_told_429_when_it_reports_too_much() {
    let emulator = shaped(NO_QUEUE).await;
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(TWIN_ANSWERS).await;
    for number in 0..50 {
        let topic = format!("$iothub/twin/PATCH/properties/reported/?$rid={number}");
        device.publish(&topic, "{\"n\":1}").await;
    }
    let mut refusals = 0;
    for _ in 0..50 {
        let Some(Packet::Publish(answer)) = device.next().await else {
            panic!("an answer")
        };
        if answer.topic.starts_with("$iothub/twin/res/429/") {
            let error: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
            assert_eq!(error["errorCode"], 429_001);
            refusals += 1;
        }
    }
    assert!(refusals > 0);
    assert_eq!(emulator.counters().throttled.total, refusals);
}

#[tokio::test]
async fn connects_that_are_too_many_get_the_code_after_which_sdks_try_again() {
    let emulator = shaped(NO_QUEUE).await;
    let credentials: Vec<_> = (0..40)
        .map(|number| Credentials::new(&emulator.device(&format!("d{number}"))))
        .collect();
    // What takes time is done before, so that they come at the same time.
    let mut streams = Vec::new();
    for _ in &credentials {
        streams.push(dial(&emulator).await);
    }
    let mut connects: FuturesUnordered<_> = streams
        .into_iter()
        .zip(&credentials)
        .map(|(stream, credentials)| Device::connect_over(Box::new(stream), credentials))
        .collect();
    let mut refusals = 0;
    while let Some(connected) = connects.next().await {
        if let Err(code) = connected {
            assert_eq!(code, ConnectReturnCode::ServiceUnavailable);
            refusals += 1;
        }
    }
    assert!(refusals > 0);
    let counters = emulator.counters();
    assert_eq!(
        (counters.connects.total, counters.throttled.total),
        (40, refusals)
    );
}

#[tokio::test]
async fn the_devices_of_a_job_have_their_turns() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    for number in 0..6 {
        let _ = emulator.device(&format!("d{number}"));
    }
    let job = json!({"type": "scheduleUpdateTwin", "queryCondition": "*",
        "updateTwin": {"etag": "*", "tags": {"done": true}},
        "startTime": Timestamp::now().to_string()});
    let begin = Instant::now();
    assert_eq!(service.put("/jobs/v2/a", &job).await.status, 200);
    let done = |job: &serde_json::Value| job["status"] == "completed";
    let job = emulator.watch_job("a", done).await;
    assert_eq!(job["deviceJobStatistics"]["succeededCount"], 6);
    // Ten in a second.
    assert!(begin.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn when_the_days_messages_are_used_up_nobody_sends() {
    let config = EmulatorConfig {
        daily_messages: Some(6),
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    device.publish("devices/d1/messages/events/", "1").await;
    device.subscribe(TWIN_ANSWERS).await;
    device.twin().await;
    assert_eq!(emulator.messages_used(), 2);
    // A question and an answer, 4 KB each; the device is not subscribed, so there is no answer.
    let offline = service.invoke("d1", "m", json!("x".repeat(5_000))).await;
    assert_eq!(offline.status, 404);
    assert_eq!(emulator.messages_used(), 4);
    assert_eq!(service.get("/twins/d1").await.status, 200);
    assert_eq!(service.get("/devices/d1").await.status, 200);
    assert_eq!(emulator.messages_used(), 5);
    device.report("{\"n\":1}").await;

    let (status, name, error) = service.invoke("d1", "m", json!(1)).await.nested_error();
    assert_eq!((status, name.as_str()), (403, "IotHubQuotaExceeded"));
    assert_eq!(error["errorCode"], 403_002);
    let refused = emulator.send_to_device(&"d1".parse().unwrap(), CloudToDeviceMessage::default());
    let code = refused.unwrap_err().code;
    assert_eq!(code, Some(ErrorCode::IotHubQuotaExceeded));
    device.publish("devices/d1/messages/events/", "2").await;
    device.closed().await;
    assert_eq!(emulator.telemetry().len(), 1);
    // Connecting stays possible.
    Device::connect(&emulator, "d1").await;
}

#[tokio::test]
async fn a_small_hub_has_one_active_job() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(METHODS).await;
    let job = |start: Timestamp| {
        json!({"type": "scheduleDeviceMethod", "queryCondition": "*",
            "cloudToDeviceMethod": {"methodName": "m", "payload": null},
            "startTime": start.to_string()})
    };
    let now = Timestamp::now();
    assert_eq!(service.put("/jobs/v2/a", &job(now)).await.status, 200);
    device.method().await;
    let refused = service.put("/jobs/v2/b", &job(now)).await;
    let (status, name, _) = refused.named_error();
    assert_eq!(
        (status, name.as_str()),
        (429, "ThrottlingMaxActiveJobCountExceeded")
    );
    let later = now + SignedDuration::from_hours(1);
    assert_eq!(service.put("/jobs/v2/b", &job(later)).await.status, 200);
}
