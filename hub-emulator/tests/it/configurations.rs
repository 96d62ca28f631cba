//! Configurations over REST, and what they make of twins.

use hub_emulator::{Emulator, EmulatorConfig};
use reqwest::Method;
use serde_json::{Value, json};

use crate::device::{DEADLINE, DESIRED, Device};
use crate::service::Service;

async fn emulator() -> Emulator {
    Emulator::start(EmulatorConfig::default()).await.unwrap()
}

fn configuration(condition: &str, priority: i64, firmware: &str) -> Value {
    json!({
        "schemaVersion": "1.0",
        "labels": {"app": "test"},
        "content": {"deviceContent": {"properties.desired.firmware": {"version": firmware}}},
        "targetCondition": condition,
        "priority": priority,
        "metrics": {"queries":
            {"current": "SELECT deviceId FROM devices WHERE properties.reported.done = true"}},
    })
}

async fn twin_with(emulator: &Emulator, device: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    tokio::time::timeout(DEADLINE, emulator.watch_twin(device, wanted))
        .await
        .unwrap()
}

async fn tag(service: &Service, device: &str, floor: u32) {
    let patch = json!({"tags": {"floor": floor}});
    let answer = service.patch(&format!("/twins/{device}"), &patch).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_configuration_reaches_the_devices_that_it_finds_now_and_later() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(DESIRED).await;
    let _ = emulator.device("d2");
    tag(&service, "d1", 3).await;

    let wanted = configuration("tags.floor = 3", 10, "2.0");
    let made = service.put("/configurations/c1", &wanted).await;
    assert_eq!(made.status, 200);
    let (_, patch) = device.message().await;
    let patch: Value = serde_json::from_slice(&patch).unwrap();
    assert_eq!(
        patch,
        json!({"firmware": {"version": "2.0"}, "$version": 2})
    );
    let applied = |twin: &Value| twin["configurations"]["c1"]["status"] == "Applied";
    twin_with(&emulator, "d1", applied).await;

    assert_eq!(emulator.twin("d2")["configurations"], Value::Null);
    tag(&service, "d2", 3).await;
    let twin = twin_with(&emulator, "d2", applied).await;
    assert_eq!(twin["properties"]["desired"]["firmware"]["version"], "2.0");
    assert_eq!(twin["properties"]["desired"]["$version"], 2);

    let read = service.get("/configurations/c1").await.json();
    assert_eq!(
        read["systemMetrics"]["results"],
        json!({"targetedCount": 2, "appliedCount": 2})
    );
    assert_eq!(read["metrics"]["results"], json!({"current": 0}));
    assert_eq!(
        read["content"]["deviceContent"],
        wanted["content"]["deviceContent"]
    );

    tag(&service, "d2", 4).await;
    let twin = twin_with(&emulator, "d2", |twin| twin["configurations"].is_null()).await;
    assert_eq!(twin["properties"]["desired"]["firmware"]["version"], "2.0");
}

#[tokio::test]
async fn the_higher_priority_gets_its_way() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");
    service
        .put("/configurations/high", &configuration("*", 20, "2.0"))
        .await;
    service
        .put("/configurations/low", &configuration("*", 10, "1.0"))
        .await;
    let twin = twin_with(&emulator, "d1", |twin| {
        twin["configurations"]["low"].is_object()
    })
    .await;
    assert_eq!(twin["properties"]["desired"]["firmware"]["version"], "2.0");
    assert_eq!(
        twin["configurations"],
        json!({"high": {"status": "Applied"}, "low": {"status": "Targeted"}})
    );

    let delete = service.call(
        Method::DELETE,
        "/configurations/high",
        None,
        &[("If-Match", "*")],
    );
    assert_eq!(delete.await.status, 204);
    let low = |twin: &Value| twin["properties"]["desired"]["firmware"]["version"] == "1.0";
    let twin = twin_with(&emulator, "d1", low).await;
    assert_eq!(
        twin["configurations"],
        json!({"low": {"status": "Applied"}})
    );
}

#[tokio::test]
async fn modules_have_configurations_of_their_own() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");
    let module = json!({"moduleId": "m", "deviceId": "d1"});
    service.put("/devices/d1/modules/m", &module).await;
    let wanted = json!({
        "content": {"moduleContent": {"properties.desired.a.b": 1}},
        "targetCondition": "FROM devices.modules WHERE moduleId = 'm'",
        "priority": 1,
    });
    service.put("/configurations/c", &wanted).await;
    service
        .put("/configurations/all", &configuration("*", 1, "1.0"))
        .await;
    // Every twin is looked at in one step, so the module's is done when the device's is.
    let twin = twin_with(&emulator, "d1", |twin| twin["configurations"].is_object()).await;
    assert_eq!(
        twin["configurations"],
        json!({"all": {"status": "Applied"}})
    );
    let query = json!({"query":
        "SELECT * FROM devices.modules WHERE configurations.c.status = 'Applied'"});
    let modules = service.post("/devices/query", &query).await.json();
    assert_eq!(modules[0]["properties"]["desired"]["a"], json!({"b": 1}));
    assert_eq!(twin["properties"]["desired"]["a"], Value::Null);
}

#[tokio::test]
async fn configurations_are_made_changed_listed_and_deleted() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let one = configuration("", 1, "1.0");
    let made = service.put("/configurations/c", &one).await;
    let etag = made.json()["etag"].as_str().unwrap().to_owned();
    assert_eq!(made.header("etag"), Some(format!("\"{etag}\"").as_str()));
    assert_eq!(service.put("/configurations/c", &one).await.status, 409);

    let put = async |condition: &str, id: &str| {
        let path = format!("/configurations/{id}");
        let headers = [("If-Match", condition)];
        service
            .call(Method::PUT, &path, Some(&one), &headers)
            .await
            .status
    };
    assert_eq!(put(&format!("\"{etag}\""), "c").await, 200);
    assert_eq!(put(&format!("\"{etag}\""), "c").await, 412);
    assert_eq!(put("\"*\"", "other").await, 404);
    let list = service.get("/configurations?top=10").await.json();
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]["id"]),
        (1, &json!("c"))
    );
    let delete = service.call(
        Method::DELETE,
        "/configurations/c",
        None,
        &[("If-Match", "*")],
    );
    assert_eq!(delete.await.status, 204);
    assert_eq!(service.get("/configurations/c").await.status, 404);
}

#[tokio::test]
async fn a_configuration_that_breaks_a_rule_is_refused_and_queries_can_be_tried() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let bad = [
        ("targetCondition", json!("tags.floor =")),
        ("content", json!({"deviceContent": {"tags.floor": 1}})),
        (
            "content",
            json!({"deviceContent": {"properties.desired": 1}}),
        ),
        ("metrics", json!({"queries": {"q": "SELECT"}})),
        ("id", json!("other")),
    ];
    for (field, value) in bad {
        let mut body = configuration("*", 1, "1.0");
        body[field] = value;
        let (status, name, _) = service.put("/configurations/c", &body).await.named_error();
        assert_eq!((status, name.as_str()), (400, "ArgumentInvalid"), "{field}");
    }
    let queries = json!({
        "targetCondition": "tags.floor = 3",
        "customMetricQueries": {"good": "SELECT deviceId FROM devices", "bad": "SELECT"},
    });
    let tried = service
        .post("/configurations/testQueries", &queries)
        .await
        .json();
    assert_eq!(tried["targetConditionError"], "");
    assert_eq!(
        tried["customMetricQueryErrors"].as_object().unwrap().len(),
        1
    );
    assert!(tried["customMetricQueryErrors"]["bad"].is_string());
}
