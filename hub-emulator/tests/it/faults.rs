//! Faults on demand do what they say, and end when they are told to.

use std::time::{Duration, Instant};

use hub_emulator::{
    ConnectRefusal, Emulator, EmulatorConfig, Fault, MethodOutcome, Operation, Times,
};
use iot_hub::identity::ConnectionString;
use jiff::SignedDuration;
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet, PubAck};
use serde_json::{Value, json};

use crate::device::{Credentials, DEADLINE, Device, METHODS, TWIN_ANSWERS};
use crate::service::{Service, token};

async fn emulator() -> Emulator {
    Emulator::start(EmulatorConfig::default()).await.unwrap()
}

async fn ready_device(emulator: &Emulator) -> Device {
    let mut device = Device::connect(emulator, "d1").await;
    device.subscribe(METHODS).await;
    device.subscribe(TWIN_ANSWERS).await;
    device
}

#[tokio::test]
async fn the_next_reads_are_throttled_and_then_it_works_again() {
    let emulator = emulator().await;
    let _ = emulator.device("d1");
    let service = Service::owner(&emulator);
    let throttle = Fault::Answer {
        operation: Some(Operation::ServiceTwinRead),
        device: None,
        status: 429,
        retry_after: Some(Duration::from_secs(7)),
    };
    let fault = emulator.faults().inject(throttle, Times::Next(2));
    for _ in 0..2 {
        let answer = service.get("/twins/d1").await;
        assert_eq!(answer.header("retry-after"), Some("7"));
        let (status, name, _) = answer.named_error();
        assert_eq!((status, name.as_str()), (429, "ThrottlingException"));
    }
    assert_eq!(service.get("/twins/d1").await.status, 200);
    assert_eq!(emulator.faults().fired_so_far(fault), 2);
    // A refused read still costs one.
    assert_eq!(emulator.counters().service_twin_reads.total, 3);
}

#[tokio::test]
async fn each_status_has_the_hubs_own_error_and_only_the_wanted_headers() {
    let emulator = emulator().await;
    let _ = emulator.device("d1");
    let service = Service::owner(&emulator);
    for (status, expected) in [
        (429, "ThrottlingException"),
        (500, "ServerError"),
        (503, "ServiceUnavailable"),
    ] {
        let fault = Fault::Answer {
            operation: None,
            device: None,
            status,
            retry_after: None,
        };
        emulator.faults().inject(fault, Times::Next(1));
        let answer = service.get("/twins/d1").await;
        assert_eq!(answer.header("retry-after"), None);
        let (actual, name, _) = answer.named_error();
        assert_eq!((actual, name.as_str()), (status, expected));
    }
}

