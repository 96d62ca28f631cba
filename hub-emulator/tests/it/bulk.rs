//! Many identities in one request.

use hub_emulator::{Emulator, EmulatorConfig};
use serde_json::{Value, json};

use crate::device::Device;
use crate::service::{Answer, Service};

async fn emulator() -> Emulator {
    Emulator::start(EmulatorConfig::default()).await.unwrap()
}

#[track_caller]
fn check_done(answer: &Answer) {
    let nothing_wrong = json!({"isSuccessful": true, "errors": [], "warnings": []});
    assert_eq!((answer.status, answer.json()), (200, nothing_wrong));
}

/// The failed entries: which, and why.
#[track_caller]
fn failures(answer: &Answer) -> Vec<(String, String)> {
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["isSuccessful"], &body["warnings"]),
        (400, &json!(false), &json!([]))
    );
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = body["errors"].as_array().unwrap().iter();
    errors
        .map(|error| (text(&error["deviceId"]), text(&error["errorCode"])))
        .collect()
}

#[tokio::test]
async fn devices_are_added_changed_and_removed_together() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let sas = json!({"type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}});
    let added = service
        .post(
            "/devices",
            &json!([
                {"id": "d1", "importMode": "create", "status": "enabled", "authentication": sas},
                {"id": "d2", "importMode": "create", "tags": {"floor": 3},
                 "properties": {"desired": {"a": 1}}},
                {"id": "d2", "moduleId": "m", "importMode": "Create"},
            ]),
        )
        .await;
    check_done(&added);
    let twin = emulator.twin("d2");
    assert_eq!(
        (&twin["tags"], &twin["properties"]["desired"]["a"]),
        (&json!({"floor": 3}), &json!(1))
    );
    assert_eq!(service.get("/devices/d2/modules/m").await.status, 200);
    let d1 = service.get("/devices/d1").await.json();
    assert_eq!(
        d1["authentication"]["symmetricKey"]["primaryKey"]
            .as_str()
            .unwrap()
            .len(),
        44
    );

    let changed = service
        .post(
            "/devices",
            &json!([
                {"id": "d1", "importMode": "UpdateIfMatchETag", "eTag": d1["etag"],
                 "status": "disabled"},
                {"id": "d2", "importMode": "updateTwin", "tags": {"floor": 4}},
                {"id": "d3", "importMode": "createOrUpdate"},
            ]),
        )
        .await;
    check_done(&changed);
    assert_eq!(emulator.twin("d1")["status"], "disabled");
    assert_eq!(emulator.twin("d2")["tags"], json!({"floor": 4}));

    let removed = service
        .post(
            "/devices",
            &json!([
                {"id": "d1", "importMode": "Delete"},
                {"id": "d2", "importMode": "delete"},
                {"id": "d3", "importMode": "Delete"},
            ]),
        )
        .await;
    check_done(&removed);
    assert_eq!(service.get("/devices").await.json(), json!([]));
}

#[tokio::test]
async fn what_cannot_be_done_is_named_and_the_rest_is_done() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("old");
    let answer = service
        .post(
            "/devices",
            &json!([
                {"id": "old", "importMode": "create"},
                {"id": "new", "importMode": "create"},
                {"id": "new", "importMode": "create"},
                {"id": "absent", "importMode": "Update"},
                {"id": "bad", "importMode": "create", "tags": {"a.b": 1}},
                {"id": "worse", "importMode": "replace"},
            ]),
        )
        .await;
    let expected = [
        ("old", "DeviceAlreadyExists"),
        ("new", "DeviceDefinedMultipleTimes"),
        ("absent", "DeviceNotFound"),
        ("bad", "ArgumentInvalid"),
        ("worse", "ArgumentInvalid"),
    ];
    assert_eq!(
        failures(&answer),
        expected.map(|(id, code)| (id.to_owned(), code.to_owned()))
    );
    assert_eq!(service.get("/devices/new").await.status, 200);
    assert_eq!(service.get("/devices/bad").await.status, 404);

    let stale = json!([
        {"id": "old", "importMode": "DeleteIfMatchETag", "eTag": "MDAw"},
        {"id": "new", "importMode": "updateTwinIfMatchETag", "twinETag": "MDAw", "tags": {"a": 1}},
    ]);
    let answer = service.post("/devices", &stale).await;
    let expected = [("old", "PreconditionFailed"), ("new", "PreconditionFailed")];
    assert_eq!(
        failures(&answer),
        expected.map(|(id, code)| (id.to_owned(), code.to_owned()))
    );
}

#[tokio::test]
async fn a_request_that_is_no_list_or_too_long_changes_nothing() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let many: Vec<Value> = (0..101)
        .map(|number| json!({"id": format!("d{number}"), "importMode": "create"}))
        .collect();
    for body in [json!({"id": "d1"}), json!(many)] {
        let (status, name, _) = service.post("/devices", &body).await.named_error();
        assert_eq!((status, name.as_str()), (400, "ArgumentInvalid"));
    }
    assert_eq!(service.get("/devices").await.json(), json!([]));
    let reader = emulator.policy_connection_string("registryRead").unwrap();
    let reader = Service::new(&emulator, &reader);
    assert_eq!(reader.post("/devices", &json!([])).await.status, 401);
}

#[tokio::test]
async fn a_removed_device_loses_its_connection() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let device = Device::connect(&emulator, "d1").await;
    let delete = json!([{"id": "d1", "importMode": "Delete"}]);
    check_done(&service.post("/devices", &delete).await);
    device.closed().await;
}
