//! Messages from the cloud to a device.

use hub_emulator::{CloudToDeviceMessage, Emulator, EmulatorConfig, Feedback};
use iot_hub::error::ErrorCode;
use iot_hub::identity::DeviceId;
use jiff::{SignedDuration, Timestamp};
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