#[tokio::test]
async fn a_devices_twin_requests_can_be_refused_too() {
    let emulator = emulator().await;
    let mut device = ready_device(&emulator).await;
    let fault = |operation, status| Fault::Answer {
        operation: Some(operation),
        device: None,
        status,
        retry_after: None,
    };
    emulator
        .faults()
        .inject(fault(Operation::DeviceTwinUpdate, 500), Times::Next(1));
    let (status, _, error) = device.report(r#"{"a":1}"#).await;
    assert_eq!((status, &error["errorCode"]), (500, &json!(500_001)));
    assert_eq!(device.twin().await["reported"], json!({"$version": 1}));
    assert_eq!(device.report(r#"{"a":1}"#).await.0, 204);
}

#[tokio::test]
async fn a_lost_answer_is_504101_although_the_device_acted() {
    let config = EmulatorConfig {
        response_timeout_cap: Some(Duration::from_secs(2)),
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let service = Service::owner(&emulator);
    let mut device = ready_device(&emulator).await;
    let lost = emulator
        .faults()
        .inject(Fault::LoseMethodAnswer { device: None }, Times::Next(1));

    let (answer, ()) = tokio::join!(service.invoke("d1", "m", Value::Null), async {
        let (_, rid, _) = device.method().await;
        device.answer(&rid, 200, "").await;
        emulator.faults().fired(lost, 1).await;
    });
    assert_eq!(answer.nested_error().2["errorCode"], 504_101);

    let (answer, ()) = tokio::join!(service.invoke("d1", "m", Value::Null), async {
        let (_, rid, _) = device.method().await;
        device.answer(&rid, 200, "").await;
    });
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_redelivered_method_comes_twice_and_the_first_answer_counts() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = ready_device(&emulator).await;
    emulator
        .faults()
        .inject(Fault::RedeliverMethod { device: None }, Times::Next(1));

    let (answer, ()) = tokio::join!(service.invoke("d1", "reboot", json!({"id": 1})), async {
        let first = device.method().await;
        let second = device.method().await;
        assert_ne!(first.1, second.1);
        assert_eq!((&first.0, &first.2), (&second.0, &second.2));
        device.answer(&second.1, 200, "2").await;
        device.answer(&first.1, 200, "1").await;
    });
    assert_eq!(answer.json()["payload"], 2);
    let records = emulator.methods();
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].deliveries, records[0].outcome),
        (2, MethodOutcome::Answered(200))
    );
}

#[tokio::test]
async fn withheld_answers_arrive_when_released() {
    let emulator = emulator().await;
    let mut device = ready_device(&emulator).await;
    let id: iot_hub::identity::DeviceId = "d1".parse().unwrap();
    let faults = emulator.faults();
    let acks = faults.inject(Fault::WithholdAcks { device: id.clone() }, Times::Always);
    let answers = faults.inject(Fault::WithholdTwinAnswers { device: id }, Times::Always);

    let topic = "$iothub/twin/PATCH/properties/reported/?$rid=r";
    let packet_id = device.publish_qos1(topic, r#"{"a":1}"#).await;
    faults.fired(answers, 1).await;
    assert_eq!(faults.fired_so_far(acks), 1);
    // The hub has it; the device hears nothing of it, but lives.
    assert_eq!(emulator.twin("d1")["properties"]["reported"]["a"], 1);
    device.send(Packet::PingReq).await;
    assert_eq!(device.next().await, Some(Packet::PingResp));

    faults.remove(answers);
    let (topic, _) = device.message().await;
    assert_eq!(topic.to_string(), "$iothub/twin/res/204/?$rid=r&$version=2");
    faults.clear();
    assert_eq!(
        device.next().await,
        Some(Packet::PubAck(PubAck::new(packet_id)))
    );
}

#[tokio::test]
async fn however_much_was_withheld_is_released() {
    const MESSAGES: u16 = 300;
    let emulator = emulator().await;
    let mut device = Device::connect(&emulator, "d1").await;
    let device_id = "d1".parse().unwrap();
    let fault = Fault::WithholdAcks { device: device_id };
    let fault = emulator.faults().inject(fault, Times::Always);
    for number in 1..=MESSAGES {
        let topic = "devices/d1/messages/events/";
        assert_eq!(device.publish_qos1(topic, "").await, number);
    }
    emulator.faults().fired(fault, MESSAGES.into()).await;
    emulator.faults().remove(fault);
    for number in 1..=MESSAGES {
        device.acknowledged(number).await;
    }
}

#[tokio::test]
async fn connects_are_refused_as_asked() {
    let emulator = emulator().await;
    let credentials = Credentials::new(&emulator.device("d1"));
    for (refusal, code) in [
        (
            ConnectRefusal::ServerUnavailable,
            ConnectReturnCode::ServiceUnavailable,
        ),
        (
            ConnectRefusal::NotAuthorized,
            ConnectReturnCode::NotAuthorized,
        ),
    ] {
        let device = Some("d1".parse().unwrap());
        emulator
            .faults()
            .inject(Fault::RefuseConnect { device, refusal }, Times::Next(1));
        let refused = Device::connect_with(&emulator, &credentials).await.err();
        assert_eq!(refused, Some(code));
    }
    assert!(Device::connect_with(&emulator, &credentials).await.is_ok());
}

#[tokio::test]
async fn a_cut_device_is_gone_and_may_come_back() {
    let emulator = emulator().await;
    let device = ready_device(&emulator).await;
    assert!(emulator.faults().cut("d1"));
    device.closed().await;
    assert!(!emulator.faults().cut("d1") && !emulator.faults().cut("nobody"));
    assert!(Device::connect(&emulator, "d1").await.session_present);
}

#[tokio::test]
async fn a_hub_that_forgets_sessions_says_so_on_the_next_connect() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _device = ready_device(&emulator).await;
    emulator.faults().forget_sessions();
    let device = Device::connect(&emulator, "d1").await;
    assert!(!device.session_present);
    assert_eq!(service.invoke("d1", "m", Value::Null).await.status, 404);
}

#[tokio::test]
async fn an_unreachable_hub_cuts_everyone_off_until_it_resumes() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let device = ready_device(&emulator).await;
    assert_eq!(service.get("/devices").await.status, 200);

    emulator.faults().pause();
    device.closed().await;
    let request = service.bare(reqwest::Method::GET, "/devices?api-version=2021-04-12");
    assert!(Service::answer(request).await.is_err());

    emulator.faults().resume();
    assert_eq!(service.get("/devices").await.status, 200);
    assert!(Device::connect(&emulator, "d1").await.session_present);
}

