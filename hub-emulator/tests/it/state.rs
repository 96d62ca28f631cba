//! What outlives the emulator when a state file is named.

use std::path::Path;

use hub_emulator::{CloudToDeviceMessage, Emulator, EmulatorConfig};
use reqwest::Method;
use rumqttc::mqttbytes::v4::Packet;
use serde_json::{Value, json};

use crate::device::{Credentials, DESIRED, Device, METHODS, TWIN_ANSWERS};
use crate::service::Service;
use crate::tool::{Running, read_when_there, start};

async fn start_with(path: &Path) -> Emulator {
    let config = EmulatorConfig {
        state_file: Some(path.to_owned()),
        ..EmulatorConfig::default()
    };
    Emulator::start(config).await.unwrap()
}

#[tokio::test]
async fn a_device_goes_on_as_if_the_hub_had_not_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let emulator = start_with(&path).await;
    let owner = emulator.owner_connection_string();
    let credentials = Credentials::new(&emulator.device("d1"));
    let mut device = Device::connect_with(&emulator, &credentials).await.unwrap();
    for filter in [METHODS, TWIN_ANSWERS, DESIRED] {
        device.subscribe(filter).await;
    }
    assert_eq!(device.report(r#"{"on":true}"#).await.0, 204);
    let message = CloudToDeviceMessage {
        payload: "hello".into(),
        ..CloudToDeviceMessage::default()
    };
    let id = "d1".parse().unwrap();
    emulator.send_to_device(&id, message).unwrap();
    let before = emulator.twin("d1");
    emulator.shutdown().await;

    let emulator = start_with(&path).await;
    assert_eq!(emulator.owner_connection_string(), owner);
    let after = emulator.twin("d1");
    assert_eq!(after["connectionState"], "Disconnected");
    for part in ["etag", "version", "tags", "properties"] {
        assert_eq!(after[part], before[part], "{part}");
    }
    // The token of before still opens the door, and nothing needs to be subscribed to again.
    let mut device = Device::connect_with(&emulator, &credentials).await.unwrap();
    assert!(device.session_present);
    let twin = device.twin().await;
    assert_eq!(twin["reported"], json!({"on": true, "$version": 2}));
    emulator.callable("d1").await;
    device.subscribe("devices/d1/messages/devicebound/#").await;
    match device.next().await {
        Some(Packet::Publish(publish)) => assert_eq!(&publish.payload[..], b"hello"),
        other => panic!("expected the message, got {other:?}"),
    }
}

#[tokio::test]
async fn a_clean_session_and_a_deleted_device_do_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let emulator = start_with(&path).await;
    let clean = Credentials::new(&emulator.device("d1")).clean();
    let kept = Credentials {
        clean_session: false,
        ..clean.clone()
    };
    let mut device = Device::connect_with(&emulator, &clean).await.unwrap();
    device.subscribe(METHODS).await;
    let _ = emulator.device("d2");
    let any = [("If-Match", "*")];
    let deleted = Service::owner(&emulator)
        .call(Method::DELETE, "/devices/d2", None, &any)
        .await;
    assert_eq!(deleted.status, 204);
    emulator.shutdown().await;

    let emulator = start_with(&path).await;
    assert!(emulator.twin("d2").is_null());
    let device = Device::connect_with(&emulator, &kept).await.unwrap();
    assert!(!device.session_present);
}

fn start_program(folder: &Path, ready_name: &str) -> (Running, Value) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (state, ca_dir, ready) = (path("state"), path("ca"), path(ready_name));
    let arguments = [
        "--https-port",
        "0",
        "--mqtt-port",
        "0",
        "--state",
        &state,
        "--ca-dir",
        &ca_dir,
        "--ready-file",
        &ready,
    ];
    let running = start(&arguments);
    let ready = read_when_there(ready.as_ref());
    (running, ready)
}

#[tokio::test]
async fn what_was_confirmed_before_the_program_was_killed_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut running, ready) = start_program(folder.path(), "ready-1.json");
    let service = Service::of_ready_file(&ready);
    let later = json!({
        "type": "scheduleUpdateTwin", "updateTwin": {"etag": "*", "tags": {"a": 1}},
        "queryCondition": "*", "startTime": "2099-01-01T00:00:00Z",
    });
    assert_eq!(service.put("/jobs/v2/later", &later).await.status, 200);
    let configuration = json!({
        "targetCondition": "tags.site = 'n'", "content": {"deviceContent": {"properties.desired.c": 1}},
    });
    let configured = service.put("/configurations/c1", &configuration).await;
    assert_eq!(configured.status, 200);
    let mut confirmed = 0_u64;
    let mut number = 0_u64;
    // Killed in the middle of the changes, wherever it then stands.
    loop {
        number += 1;
        let body = json!({"tags": {"number": number}});
        let change = service.try_call(Method::PATCH, "/twins/device-1", Some(&body), &[]);
        let (answer, ()) = tokio::join!(change, async {
            if number == 40 {
                running.0.kill().unwrap();
            }
        });
        match answer {
            Ok(answer) if answer.status == 200 => confirmed = number,
            Ok(answer) => panic!("{answer:?}"),
            Err(_) => break,
        }
    }
    running.0.wait().unwrap();
    assert!(confirmed >= 39);

    let (_running, again) = start_program(folder.path(), "ready-2.json");
    for same in [
        "ownerConnectionString",
        "serviceConnectionString",
        "devices",
    ] {
        assert_eq!(again[same], ready[same], "{same}");
    }
    let service = Service::of_ready_file(&again);
    let job = service.get("/jobs/v2/later").await.json();
    assert_eq!(
        (&job["status"], &job["startTime"]),
        (&json!("queued"), &json!("2099-01-01T00:00:00.0000000Z"))
    );
    let kept = service.get("/configurations/c1").await.json();
    assert_eq!(
        (&kept["etag"], &kept["content"]),
        (&configured.json()["etag"], &configured.json()["content"])
    );
    let twin = service.get("/twins/device-1").await;
    let found = twin.json()["tags"]["number"].as_u64().unwrap();
    // The change in flight when it was killed may be there or not.
    assert!((confirmed..=number).contains(&found), "{confirmed} {found}");
}
