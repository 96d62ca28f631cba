//! Messages from the cloud to a device.

use std::time::Duration;

use hub_emulator::{CloudToDeviceMessage, Emulator, EmulatorConfig, Feedback, Outcome};
use iot_hub::error::ErrorCode;
use iot_hub::identity::DeviceId;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish};

use crate::device::{Credentials, Device, TWIN_ANSWERS};
use crate::service::Service;

const MESSAGES: &str = "devices/d1/messages/devicebound/#";

async fn emulator() -> Emulator {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let _ = emulator.device("d1");
    emulator
}

fn d1() -> DeviceId {
    "d1".parse().unwrap()
}

fn message(payload: &'static str) -> CloudToDeviceMessage {
    CloudToDeviceMessage {
        payload: payload.into(),
        ..CloudToDeviceMessage::default()
    }
}

async fn waiting(emulator: &Emulator, count: u64) {
    emulator
        .watch_twin("d1", |twin| twin["cloudToDeviceMessageCount"] == count)
        .await;
}

/// The next packet, which must be a message for d1.
async fn next(device: &mut Device) -> Publish {
    match device.next().await {
        Some(Packet::Publish(publish)) => publish,
        other => panic!("expected a message, got {other:?}"),
    }
}

async fn acknowledge(device: &mut Device, publish: &Publish) {
    device.send(Packet::PubAck(PubAck::new(publish.pkid))).await;
}

