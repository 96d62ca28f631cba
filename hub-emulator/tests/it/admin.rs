//! The admin API: everything that a test in another language needs, and nobody else gets in.

use std::time::{Duration, Instant};

use hub_emulator::{Emulator, EmulatorConfig, Fault, Operation, Times};
use reqwest::{Client, Method, StatusCode};
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet};
use serde_json::{Value, json};

use crate::device::{Credentials, DEADLINE, Device, METHODS, TWIN_ANSWERS};
use crate::service::Service;

/// A client that speaks to the admin API as any language would.
pub(crate) struct Admin {
    client: Client,
    url: String,
}

impl Admin {
    fn new(emulator: &Emulator) -> Self {
        Self {
            client: Client::builder().no_proxy().build().unwrap(),
            url: emulator.admin_url().unwrap(),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Injects a fault and returns its number.
    async fn inject(&self, fault: Value) -> u64 {
        let (status, injected) = self.ask(Method::POST, "api/faults", Some(fault)).await;
        assert_eq!(status, 201, "{injected}");
        injected["id"].as_u64().unwrap()
    }

    /// The fields that an error names, and its status.
    async fn errors(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Vec<Value>) {
        let (status, body) = self.ask(method, path, body).await;
        let errors = body["errors"].as_array().expect("errors");
        assert!(errors.iter().all(|error| error["message"].is_string()));
        let fields = errors.iter().map(|error| error["field"].clone());
        (status, fields.collect())
    }
}

pub(crate) async fn start() -> (Emulator, Admin) {
    let config = EmulatorConfig {
        admin_port: Some(0),
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let admin = Admin::new(&emulator);
    (emulator, admin)
}

#[tokio::test]
async fn it_is_there_only_when_asked_for_and_on_this_machine_alone() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    assert_eq!((emulator.admin_port(), emulator.admin_url()), (None, None));
    let everywhere = EmulatorConfig {
        listen: "0.0.0.0".parse().unwrap(),
        admin_port: Some(0),
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(everywhere).await.unwrap();
    let url = emulator.admin_url().unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(
        Admin::new(&emulator).get("api").await["hostName"],
        "localhost"
    );
}

#[tokio::test]
async fn pages_of_other_origins_and_rebound_names_are_kept_out() {
    let (emulator, admin) = start().await;
    let port = emulator.admin_port().unwrap();
    let status = async |method: Method, headers: &[(&str, &str)]| {
        let url = format!("{}api/faults", admin.url);
        let mut request = admin.client.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request
            .body(r#"{"fault":"redeliverMethod"}"#)
            .send()
            .await
            .unwrap();
        assert_eq!(
            response.headers()["cross-origin-resource-policy"],
            "same-origin"
        );
        assert!(
            !response
                .headers()
                .contains_key("access-control-allow-origin")
        );
        response.status()
    };
    let rebound = format!("evil.example:{port}");
    for headers in [
        &[("Host", rebound.as_str())][..],
        &[("Host", &rebound), ("Origin", &format!("http://{rebound}"))],
        &[("Origin", "http://evil.example")],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
    ] {
        assert_eq!(
            status(Method::POST, headers).await,
            StatusCode::FORBIDDEN,
            "{headers:?}"
        );
    }
    assert_eq!(
        status(Method::GET, &[("Host", &rebound)]).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(emulator.faults().list(), []);
    let own = format!("http://localhost:{port}");
    let headers = [
        ("Host", &own[7..]),
        ("Origin", own.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
    ];
    assert_eq!(status(Method::POST, &headers).await, StatusCode::CREATED);
}

#[tokio::test]
async fn counters_tell_what_a_client_cost() {
    let (emulator, admin) = start().await;
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(TWIN_ANSWERS).await;
    device.twin().await;
    for _ in 0..3 {
        service.get("/twins/d1").await;
    }
    let counters = admin.get("api/counters").await;
    assert_eq!(counters["serviceTwinReads"]["total"], 3);
    assert!(counters["serviceTwinReads"]["busiestSecond"].as_u64() >= Some(1));
    assert_eq!(counters["deviceTwinReads"]["total"], 1);
    assert_eq!(counters["connectsAccepted"]["total"], 1);
    // Being looked at costs nothing.
    admin.get("api/devices/d1/twin").await;
    assert_eq!(admin.get("api/counters").await, counters);
    assert_eq!(admin.ask(Method::DELETE, "api/counters", None).await.0, 204);
    assert_eq!(
        admin.get("api/counters").await["serviceTwinReads"]["total"],
        0
    );
}

#[tokio::test]
async fn devices_are_listed_found_and_waited_for() {
    let (emulator, admin) = start().await;
    for device in ["lamp", "pump-1", "pump-2"] {
        let _ = emulator.device(device);
    }
    let owner = Service::owner(&emulator);
    let module = json!({"deviceId": "lamp", "moduleId": "m"});
    assert_eq!(
        owner.put("/devices/lamp/modules/m", &module).await.status,
        200
    );
    let connected = async {
        let waited = admin
            .get("api/devices/pump-2?until=callable&within=20s")
            .await;
        assert_eq!(
            (&waited["connected"], &waited["callable"]),
            (&json!(true), &json!(true))
        );
    };
    let connect = async {
        let mut device = Device::connect(&emulator, "pump-2").await;
        device.subscribe(METHODS).await;
        device
    };
    let ((), device) = tokio::join!(connected, connect);

    let all = admin.get("api/devices").await;
    assert_eq!(
        (&all["registered"], &all["connected"]),
        (&json!(4), &json!(1))
    );
    let names = |list: &Value| -> Vec<String> {
        let devices = list["devices"].as_array().unwrap().iter();
        let name = |device: &Value| format!("{}{}", device["deviceId"], device["moduleId"]);
        devices
            .map(name)
            .map(|name| name.replace(['"', '\\'], ""))
            .collect()
    };
    assert_eq!(
        names(&all),
        ["lampnull", "lampm", "pump-1null", "pump-2null"]
    );
    let pumps = admin.get("api/devices?contains=PUMP&top=1").await;
    assert_eq!(
        (&pumps["matching"], names(&pumps)),
        (&json!(2), vec!["pump-1null".to_owned()])
    );
    let online = admin.get("api/devices?connected=true").await;
    assert_eq!(names(&online), ["pump-2null"]);
    let module = admin.get("api/devices/lamp/twin?module=m").await;
    assert_eq!(module["moduleId"], "m");

    drop(device);
    admin.get("api/devices/pump-2?until=disconnected").await;
    let late = admin.errors(
        Method::GET,
        "api/devices/pump-2?until=connected&within=1ms",
        None,
    );
    assert_eq!(late.await.0, 504);
}

#[tokio::test]
async fn methods_and_telemetry_are_shown_while_and_after_they_pass() {
    let (emulator, admin) = start().await;
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(METHODS).await;
    let ((), answer) = tokio::join!(
        async {
            let (_, rid, _) = device.method().await;
            let methods = admin.get("api/methods").await;
            let flying = &methods["inFlight"][0];
            assert_eq!(flying["name"], "reboot");
            assert_eq!(flying["payload"], json!({"id": 7}));
            assert_eq!(
                (&flying["outcome"], &flying["endTime"]),
                (&json!("waiting"), &Value::Null)
            );
            assert_eq!(methods["recent"][0], *flying);
            assert_eq!(
                admin.get("api/methods?device=d2").await["inFlight"],
                json!([])
            );
            device.answer(&rid, 202, "{}").await;
        },
        service.invoke("d1", "reboot", json!({"id": 7})),
    );
    assert_eq!(answer.status, 200);
    let methods = admin.get("api/methods").await;
    assert_eq!(methods["inFlight"], json!([]));
    let done = &methods["recent"][0];
    assert_eq!(
        (&done["outcome"], &done["status"]),
        (&json!("answered"), &json!(202))
    );
    assert!(done["endTime"].as_str() >= done["startTime"].as_str());

    for (path, body) in [("a=1&b", b"text".to_vec()), ("", vec![0xff, 0])] {
        let topic = format!("devices/d1/messages/events/{path}");
        let packet = device.publish_qos1(&topic, body).await;
        device.acknowledged(packet).await;
    }
    let telemetry = admin.get("api/telemetry?device=d1").await;
    assert_eq!(telemetry[0]["bodyBase64"], "/wA=");
    assert_eq!(telemetry[1]["body"], "text");
    assert_eq!(telemetry[1]["properties"], json!({"a": "1", "b": null}));
    assert_eq!(
        admin
            .get("api/telemetry?top=1")
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn messages_are_sent_to_devices() {
    let (emulator, admin) = start().await;
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe("devices/d1/messages/devicebound/#").await;
    let message = json!({
        "body": "hello", "messageId": "m1", "properties": {"a": "1", "b": null},
    });
    let path = "api/devices/d1/messages";
    assert_eq!(admin.ask(Method::POST, path, Some(message)).await.0, 204);
    match device.next().await {
        Some(Packet::Publish(publish)) => {
            assert_eq!(publish.payload, "hello");
            assert!(publish.topic.contains("%24.mid=m1"), "{}", publish.topic);
            assert!(publish.topic.ends_with("&a=1&b"), "{}", publish.topic);
        }
        other => panic!("expected the message, got {other:?}"),
    }
    let wrong = json!({"body": "a", "bodyBase64": "?", "properties": {"n": 1}, "expiry": "soon"});
    let (status, fields) = admin.errors(Method::POST, path, Some(wrong)).await;
    assert_eq!(
        (status, fields),
        (
            400,
            vec![json!("bodyBase64"), json!("expiry"), json!("properties.n")]
        )
    );
    let nobody = admin.errors(Method::POST, "api/devices/nobody/messages", Some(json!({})));
    assert_eq!(nobody.await.0, 404);
}

#[tokio::test]
async fn faults_are_injected_awaited_and_ended() {
    let (emulator, admin) = start().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");
    let fault = json!({
        "fault": "answer", "operation": "serviceTwinRead", "device": "d1", "status": 429,
        "retryAfter": "7s", "times": 2,
    });
    let id = admin.inject(fault).await;
    let expected = Fault::Answer {
        operation: Some(Operation::ServiceTwinRead),
        device: Some("d1".parse().unwrap()),
        status: 429,
        retry_after: Some(Duration::from_secs(7)),
    };
    let injected = emulator.faults().list();
    assert_eq!(
        (&injected[0].fault, injected[0].times),
        (&expected, Times::Next(2))
    );

    let path = format!("api/faults/{id}");
    let path_and_wait = format!("{path}?fired=1&within=20s");
    let awaited = admin.get(&path_and_wait);
    let (fired, answer) = tokio::join!(awaited, service.get("/twins/d1"));
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("7"))
    );
    assert_eq!(fired["fired"], 1);
    let late = format!("{path}?fired=9&within=1ms");
    assert_eq!(admin.errors(Method::GET, &late, None).await.0, 504);

    assert_eq!(admin.ask(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(service.get("/twins/d1").await.status, 200);
    let gone = admin.errors(Method::DELETE, &path, None).await;
    assert_eq!(gone, (404, vec![json!("fault")]));

    admin
        .inject(json!({"fault": "refuseConnect", "device": "d1", "how": "notAuthorized"}))
        .await;
    let credentials = Credentials::new(&emulator.device("d1"));
    let refused = Device::connect_with(&emulator, &credentials).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized));
    assert_eq!(admin.get("api/faults").await[0]["fired"], 1);
    assert_eq!(admin.ask(Method::DELETE, "api/faults", None).await.0, 204);
    assert_eq!(admin.get("api/faults").await, json!([]));
    assert!(Device::connect_with(&emulator, &credentials).await.is_ok());
}

#[tokio::test]
async fn connections_are_cut_sessions_forgotten_and_the_hub_put_out_of_reach() {
    let (emulator, admin) = start().await;
    let service = Service::owner(&emulator);
    let post = async |path: &str, body| admin.ask(Method::POST, path, body).await;
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(METHODS).await;
    let of_device = Some(json!({"device": "d1"}));
    assert_eq!(
        post("api/cut", of_device.clone()).await,
        (200, json!({"cut": 1}))
    );
    device.closed().await;
    assert_eq!(post("api/cut", of_device).await, (200, json!({"cut": 0})));

    let device = Device::connect(&emulator, "d1").await;
    assert!(device.session_present);
    assert_eq!(post("api/forget-sessions", None).await.0, 204);
    assert_eq!(post("api/cut", None).await, (200, json!({"cut": 1})));
    assert!(!Device::connect(&emulator, "d1").await.session_present);

    assert_eq!(post("api/pause", None).await.0, 204);
    assert_eq!(admin.get("api").await["paused"], true);
    assert!(
        service
            .try_call(Method::GET, "/devices", None, &[])
            .await
            .is_err()
    );
    assert_eq!(post("api/resume", None).await.0, 204);
    assert_eq!(service.get("/devices").await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (_emulator, admin) = start().await;
    let check = async |method: Method, path: &str, body: Option<Value>, status, fields: Value| {
        let errors = admin.errors(method.clone(), path, body).await;
        assert_eq!(
            (errors.0, json!(errors.1)),
            (status, fields),
            "{method} {path}"
        );
    };
    let (get, post) = (|| Method::GET, || Method::POST);
    check(get(), "api/nothing", None, 404, json!([null])).await;
    check(Method::PUT, "api/faults", None, 405, json!([null])).await;
    check(get(), "api/devices/nobody", None, 404, json!(["device"])).await;
    check(get(), "api/devices/a%20b", None, 400, json!(["device"])).await;
    check(
        get(),
        "api/devices?top=many&conected=1",
        None,
        400,
        json!(["top", "conected"]),
    )
    .await;
    check(
        get(),
        "api/devices/d1?until=happy&within=long",
        None,
        400,
        json!(["until", "within"]),
    )
    .await;
    check(get(), "api/faults/first", None, 400, json!(["fault"])).await;
    check(post(), "api/faults", None, 400, json!(["fault"])).await;
    let fault = json!({"fault": "answer", "staus": 500, "times": 0});
    check(
        post(),
        "api/faults",
        Some(fault),
        400,
        json!(["times", "status", "staus"]),
    )
    .await;
    check(post(), "api/faults", Some(json!([1])), 400, json!([null])).await;
    check(
        post(),
        "api/cut",
        Some(json!({"device": ""})),
        400,
        json!(["device"]),
    )
    .await;
}

#[tokio::test]
async fn it_ends_with_the_emulator_whoever_still_waits() {
    let (emulator, admin) = start().await;
    let waiting = tokio::spawn(async move {
        let url = format!("{}api/devices/d1?until=connected&within=10m", admin.url);
        admin.client.get(url).send().await
    });
    let again = Admin::new(&emulator);
    again.get("api").await;
    let start = Instant::now();
    emulator.shutdown().await;
    assert!(start.elapsed() < DEADLINE);
    assert!(waiting.await.unwrap().is_err());
    assert!(again.client.get(&again.url).send().await.is_err());
}

#[tokio::test]
async fn devices_and_groups_are_enrolled_and_their_keys_are_told_to_nobody() {
    let (_emulator, admin) = start().await;
    let key = "cHVtcC0yJ3MgcHJpbWFyeSBrZXksIDMyIGJ5dGVzISE=";
    let body =
        json!({"primaryKey": key, "hub": "another.hub", "deviceId": "p", "payload": {"a": 1}});
    let (status, shown) = admin
        .ask(Method::PUT, "api/enrollments/pump-2", Some(body))
        .await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!(shown["attestation"], "symmetricKey");
    let body = json!({"certificateAuthority": true, "enabled": false});
    admin
        .ask(Method::PUT, "api/enrollment-groups/cameras", Some(body))
        .await;
    let list = admin.get("api/enrollments").await;
    assert_eq!(list["idScope"], "0ne00000000");
    assert_eq!(list["enrollments"][0]["hub"], "another.hub");
    assert_eq!(list["enrollments"][1]["group"], "cameras");
    assert!(!list.to_string().contains(key));

    let path = "api/enrollments/pump-3";
    let wrong = json!({"primaryKey": "short", "hub": "a b", "enabled": "yes"});
    let (status, fields) = admin.errors(Method::PUT, path, Some(wrong)).await;
    assert_eq!(status, 400);
    assert_eq!(fields, ["primaryKey", "enabled", "hub"]);
    let two = json!({"primaryKey": key, "thumbprint": "00"});
    let (_, fields) = admin.errors(Method::PUT, path, Some(two)).await;
    assert_eq!(fields, ["primaryKey"]);

    for (path, expected) in [
        ("api/enrollments/PUMP-2", 204),
        ("api/enrollments/pump-2", 404),
        ("api/enrollment-groups/cameras", 204),
    ] {
        let (status, _) = admin.ask(Method::DELETE, path, None).await;
        assert_eq!(status, expected, "{path}");
    }
    let (status, _) = admin
        .ask(Method::GET, "api/registrations/pump-2", None)
        .await;
    assert_eq!(status, 404);
}
