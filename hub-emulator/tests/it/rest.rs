//! The REST API: credentials, identities, statistics, queries, and bad input.

use hub_emulator::{Emulator, EmulatorConfig};
use iot_hub::identity::{ConnectionString, ServiceConnection};
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::device::{DEADLINE, Device};
use crate::service::{Answer, Service, token};

async fn emulator() -> Emulator {
    Emulator::start(EmulatorConfig::default()).await.unwrap()
}

fn policy(emulator: &Emulator, name: &str) -> ServiceConnection {
    match emulator
        .policy_connection_string(name)
        .unwrap()
        .parse()
        .unwrap()
    {
        ConnectionString::Service(connection) => connection,
        ConnectionString::Device(_) => panic!("a policy"),
    }
}

#[track_caller]
fn check_unauthorized(answer: &Answer) {
    let (status, name, error) = answer.nested_error();
    assert_eq!((status, name.as_str()), (401, "IotHubUnauthorizedAccess"));
    assert_eq!(
        (&error["errorCode"], &error["message"]),
        (&json!(401_002), &json!("Unauthorized"))
    );
}

#[tokio::test]
async fn scopes_of_edge_devices_are_shown_and_found() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let scope = "ms-azure-iot-edge://edge-1-1";
    let leaf = json!({"deviceId": "leaf", "deviceScope": scope, "parentScopes": [scope]});
    assert_eq!(service.put("/devices/leaf", &leaf).await.status, 200);
    assert_eq!(service.put("/devices/other", &json!({})).await.status, 200);
    let twin = service.get("/twins/leaf").await.json();
    assert_eq!(
        (&twin["deviceScope"], &twin["parentScopes"][0]),
        (&json!(scope), &json!(scope))
    );
    let other = service.get("/twins/other").await.json();
    assert_eq!(
        (other.get("deviceScope"), other.get("parentScopes")),
        (None, None)
    );
    for condition in [
        format!("deviceScope = '{scope}'"),
        format!("array_contains(parentScopes, '{scope}')"),
    ] {
        let query = json!({"query": format!("SELECT deviceId FROM devices WHERE {condition}")});
        let found = service.post("/devices/query", &query).await.json();
        assert_eq!(found, json!([{"deviceId": "leaf"}]));
    }
}

#[tokio::test]
async fn a_bad_token_is_refused() {
    let emulator = emulator().await;
    let _ = emulator.device("d1");
    let owner = policy(&emulator, "iothubowner");
    let hour = SignedDuration::from_hours(1);
    let unknown_policy = ServiceConnection {
        policy: "nobody".to_owned(),
        ..owner.clone()
    };
    let others_key = ServiceConnection {
        key: policy(&emulator, "device").key,
        ..owner.clone()
    };
    let other_hub = ServiceConnection {
        host: "other".parse().unwrap(),
        ..owner.clone()
    };
    let bad = [
        token(&owner, SignedDuration::from_mins(-6)).to_string(),
        token(&unknown_policy, hour).to_string(),
        token(&others_key, hour).to_string(),
        token(&other_hub, hour).to_string(),
        "Bearer abc".to_owned(),
        "SharedAccessSignature".to_owned(),
        String::new(),
    ];
    for bad in bad {
        let service = Service::with_token(&emulator, &bad);
        check_unauthorized(&service.get("/twins/d1").await);
    }
    let service = Service::owner(&emulator);
    let without = service.bare(Method::GET, "/twins/d1?api-version=2021-04-12");
    check_unauthorized(&Service::answer(without).await.unwrap());
    assert_eq!(service.get("/twins/d1").await.status, 200);
}