#[tokio::test]
async fn a_delay_holds_up_what_it_names() {
    let emulator = emulator().await;
    let _ = emulator.device("d1");
    let service = Service::owner(&emulator);
    let by = Duration::from_millis(200);
    let delay = Fault::Delay {
        operation: Some(Operation::ServiceTwinRead),
        device: None,
        by,
    };
    emulator.faults().inject(delay, Times::Next(1));
    let start = Instant::now();
    assert_eq!(service.get("/twins/d1").await.status, 200);
    assert!(start.elapsed() >= by);
}

/// Later than any clock can say.
const FOR_EVER: Duration = Duration::MAX;

fn delayed(operation: Operation, by: Duration) -> Fault {
    Fault::Delay {
        operation: Some(operation),
        device: None,
        by,
    }
}

#[tokio::test]
async fn a_delayed_twin_request_holds_up_nothing_but_those_behind_it() {
    let emulator = emulator().await;
    let mut device = ready_device(&emulator).await;
    let service = Service::owner(&emulator);
    let delay = delayed(Operation::DeviceTwinRead, FOR_EVER);
    emulator.faults().inject(delay, Times::Next(1));
    device.publish("$iothub/twin/GET/?$rid=1", " ").await;
    let patch = "$iothub/twin/PATCH/properties/reported/?$rid=2";
    device.publish(patch, r#"{"a":1}"#).await;

    device.send(Packet::PingReq).await;
    assert_eq!(device.next().await, Some(Packet::PingResp));
    let call = service.invoke("d1", "m", Value::Null);
    let answer = async {
        let (_, rid, _) = device.method().await;
        device.answer(&rid, 200, "1").await;
    };
    let (called, ()) = tokio::join!(call, answer);
    assert_eq!(called.json(), json!({"status": 200, "payload": 1}));
    assert_eq!(emulator.twin("d1")["properties"]["reported"].get("a"), None);

    assert!(emulator.faults().cut("d1"));
    device.closed().await;
}

#[tokio::test]
async fn no_more_than_sixteen_delayed_requests_are_held() {
    let emulator = emulator().await;
    let mut device = ready_device(&emulator).await;
    let delay = delayed(Operation::DeviceTwinRead, FOR_EVER);
    let delay = emulator.faults().inject(delay, Times::Always);
    for number in 0..40 {
        let topic = format!("$iothub/twin/GET/?$rid={number}");
        device.publish(&topic, " ").await;
    }
    emulator.faults().fired(delay, 16).await;
    assert!(emulator.faults().cut("d1"));
    device.closed().await;
    assert_eq!(emulator.counters().device_twin_reads.total, 16);
}

#[tokio::test]
async fn what_was_delayed_is_done_although_the_device_went() {
    let emulator = emulator().await;
    let mut device = ready_device(&emulator).await;
    let delay = delayed(Operation::DeviceTwinUpdate, Duration::from_millis(200));
    emulator.faults().inject(delay, Times::Always);
    let patch = "$iothub/twin/PATCH/properties/reported/?$rid=1";
    device.publish(patch, r#"{"a":1}"#).await;
    device.send(Packet::Disconnect).await;
    device.closed().await;
    assert_eq!(emulator.twin("d1")["properties"]["reported"]["a"], 1);
}

#[tokio::test]
async fn a_fault_of_one_device_leaves_the_others_alone() {
    let emulator = emulator().await;
    let (_, _) = (emulator.device("d1"), emulator.device("d2"));
    let service = Service::owner(&emulator);
    let fault = Fault::Answer {
        operation: None,
        device: Some("d1".parse().unwrap()),
        status: 503,
        retry_after: None,
    };
    let fault = emulator.faults().inject(fault, Times::Always);
    assert_eq!(service.get("/twins/d2").await.status, 200);
    assert_eq!(service.get("/devices").await.status, 200);
    let (status, name, _) = service.get("/twins/d1").await.named_error();
    assert_eq!((status, name.as_str()), (503, "ServiceUnavailable"));
    assert_eq!(service.get("/devices/d1").await.status, 503);
    assert_eq!(emulator.faults().fired_so_far(fault), 2);
}

#[tokio::test]
async fn a_clock_that_is_wrong_refuses_good_tokens_and_takes_old_ones() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let credentials = Credentials::new(&emulator.device("d1"));
    let skew = |device: Option<&str>, by| Fault::SkewClock {
        device: device.map(|device| device.parse().unwrap()),
        by,
    };
    // The tokens here last an hour.
    let ahead = SignedDuration::from_hours(2);
    let faults = emulator.faults();

    let fault = faults.inject(skew(Some("d1"), ahead), Times::Next(1));
    assert_eq!(service.get("/devices/d1").await.status, 200);
    let refused = Device::connect_with(&emulator, &credentials).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized));
    assert_eq!(faults.fired_so_far(fault), 1);
    assert!(Device::connect_with(&emulator, &credentials).await.is_ok());

    let fault = faults.inject(skew(None, ahead), Times::Always);
    assert_eq!(service.get("/devices/d1").await.status, 401);
    assert!(faults.remove(fault));
    assert_eq!(service.get("/devices/d1").await.status, 200);

    // A token that ended an hour ago is good for a hub whose clock is two behind.
    let ConnectionString::Service(owner) = emulator.owner_connection_string().parse().unwrap()
    else {
        panic!("a service's connection string");
    };
    let old = token(&owner, SignedDuration::from_hours(-1)).to_string();
    let late = Service::with_token(&emulator, &old);
    assert_eq!(late.get("/devices/d1").await.status, 401);
    faults.inject(skew(None, -ahead), Times::Next(1));
    assert_eq!(late.get("/devices/d1").await.status, 200);
    assert_eq!(late.get("/devices/d1").await.status, 401);
}