#[tokio::test]
async fn a_message_waits_for_the_device_and_is_gone_when_it_was_acknowledged() {
    let emulator = emulator().await;
    let full = CloudToDeviceMessage {
        message_id: Some("abc".to_owned()),
        content_type: Some("text/plain".to_owned()),
        feedback: Some(Feedback::Full),
        properties: vec![("prop1".to_owned(), Some("val".to_owned()))],
        payload: "hello".into(),
        ..CloudToDeviceMessage::default()
    };
    emulator.send_to_device(&d1(), full).unwrap();
    let identity = Service::owner(&emulator).get("/devices/d1").await.json();
    assert_eq!(identity["cloudToDeviceMessageCount"], 1);

    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(MESSAGES).await;
    let first = next(&mut device).await;
    let topic = "devices/d1/messages/devicebound/%24.mid=abc&\
        %24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound&%24.ct=text%2Fplain&\
        iothub-ack=full&prop1=val";
    assert_eq!(first.topic, topic);
    assert_eq!(&first.payload[..], b"hello");
    assert_eq!((first.qos, first.dup), (QoS::AtLeastOnce, false));
    acknowledge(&mut device, &first).await;
    waiting(&emulator, 0).await;

    // To a device that listens, at once.
    emulator.send_to_device(&d1(), message("again")).unwrap();
    assert_eq!(&next(&mut device).await.payload[..], b"again");
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_on_the_next_connection() {
    let emulator = emulator().await;
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(MESSAGES).await;
    for payload in ["1", "2", "3"] {
        emulator.send_to_device(&d1(), message(payload)).unwrap();
    }
    let mut first_ids = Vec::new();
    for payload in ["1", "2", "3"] {
        let publish = next(&mut device).await;
        assert_eq!(&publish.payload[..], payload.as_bytes());
        first_ids.push(publish.pkid);
    }
    device.send(Packet::PubAck(PubAck::new(first_ids[1]))).await;
    waiting(&emulator, 2).await;

    // The subscription is kept, so nothing needs to be asked for. The older connection is over.
    let mut device = Device::connect(&emulator, "d1").await;
    for payload in ["1", "3"] {
        let publish = next(&mut device).await;
        assert_eq!(&publish.payload[..], payload.as_bytes());
        assert!(publish.dup && !first_ids.contains(&publish.pkid));
        acknowledge(&mut device, &publish).await;
    }
    waiting(&emulator, 0).await;
}

#[tokio::test]
async fn with_qos_0_a_message_is_gone_when_it_was_sent() {
    let emulator = emulator().await;
    emulator.send_to_device(&d1(), message("1")).unwrap();
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe_with(MESSAGES, QoS::AtMostOnce).await;
    let publish = next(&mut device).await;
    assert_eq!((publish.qos, publish.pkid), (QoS::AtMostOnce, 0));
    waiting(&emulator, 0).await;
}

#[tokio::test]
async fn the_queue_holds_fifty_and_not_what_has_expired() {
    let emulator = emulator().await;
    let expired = CloudToDeviceMessage {
        expiry: Some(Timestamp::now() - SignedDuration::from_secs(1)),
        ..message("late")
    };
    for _ in 0..50 {
        emulator.send_to_device(&d1(), expired.clone()).unwrap();
    }
    for _ in 0..50 {
        emulator.send_to_device(&d1(), message("x")).unwrap();
    }
    let full = emulator.send_to_device(&d1(), message("x")).unwrap_err();
    assert_eq!(full.code, Some(ErrorCode::DeviceMaximumQueueDepthExceeded));
    let unknown = "nobody".parse().unwrap();
    let unknown = emulator.send_to_device(&unknown, message("x")).unwrap_err();
    assert_eq!(unknown.code, Some(ErrorCode::DeviceNotFound));

    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(MESSAGES).await;
    for _ in 0..50 {
        assert_eq!(&next(&mut device).await.payload[..], b"x");
    }
}

#[tokio::test]
async fn a_device_that_did_not_subscribe_gets_none_and_a_clean_session_loses_none() {
    let emulator = emulator().await;
    let mut device = Device::connect(&emulator, "d1").await;
    emulator.send_to_device(&d1(), message("1")).unwrap();
    device.subscribe(TWIN_ANSWERS).await;
    device.twin().await;

    let clean = Credentials::new(&emulator.device("d1")).clean();
    let mut device = Device::connect_with(&emulator, &clean).await.unwrap();
    device.subscribe(MESSAGES).await;
    assert_eq!(&next(&mut device).await.payload[..], b"1");
}

#[tokio::test]
async fn what_a_device_keeps_to_itself_comes_again_on_the_same_connection() {
    let config = EmulatorConfig {
        message_lock: Duration::from_millis(300),
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(MESSAGES).await;
    emulator.send_to_device(&d1(), wished("kept")).unwrap();
    for delivery in 0..3 {
        let publish = next(&mut device).await;
        assert_eq!(&publish.payload[..], b"kept");
        assert_eq!(publish.dup, delivery > 0);
    }
    // Seven more, and then nobody tries any longer.
    waiting(&emulator, 0).await;
    let outcomes: Vec<_> = emulator
        .feedback()
        .iter()
        .map(|told| told.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::DeliveryCountExceeded]);
}

fn wished(payload: &'static str) -> CloudToDeviceMessage {
    CloudToDeviceMessage {
        message_id: Some(payload.to_owned()),
        feedback: Some(Feedback::Full),
        ..message(payload)
    }
}

#[tokio::test]
async fn senders_are_told_what_became_of_their_messages() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let feedback = "/messages/serviceBound/feedback";
    assert_eq!(service.get(feedback).await.status, 204);

    let soon = CloudToDeviceMessage {
        expiry: Some(Timestamp::now() + SignedDuration::from_millis(200)),
        ..wished("late")
    };
    emulator.send_to_device(&d1(), soon).unwrap();
    waiting(&emulator, 0).await;
    emulator.send_to_device(&d1(), wished("unwanted")).unwrap();
    emulator
        .send_to_device(&d1(), message("of no interest"))
        .unwrap();
    let purged = service.delete("/devices/d1/commands").await;
    assert_eq!(purged.json()["totalMessagesPurged"], 2);
    emulator.send_to_device(&d1(), wished("taken")).unwrap();
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(MESSAGES).await;
    let publish = next(&mut device).await;
    acknowledge(&mut device, &publish).await;
    waiting(&emulator, 0).await;

    let batch = service.get(feedback).await;
    let records = batch.json();
    let told = |field: &str| -> Vec<String> {
        let records = records.as_array().unwrap().iter();
        records
            .map(|record| record[field].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(told("originalMessageId"), ["late", "unwanted", "taken"]);
    assert_eq!(told("statusCode"), ["Expired", "Purged", "Success"]);
    assert_eq!(told("deviceId"), ["d1", "d1", "d1"]);
    let generation = service.get("/devices/d1").await.json()["generationId"].clone();
    assert_eq!(records[0]["deviceGenerationId"], generation);

    let token = batch.header("etag").unwrap().trim_matches('"').to_owned();
    let settle = |method: Method, path: String| {
        let service = &service;
        async move { service.call(method, &path, None, &[]).await.status }
    };
    assert_eq!(
        settle(Method::POST, format!("{feedback}/{token}/abandon")).await,
        204
    );
    // Given back, it is no longer that one's to remove.
    assert_eq!(
        settle(Method::DELETE, format!("{feedback}/{token}")).await,
        412
    );
    let token = service.get(feedback).await;
    let token = token.header("etag").unwrap().trim_matches('"').to_owned();
    assert_eq!(
        settle(Method::DELETE, format!("{feedback}/{token}")).await,
        204
    );
    assert_eq!(service.get(feedback).await.status, 204);
}
