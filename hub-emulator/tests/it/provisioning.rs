//! The provisioning service, over MQTT and with the credentials of devices.

use std::time::Duration;

use hub_emulator::{
    Emulator, EmulatorConfig, Enrollee, Enrollment, Fault, Operation, ProvisioningSetup,
    SetupCredentials, Times,
};
use iot_hub::provisioning::{ANSWERS, IdScope, RegistrationId, token};
use iot_hub::sas::SharedKey;
use jiff::{SignedDuration, Timestamp};
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, SubscribeReasonCode};
use serde_json::{Value, json};

use crate::device::{Credentials, Device};

const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/?$rid=1";

fn key(byte: u8) -> SharedKey {
    SharedKey::from_bytes(vec![byte; 32]).unwrap()
}

fn by_key(id: &str) -> Enrollment {
    let credentials = SetupCredentials::Keys {
        primary: Some(key(1)),
        secondary: Some(key(2)),
    };
    Enrollment::new(Enrollee::Device(id.parse().unwrap()), credentials)
}

async fn emulator() -> Emulator {
    let provisioning = ProvisioningSetup {
        enrollments: vec![by_key("pump-1")],
        ..ProvisioningSetup::default()
    };
    let config = EmulatorConfig {
        provisioning,
        ..EmulatorConfig::default()
    };
    Emulator::start(config).await.unwrap()
}

fn credentials(scope: &str, id: &str, key: &SharedKey) -> Credentials {
    with_token_for(scope, id, key, SignedDuration::from_hours(1))
}

fn with_token_for(scope: &str, id: &str, key: &SharedKey, life: SignedDuration) -> Credentials {
    let (scope, id): (IdScope, RegistrationId) = (scope.parse().unwrap(), id.parse().unwrap());
    let expiry = Timestamp::now() + life;
    Credentials {
        client_id: id.to_string(),
        username: format!("{scope}/registrations/{id}/api-version=2019-03-31"),
        password: token(&scope, &id, key, expiry).to_string(),
        clean_session: true,
        keep_alive: 60,
        will: None,
    }
}

/// A device that has said who it is.
async fn registering(emulator: &Emulator, id: &str) -> Device {
    let credentials = credentials("0ne00000000", id, &key(2));
    Device::connect_with(emulator, &credentials).await.unwrap()
}

/// Asks, and returns the topic and body of the answer.
async fn ask(device: &mut Device, topic: &str, body: &str) -> (String, Value) {
    device.publish(topic, body).await;
    match device.next().await {
        Some(Packet::Publish(answer)) => {
            let body = serde_json::from_slice(&answer.payload).unwrap();
            (answer.topic, body)
        }
        other => panic!("expected an answer, got {other:?}"),
    }
}

/// Registers a connected device, and returns what became of it.
pub(crate) async fn register(device: &mut Device, id: &str) -> Value {
    device.subscribe(ANSWERS).await;
    let body = json!({ "registrationId": id }).to_string();
    let (topic, answer) = ask(device, REGISTER, &body).await;
    assert_eq!(topic, "$dps/registrations/res/202/?$rid=1&retry-after=3");
    let operation = answer["operationId"].as_str().unwrap();
    let status = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=";
    let (topic, answer) = ask(device, &format!("{status}{operation}"), " ").await;
    assert_eq!(topic, "$dps/registrations/res/200/?$rid=2");
    answer
}

#[tokio::test]
async fn a_registered_device_may_connect_to_the_hub_with_the_same_key() {
    let emulator = emulator().await;
    let mut device = registering(&emulator, "pump-1").await;
    let answer = register(&mut device, "pump-1").await;
    assert_eq!(answer["status"], "assigned");
    assert_eq!(answer["registrationState"]["assignedHub"], "localhost");
    let key = key(1).to_base64();
    let connection = format!("HostName=localhost;DeviceId=pump-1;SharedAccessKey={key}");
    let connected = Device::connect_with(&emulator, &Credentials::new(&connection)).await;
    assert!(connected.is_ok());
    assert_eq!(emulator.counters().registrations.total, 2);
}

#[tokio::test]
async fn whoever_is_not_enrolled_is_not_let_in() {
    let emulator = emulator().await;
    for wrong in [
        credentials("0ne00000001", "pump-1", &key(1)),
        credentials("0ne00000000", "pump-2", &key(1)),
        credentials("0ne00000000", "pump-1", &key(3)),
        Credentials {
            client_id: "pump-2".to_owned(),
            ..credentials("0ne00000000", "pump-1", &key(1))
        },
        Credentials {
            password: String::new(),
            ..credentials("0ne00000000", "pump-1", &key(1))
        },
    ] {
        let refused = Device::connect_with(&emulator, &wrong).await;
        assert_eq!(refused.err(), Some(ConnectReturnCode::NotAuthorized));
    }
}

#[tokio::test]
async fn a_device_whose_clock_is_late_registers_all_the_same() {
    let emulator = emulator().await;
    let credentials = |life| {
        with_token_for(
            "0ne00000000",
            "pump-1",
            &key(1),
            SignedDuration::from_mins(life),
        )
    };
    let mut device = Device::connect_with(&emulator, &credentials(-4))
        .await
        .unwrap();
    assert_eq!(register(&mut device, "pump-1").await["status"], "assigned");
    let late = Device::connect_with(&emulator, &credentials(-6)).await;
    assert_eq!(late.err(), Some(ConnectReturnCode::NotAuthorized));

    // An hour late, and so is the service.
    let by = SignedDuration::from_hours(-1);
    let skew = Fault::SkewClock { device: None, by };
    emulator.faults().inject(skew, Times::Next(1));
    let mut device = Device::connect_with(&emulator, &credentials(-60))
        .await
        .unwrap();
    assert_eq!(register(&mut device, "pump-1").await["status"], "assigned");
}

#[tokio::test]
async fn a_disabled_device_is_told_so() {
    let emulator = emulator().await;
    let mut device = registering(&emulator, "pump-1").await;
    emulator.enroll(Enrollment {
        enabled: false,
        ..by_key("pump-1")
    });
    assert_eq!(register(&mut device, "pump-1").await["status"], "disabled");
    assert!(emulator.twin("pump-1").is_null());
}

#[tokio::test]
async fn a_busy_service_says_how_long_to_wait() {
    let emulator = emulator().await;
    let mut device = registering(&emulator, "pump-1").await;
    let busy = Fault::Answer {
        operation: Some(Operation::Registration),
        device: None,
        status: 429,
        retry_after: Some(Duration::from_secs(7)),
    };
    emulator.faults().inject(busy, Times::Next(1));
    device.subscribe(ANSWERS).await;
    let (topic, answer) = ask(&mut device, REGISTER, r#"{"registrationId":"pump-1"}"#).await;
    assert_eq!(topic, "$dps/registrations/res/429/?$rid=1&retry-after=7");
    assert_eq!(answer["errorCode"], 429_001);
    register(&mut device, "pump-1").await;
}

#[tokio::test]
async fn nothing_but_registrations_is_published_there() {
    let emulator = emulator().await;
    for topic in [
        "devices/pump-1/messages/events/",
        "$dps/registrations/PUT/?$rid=1",
    ] {
        let mut device = registering(&emulator, "pump-1").await;
        device.publish(topic, "{}").await;
        device.closed().await;
    }
    let mut device = registering(&emulator, "pump-1").await;
    for filter in ["#", "$iothub/methods/POST/#"] {
        let code = device.subscribe(filter).await;
        assert_eq!(code, SubscribeReasonCode::Failure, "{filter}");
    }
}
