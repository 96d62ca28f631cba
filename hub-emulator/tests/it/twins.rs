//! Twins, from both sides.

use hub_emulator::{Emulator, EmulatorConfig};
use iot_hub::topic::HubTopic;
use reqwest::Method;
use serde_json::{Value, json};

use crate::device::{DESIRED, Device, TWIN_ANSWERS};
use crate::service::Service;

struct World {
    emulator: Emulator,
    service: Service,
    device: Device,
}

/// A device that hears of its twin, and a service.
async fn world() -> World {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(TWIN_ANSWERS).await;
    device.subscribe(DESIRED).await;
    World {
        emulator,
        service,
        device,
    }
}

async fn desired(device: &mut Device) -> (u64, Value) {
    match device.message().await {
        (HubTopic::Desired { version }, body) => (version, serde_json::from_slice(&body).unwrap()),
        other => panic!("expected desired properties, got {other:?}"),
    }
}

#[tokio::test]
async fn what_the_device_reports_the_service_reads_with_metadata() {
    let World {
        emulator,
        service,
        mut device,
    } = world().await;
    let (status, version, body) = device.report(r#"{"a":{"b":1,"c":2}}"#).await;
    assert_eq!((status, version, body), (204, Some(2), Value::Null));
    let (_, version, _) = device.report(r#"{"a":{"b":null}}"#).await;
    assert_eq!(version, Some(3));

    let twin = service.get("/twins/d1").await;
    assert_eq!(
        twin.header("etag"),
        Some(format!("{:?}", twin.json()["etag"].as_str().unwrap()).as_str())
    );
    let reported = &twin.json()["properties"]["reported"];
    assert_eq!(
        (&reported["a"], &reported["$version"]),
        (&json!({"c": 2}), &json!(3))
    );
    assert!(reported["$metadata"]["a"]["c"]["$lastUpdated"].is_string());
    assert_eq!(
        device.twin().await["reported"],
        json!({"a": {"c": 2}, "$version": 3})
    );

    let counters = emulator.counters();
    assert_eq!(counters.service_twin_reads.total, 1);
    assert_eq!(counters.device_twin_reads.total, 1);
    assert_eq!(counters.device_twin_updates.total, 2);
}

#[tokio::test]
async fn a_patch_for_another_version_is_refused() {
    let World {
        emulator: _emulator,
        mut device,
        ..
    } = world().await;
    assert_eq!(device.report_if(r#"{"a":1}"#, Some(1)).await.0, 204);
    let (status, version, error) = device.report_if(r#"{"a":2}"#, Some(1)).await;
    assert_eq!(
        (status, version, &error["errorCode"]),
        (412, None, &json!(412_001))
    );
    assert_eq!(device.twin().await["reported"]["a"], 1);
}

#[tokio::test]
async fn a_patch_that_breaks_a_rule_changes_nothing_and_says_why() {
    let World {
        emulator: _emulator,
        mut device,
        ..
    } = world().await;
    let too_large = format!(r#"{{"a":{:?}}}"#, "x".repeat(5_000));
    for patch in [
        "",
        "nonsense",
        "[1]",
        r#"{"$version":1}"#,
        r#"{"a b":1}"#,
        &too_large,
    ] {
        let (status, _, error) = device.report(patch).await;
        assert_eq!(
            (status, &error["errorCode"]),
            (400, &json!(400_004)),
            "{patch:.20}"
        );
        // Microsoft's Node SDK takes an answer for a failure only when it finds these.
        assert!(error["message"].is_string() && error["trackingId"].is_string());
    }
    assert_eq!(device.twin().await["reported"], json!({"$version": 1}));
}

#[tokio::test]
async fn a_twin_request_is_acknowledged_before_it_is_answered() {
    let World {
        emulator: _emulator,
        mut device,
        ..
    } = world().await;
    let packet_id = device.publish_qos1("$iothub/twin/GET/?$rid=r", "").await;
    device.acknowledged(packet_id).await;
    let (topic, _) = device.message().await;
    assert_eq!(topic.to_string(), "$iothub/twin/res/200/?$rid=r");
}

#[tokio::test]
async fn the_device_is_told_what_the_service_changed() {
    let World {
        emulator: _emulator,
        service,
        mut device,
    } = world().await;
    let patch = json!({"properties": {"desired": {"a": {"b": 1}, "c": 2}}});
    let twin = service.patch("/twins/d1", &patch).await.json();
    assert_eq!(twin["properties"]["desired"]["$version"], 2);
    assert_eq!(
        desired(&mut device).await,
        (2, json!({"a": {"b": 1}, "c": 2, "$version": 2}))
    );

    // Tags are none of the device's business; a removal is told as such.
    service.patch("/twins/d1", &json!({"tags": {"x": 1}})).await;
    let patch = json!({"properties": {"desired": {"a": {"b": null}}}});
    service.patch("/twins/d1", &patch).await;
    assert_eq!(
        desired(&mut device).await,
        (3, json!({"a": {"b": null}, "$version": 3}))
    );

    // Clients send back whole twins; what is not theirs to write is ignored.
    let whole = service.get("/twins/d1").await.json();
    assert_eq!(service.patch("/twins/d1", &whole).await.status, 200);
    assert_eq!(
        desired(&mut device).await,
        (4, json!({"a": {}, "c": 2, "$version": 4}))
    );

    service
        .put("/twins/d1", &json!({"properties": {"desired": {"d": 1}}}))
        .await;
    let replaced = json!({"a": null, "c": null, "d": 1, "$version": 5});
    assert_eq!(desired(&mut device).await, (5, replaced));
    let twin = service.get("/twins/d1").await.json();
    assert_eq!(twin["tags"], json!({}));
    assert_eq!(twin["properties"]["desired"]["d"], 1);

    service
        .patch("/twins/d1", &json!({"properties": {"desired": null}}))
        .await;
    assert_eq!(
        desired(&mut device).await,
        (6, json!({"d": null, "$version": 6}))
    );
}

#[tokio::test]
async fn an_update_for_another_etag_is_refused_and_an_unquoted_etag_ignored() {
    let World {
        emulator: _emulator,
        service,
        device: _device,
    } = world().await;
    let first = service.get("/twins/d1").await.json()["etag"]
        .as_str()
        .unwrap()
        .to_owned();
    let patch = json!({"tags": {"n": 1}});
    let quoted = format!("\"{first}\"");
    let update = async |etag: &str| {
        service
            .call(
                Method::PATCH,
                "/twins/d1",
                Some(&patch),
                &[("If-Match", etag)],
            )
            .await
    };
    assert_eq!(update(&quoted).await.status, 200);
    let (status, name, _) = update(&quoted).await.named_error();
    assert_eq!((status, name.as_str()), (412, "PreconditionFailed"));
    for condition in ["*", "\"*\"", first.as_str()] {
        assert_eq!(update(condition).await.status, 200, "{condition}");
    }
}

#[tokio::test]
async fn an_update_that_breaks_a_rule_changes_nothing() {
    let World {
        emulator: _emulator,
        service,
        device: _device,
    } = world().await;
    let before = service.get("/twins/d1").await.json();
    for body in [
        json!([]),
        json!({"tags": 5}),
        json!({"properties": {"desired": "x"}}),
        json!({"tags": {"good": 1}, "properties": {"desired": {"bad name": 1}}}),
        json!({"tags": {"large": "x".repeat(4_097)}}),
    ] {
        let (status, name, _) = service.patch("/twins/d1", &body).await.named_error();
        assert_eq!(
            (status, name.as_str()),
            (400, "ArgumentInvalid"),
            "{body:.60}"
        );
    }
    assert_eq!(service.get("/twins/d1").await.json(), before);
}

#[tokio::test]
async fn a_test_can_await_a_twin() {
    let World {
        emulator,
        mut device,
        ..
    } = world().await;
    let reported = emulator.watch_twin("d1", |twin| twin["properties"]["reported"]["a"] == 3);
    let (twin, ()) = tokio::join!(reported, async {
        for a in 1..=3 {
            device.report(&format!(r#"{{"a":{a}}}"#)).await;
        }
    });
    assert_eq!(twin["properties"]["reported"]["$version"], 4);
}
