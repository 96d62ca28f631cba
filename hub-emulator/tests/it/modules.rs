//! Modules: identities of their own under a device, with a twin, methods and a connection.

use hub_emulator::{Emulator, EmulatorConfig};
use iot_hub::sas::{SasToken, SharedKey};
use jiff::{SignedDuration, Timestamp};
use rumqttc::mqttbytes::v4::SubscribeReasonCode;
use serde_json::json;

use crate::device::{Credentials, Device, METHODS, TWIN_ANSWERS};
use crate::service::Service;

#[tokio::test]
async fn a_module_is_registered_connects_and_is_called_like_a_device() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");
    let path = "/devices/d1/modules/m1";
    let request = json!({"deviceId": "d1", "moduleId": "m1", "managedBy": "me"});
    let created = service.put(path, &request).await.json();
    assert_eq!(
        (&created["moduleId"], &created["managedBy"]),
        (&json!("m1"), &json!("me"))
    );

    let key = &created["authentication"]["symmetricKey"]["primaryKey"];
    let key: SharedKey = key.as_str().unwrap().parse().unwrap();
    let expiry = Timestamp::now() + SignedDuration::from_hours(1);
    let token = SasToken::sign("localhost/devices/d1/modules/m1", &key, None, expiry);
    let credentials = Credentials {
        client_id: "d1/m1".to_owned(),
        username: "localhost/d1/m1/?api-version=2021-04-12".to_owned(),
        password: token.to_string(),
        clean_session: false,
        keep_alive: 60,
        will: None,
    };
    let mut module = Device::connect_with(&emulator, &credentials).await.unwrap();
    module.subscribe(TWIN_ANSWERS).await;
    module.subscribe(METHODS).await;
    // Granted in both forms that SDKs ask for, and another module's in none.
    for (filter, granted) in [
        ("devices/d1/modules/m1/inputs/#", true),
        ("devices/d1/modules/m1/#", true),
        ("devices/d1/modules/m2/inputs/#", false),
    ] {
        let code = module.subscribe(filter).await;
        assert_eq!(code != SubscribeReasonCode::Failure, granted, "{filter}");
    }
    module.report(r#"{"a":1}"#).await;
    let twin = service.get("/twins/d1/modules/m1").await.json();
    assert_eq!(
        (&twin["moduleId"], &twin["properties"]["reported"]["a"]),
        (&json!("m1"), &json!(1))
    );
    assert!(service.get("/twins/d1").await.json()["properties"]["reported"]["a"].is_null());

    let body = json!({"methodName": "m"});
    let call = service.post("/twins/d1/modules/m1/methods", &body);
    let (answer, ()) = tokio::join!(call, async {
        let (_, rid, _) = module.method().await;
        module.answer(&rid, 200, "").await;
    });
    assert_eq!(answer.status, 200);

    let topic = "devices/d1/modules/m1/messages/events/%24.on=out";
    let packet_id = module.publish_qos1(topic, "x").await;
    module.acknowledged(packet_id).await;
    let telemetry = emulator.telemetry();
    assert_eq!(
        telemetry[0]
            .module
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("m1")
    );
}

#[tokio::test]
async fn a_module_needs_its_device_and_exists_once() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let service = Service::owner(&emulator);
    let request = json!({});
    let path = "/devices/d1/modules/m1";
    let (status, name, _) = service.put(path, &request).await.named_error();
    assert_eq!((status, name.as_str()), (404, "DeviceNotFound"));
    let _ = emulator.device("d1");
    let (status, name, _) = service.get("/twins/d1/modules/m1").await.named_error();
    assert_eq!((status, name.as_str()), (404, "ModuleNotFound"));
    assert_eq!(service.put(path, &request).await.status, 200);
    let (status, name, _) = service.put(path, &request).await.named_error();
    assert_eq!(
        (status, name.as_str()),
        (409, "ModuleAlreadyExistsOnDevice")
    );

    let modules = service.get("/devices/d1/modules").await.json();
    assert_eq!(
        (modules.as_array().unwrap().len(), &modules[0]["moduleId"]),
        (1, &json!("m1"))
    );
    // Modules are no devices.
    assert_eq!(
        service
            .get("/devices")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        service.get("/statistics/devices").await.json()["totalDeviceCount"],
        1
    );
}