#[tokio::test]
async fn a_bearer_token_is_accepted_when_the_emulator_is_told_to() {
    let config = EmulatorConfig {
        bearer_tokens: vec!["one".into()],
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let _ = emulator.device("d1");
    let service = Service::with_token(&emulator, "Bearer one");
    assert_eq!(service.get("/twins/d1").await.status, 200);
    check_unauthorized(&service.get("/devices/d1").await);
    for bad in [
        "Bearer on",
        "Bearer one2",
        "Bearer ",
        "Bearer",
        "bearer one",
        "one",
    ] {
        let service = Service::with_token(&emulator, bad);
        check_unauthorized(&service.get("/twins/d1").await);
    }
    emulator.accept_bearer_tokens(&["two"]);
    check_unauthorized(&service.get("/twins/d1").await);
    let service = Service::with_token(&emulator, "Bearer two");
    assert_eq!(service.get("/twins/d1").await.status, 200);
}

#[tokio::test]
async fn a_policy_allows_what_it_says() {
    let emulator = emulator().await;
    let _ = emulator.device("d1");
    let query = json!({"query": "SELECT * FROM devices"});
    for (policy, registry, write, twins) in [
        ("iothubowner", 200, 409, 200),
        ("service", 401, 401, 200),
        ("registryRead", 200, 401, 401),
        ("registryReadWrite", 200, 409, 401),
        ("device", 401, 401, 401),
    ] {
        let connection_string = emulator.policy_connection_string(policy).unwrap();
        let service = Service::new(&emulator, &connection_string);
        assert_eq!(
            service.get("/devices/d1").await.status,
            registry,
            "{policy}"
        );
        assert_eq!(
            service.get("/statistics/devices").await.status,
            registry,
            "{policy}"
        );
        assert_eq!(
            service.put("/devices/d1", &json!({})).await.status,
            write,
            "{policy}"
        );
        assert_eq!(service.get("/twins/d1").await.status, twins, "{policy}");
        let answer = service.post("/devices/query", &query).await;
        assert_eq!(answer.status, twins, "{policy}");
    }
}

#[tokio::test]
async fn an_identity_is_created_with_keys_updated_under_its_etag_and_deleted() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    // As Microsoft's Node SDK asks for one: empty keys are the hub's to make.
    let request = json!({"deviceId": "d1", "authentication": {
        "type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""},
    }});
    let created = service.put("/devices/d1", &request).await;
    assert_eq!(created.status, 200);
    let created = created.json();
    let key = created["authentication"]["symmetricKey"]["primaryKey"]
        .as_str()
        .unwrap();
    assert_eq!(key.len(), 44);
    assert_eq!(
        (&created["deviceId"], &created["status"]),
        (&json!("d1"), &json!("enabled"))
    );

    let (status, name, _) = service.put("/devices/d1", &request).await.named_error();
    assert_eq!((status, name.as_str()), (409, "DeviceAlreadyExists"));

    let etag = format!("\"{}\"", created["etag"].as_str().unwrap());
    let update = async |body: &Value| {
        let condition = [("If-Match", etag.as_str())];
        service
            .call(Method::PUT, "/devices/d1", Some(body), &condition)
            .await
    };
    let disabled = json!({"deviceId": "d1", "status": "disabled", "statusReason": "why not"});
    let updated = update(&disabled).await.json();
    assert_eq!(updated["statusReason"], "why not");
    assert_eq!(updated["authentication"], created["authentication"]);
    let (status, name, _) = update(&disabled).await.named_error();
    assert_eq!((status, name.as_str()), (412, "PreconditionFailed"));
    assert_eq!(service.get("/twins/d1").await.json()["status"], "disabled");

    let stale = [("If-Match", etag.as_str())];
    assert_eq!(
        service
            .call(Method::DELETE, "/devices/d1", None, &stale)
            .await
            .status,
        412
    );
    assert_eq!(
        service
            .call(Method::DELETE, "/devices/d1", None, &[])
            .await
            .status,
        204
    );
    let (status, name, _) = service.get("/devices/d1").await.named_error();
    assert_eq!((status, name.as_str()), (404, "DeviceNotFound"));
    let (status, name, _) = service.get("/twins/d1").await.named_error();
    assert_eq!((status, name.as_str()), (404, "DeviceNotFound"));
}

#[tokio::test]
async fn a_given_key_is_kept() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let with_key = |key: &str| json!({"authentication": {"symmetricKey": {"primaryKey": key, "secondaryKey": null}}});
    let created = service.put("/devices/d1", &with_key(key)).await.json();
    assert_eq!(created["authentication"]["symmetricKey"]["primaryKey"], key);
    let (status, _, text) = service
        .put("/devices/d2", &with_key("short"))
        .await
        .named_error();
    assert!(status == 400 && text.contains("symmetric key"), "{text}");
}

#[tokio::test]
async fn devices_are_listed_and_counted() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    for id in ["d1", "d2", "d3"] {
        let _ = emulator.device(id);
    }
    service
        .call(
            Method::PUT,
            "/devices/d3",
            Some(&json!({"status": "disabled"})),
            &[("If-Match", "*")],
        )
        .await;
    let _device = Device::connect(&emulator, "d1").await;

    // With the slash that Microsoft's Node SDK writes.
    let list = service.get("/devices/").await.json();
    let ids: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|device| &device["deviceId"])
        .collect();
    assert_eq!(ids, ["d1", "d2", "d3"]);
    let counted = json!({
        "totalDeviceCount": 3, "enabledDeviceCount": 2, "disabledDeviceCount": 1,
    });
    assert_eq!(service.get("/statistics/devices").await.json(), counted);
    let connected = json!({"connectedDeviceCount": 1});
    assert_eq!(service.get("/statistics/service").await.json(), connected);
}

#[tokio::test]
async fn a_query_comes_page_by_page() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    for number in 0..5 {
        let id = format!("d{number}");
        let _ = emulator.device(&id);
        let tags = json!({"tags": {"even": number % 2 == 0}});
        service.patch(&format!("/twins/{id}"), &tags).await;
    }
    let query = json!({"query": "SELECT * FROM devices WHERE tags.even = true"});
    let mut ids = Vec::new();
    let mut pages = 0;
    let mut continuation: Option<String> = None;
    loop {
        let mut headers = vec![("x-ms-max-item-count", "2")];
        if let Some(token) = &continuation {
            headers.push(("x-ms-continuation", token));
        }
        let page = service
            .call(Method::POST, "/devices/query", Some(&query), &headers)
            .await;
        assert_eq!(page.status, 200, "{page:?}");
        assert_eq!(page.header("x-ms-item-type"), Some("Twin"));
        ids.extend(
            page.json()
                .as_array()
                .unwrap()
                .iter()
                .map(|twin| twin["deviceId"].clone()),
        );
        pages += 1;
        continuation = page.header("x-ms-continuation").map(str::to_owned);
        if continuation.is_none() {
            break;
        }
    }
    assert_eq!(
        (pages, ids),
        (2, vec![json!("d0"), json!("d2"), json!("d4")])
    );
    assert_eq!(emulator.counters().queries.total, 2);
}

