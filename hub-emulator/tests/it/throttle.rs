//! The throttles of a tier, as clients meet them.

use hub_emulator::{Edition, Emulator, EmulatorConfig, Tier};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::device::{Device, TWIN_ANSWERS};
use crate::service::Service;

async fn emulator() -> Emulator {
    let tier = Tier {
        edition: Edition::S1,
        units: 1,
    };
    let config = EmulatorConfig {
        tier: Some(tier),
        ..EmulatorConfig::default()
    };
    Emulator::start(config).await.unwrap()
}

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
async fn methods_are_metered_by_their_payload() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");
    // 32 units each, of 2400 in a minute.
    let payload = json!("x".repeat(131_000));
    for _ in 0..75 {
        let answer = service.invoke("d1", "m", payload.clone()).await;
        assert_eq!(answer.status, 404);
    }
    let (status, name, error) = service.invoke("d1", "m", payload).await.nested_error();
    assert_eq!((status, name.as_str()), (429, "ThrottlingException"));
    assert_eq!(error["errorCode"], 429_001);
}

#[tokio::test]
async fn a_device_is_told_429_when_it_reports_too_much() {
    let emulator = emulator().await;
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(TWIN_ANSWERS).await;
    for number in 0..3_000 {
        let (status, _, _) = device.report(&format!("{{\"n\":{number}}}")).await;
        assert_eq!(status, 204);
    }
    let (status, _, error) = device.report("{\"n\":-1}").await;
    assert_eq!((status, &error["errorCode"]), (429, &json!(429_001)));
    assert_eq!(emulator.twin("d1")["properties"]["reported"]["n"], 2_999);
}

#[tokio::test]
async fn a_small_hub_has_one_active_job() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(crate::device::METHODS).await;
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