/// The tag `t` of each device, as a query finds it.
async fn queried(service: &Service) -> Value {
    let query = json!({"query": "SELECT deviceId, tags.t FROM devices"});
    service.post("/devices/query", &query).await.json()
}

#[tokio::test]
async fn queries_lag_behind_and_single_reads_do_not() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");
    let set = async |device: &str, tag: u32| {
        let path = format!("/twins/{device}");
        let answer = service.patch(&path, &json!({"tags": {"t": tag}})).await;
        assert_eq!(answer.json()["tags"]["t"], tag);
    };
    set("d1", 1).await;
    let faults = emulator.faults();
    let hour = Duration::from_secs(3600);
    let fault = faults.inject(Fault::DelayQueries { by: hour }, Times::Always);
    let before = json!([{"deviceId": "d1", "t": 1}]);
    set("d1", 2).await;
    let _ = emulator.device("d2");
    assert_eq!(queried(&service).await, before);
    assert_eq!(service.get("/twins/d1").await.json()["tags"]["t"], 2);
    assert_eq!(service.delete("/devices/d1").await.status, 204);
    assert_eq!(queried(&service).await, before);
    assert_eq!(faults.fired_so_far(fault), 2);
    faults.clear();
    assert_eq!(queried(&service).await, json!([{"deviceId": "d2"}]));

    // A short lag is made up for by itself.
    let by = Duration::from_millis(300);
    faults.inject(Fault::DelayQueries { by }, Times::Always);
    let start = Instant::now();
    set("d2", 3).await;
    let after = json!([{"deviceId": "d2", "t": 3}]);
    while queried(&service).await != after {
        assert!(start.elapsed() < DEADLINE, "the query never catches up");
    }
    assert!(start.elapsed() >= by);
}