#[tokio::test]
async fn a_bad_query_or_page_is_refused() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let good = json!({"query": "SELECT * FROM devices"});
    let too_long = json!({"query": format!("SELECT * FROM devices{}", " ".repeat(8_192))});
    for body in [json!({}), json!({"query": "SELECT"}), too_long] {
        let (status, name, text) = service.post("/devices/query", &body).await.named_error();
        assert_eq!((status, name.as_str()), (400, "ArgumentInvalid"));
        assert!(text.starts_with("The query is invalid"), "{text}");
    }
    for header in [
        ("x-ms-max-item-count", "0"),
        ("x-ms-continuation", "made up"),
    ] {
        let answer = service
            .call(Method::POST, "/devices/query", Some(&good), &[header])
            .await;
        assert_eq!(answer.named_error().0, 400, "{header:?}");
    }
}

#[tokio::test]
async fn columns_are_raw_items_and_a_large_page_is_cut_down() {
    let config = EmulatorConfig {
        query_page_size: 2,
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    for id in ["a", "b", "c"] {
        let _ = emulator.device(id);
    }
    let service = Service::owner(&emulator);
    let columns = json!({"query": "SELECT deviceId AS d FROM devices"});
    let large = [("x-ms-max-item-count", "1000")];
    let page = service
        .call(Method::POST, "/devices/query", Some(&columns), &large)
        .await;
    assert_eq!(page.header("x-ms-item-type"), Some("Raw"));
    assert_eq!(page.json(), json!([{"d": "a"}, {"d": "b"}]));
    // A token is good for its own query alone.
    let token = page.header("x-ms-continuation").unwrap();
    let next = [("x-ms-continuation", token)];
    let rest = service
        .call(Method::POST, "/devices/query", Some(&columns), &next)
        .await;
    assert_eq!(rest.json(), json!([{"d": "c"}]));
    let other = json!({"query": "SELECT * FROM devices"});
    let answer = service
        .call(Method::POST, "/devices/query", Some(&other), &next)
        .await;
    assert_eq!(answer.named_error().0, 400);

    let modules = json!({"query": "SELECT * FROM devices.modules"});
    assert_eq!(
        service.post("/devices/query", &modules).await.json(),
        json!([])
    );
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let unversioned = Service::answer(service.bare(Method::GET, "/devices"))
        .await
        .unwrap();
    assert_eq!(unversioned.named_error().1, "InvalidProtocolVersion");
    assert_eq!(service.get("/nothing").await.status, 404);
    assert_eq!(
        service.post("/twins/d1", &json!({})).await.named_error().0,
        405
    );
    assert_eq!(service.get("/devices/a%20b").await.named_error().0, 400);
    let mismatch = service.put("/devices/d1", &json!({"deviceId": "d2"})).await;
    assert_eq!(mismatch.named_error().1, "ArgumentInvalid");
}

#[tokio::test]
async fn a_body_beyond_every_limit_is_refused() {
    let emulator = emulator().await;
    let _ = emulator.device("d1");
    let service = Service::owner(&emulator);
    let answer = service
        .patch("/twins/d1", &json!({"tags": "x".repeat(1024 * 1024)}))
        .await;
    assert_eq!(answer.named_error().0, 413);
}

#[tokio::test]
async fn malformed_bytes_end_their_connection_and_nothing_else() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    for bytes in [
        &b"\x10\x00\x00"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 512],
    ] {
        let address = ("127.0.0.1", emulator.https_port());
        let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
        plain.write_all(bytes).await.unwrap();
        plain.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // Reset or closed, both are an end.
        let _ = tokio::time::timeout(DEADLINE, plain.read_to_end(&mut rest))
            .await
            .unwrap();
    }
    assert_eq!(service.get("/devices").await.json(), json!([]));
}

#[tokio::test]
async fn queries_and_statistics_know_who_is_connected() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("away");
    let device = Device::connect(&emulator, "here").await;
    let connected = json!({"query":
        "SELECT deviceId FROM devices WHERE connectionState = 'Connected'"});
    let found = service.post("/devices/query", &connected).await.json();
    assert_eq!(found, json!([{"deviceId": "here"}]));
    let count = service.get("/statistics/service").await.json();
    assert_eq!(count, json!({"connectedDeviceCount": 1}));

    drop(device);
    emulator.disconnected("here").await;
    let found = service.post("/devices/query", &connected).await.json();
    assert_eq!(found, json!([]));
}
