//! The driver over loopback, with fakes of devices that keep to their protocols and misbehave.

use std::{sync::Arc, time::Duration};

use iot_hub::reboot::Grade;
use regex_lite::Regex;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    test_server::{Asked, Reply, TestServer},
    *,
};
use crate::driver::{
    conformance::{self, FakeDevice, Look as Shown, Shows},
    tests::{order, rehearsal},
};

fn driver(server: &TestServer, auth: Auth, plan: Plan) -> HttpDriver {
    let endpoint = Endpoint {
        url: server.url().parse().unwrap(),
        trust: Trust::System,
        auth,
        socket: None,
        timeout: Duration::from_secs(20),
    };
    HttpDriver::new(endpoint, plan).unwrap()
}

fn pointer(text: &str) -> Find {
    Find::Pointer(text.to_owned())
}

/// A plan for a device that shows all there is.
fn generic() -> Plan {
    Plan {
        looks: vec![Look {
            boot_id: Some(pointer("/boot")),
            cause: Some(pointer("/cause")),
            ..Look::presence(Ask::get("/state"))
        }],
        forced: None,
        trigger: Ask::post("/reboot?id={id}", Some(r#"{"how":"{mode}"}"#.into())),
        health: Some(Check {
            ask: Ask::get("/health"),
            holds: Some(Condition {
                find: pointer("/ok"),
                equals: "true".into(),
            }),
            unchecked: &[],
        }),
    }
}

async fn observe(driver: &HttpDriver) -> Result<Observation, DriverError> {
    driver.observe(&Baseline::default()).await
}

#[tokio::test]
async fn no_behavior_of_a_generic_device_gets_a_false_verdict() {
    let shows = Shows {
        proof: Grade::Caused,
        each_boot: true,
        health: true,
    };
    conformance::check(shows, async |device| {
        let server = TestServer::start(move |asked| answer_generic(&device, asked)).await;
        let driver = driver(&server, Auth::None, generic());
        (Arc::new(driver) as Arc<dyn Driver>, server)
    })
    .await;
}

fn answer_generic(device: &FakeDevice, asked: &Asked) -> Option<Reply> {
    match (&*asked.method, &*asked.path) {
        ("GET", "/state") => device.look().map(|shown| {
            let boot = format!("b{}", shown.boots);
            Reply::new(200, json!({ "boot": boot, "cause": shown.cause }))
        }),
        ("GET", "/health") => device
            .peek()
            .map(|shown| Reply::new(200, json!({ "ok": shown.healthy }))),
        ("POST", path) if path.starts_with("/reboot?id=") => {
            assert_eq!(asked.body, r#"{"how":"graceful"}"#);
            let id = path.trim_start_matches("/reboot?id=").parse().ok();
            device.command(id).then(|| Reply::new(202, ""))
        }
        (_, _) => Some(Reply::new(404, "")),
    }
}

#[tokio::test]
async fn no_behavior_of_a_shelly_gets_a_false_verdict() {
    let shows = Shows {
        proof: Grade::UptimeReset,
        each_boot: false,
        health: false,
    };
    conformance::check(shows, async |device| {
        let server = TestServer::start(move |asked| answer_shelly(&device, asked)).await;
        let auth = preset::shelly_auth(Some("secret".into()));
        let driver = driver(&server, auth, preset::shelly(Some("A8032ABE54DC".into())));
        (Arc::new(driver) as Arc<dyn Driver>, server)
    })
    .await;
}

/// Does not check the rest of a frame, nor that a nonce is used once.
fn answer_shelly(device: &FakeDevice, asked: &Asked) -> Option<Reply> {
    const REALM: &str = "shellyplus1-a8032abe54dc";
    assert_eq!((&*asked.method, &*asked.path), ("POST", "/rpc"));
    let Some(proof) = asked.headers.get("authorization") else {
        let ask =
            format!(r#"Digest qop="auth", realm="{REALM}", nonce="60dc2c69", algorithm=SHA-256"#);
        return Some(Reply::new(401, "").header("www-authenticate", ask));
    };
    let part = |name: &str| {
        let find = Regex::new(&format!("\\b{name}=\"?([^\",]+)")).unwrap();
        find.captures(proof).unwrap()[1].to_owned()
    };
    let hash = |text: String| {
        let bytes = Sha256::digest(text.as_bytes());
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(part("algorithm"), "SHA-256");
    let expected = hash(format!(
        "{}:60dc2c69:{}:{}:auth:{}",
        hash(format!("admin:{REALM}:secret")),
        part("nc"),
        part("cnonce"),
        hash("POST:/rpc".into()),
    ));
    assert_eq!(part("response"), expected);
    let frame: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    match frame["method"].as_str().unwrap_or_default() {
        "Sys.GetStatus" => device.look().map(|shown| {
            let result = json!({
                "mac": "A8032ABE54DC",
                "restart_required": false,
                "uptime": shown.uptime.as_secs(),
                "reset_reason": 3,
            });
            Reply::new(200, json!({ "id": 1, "src": REALM, "result": result }))
        }),
        "Shelly.Reboot" => {
            assert_eq!(frame["params"]["delay_ms"], 1000);
            let answer = json!({ "id": 1, "src": REALM, "result": null });
            device.command(None).then(|| Reply::new(200, answer))
        }
        method => panic!("{method}"),
    }
}

#[tokio::test]
async fn no_behavior_of_an_esphome_device_gets_a_false_verdict() {
    let names = preset::EspHome {
        button: "Restart Pump".into(),
        uptime: Some("Up Time".into()),
        boot_id: None,
        reset_reason: None,
    };
    for by_name in [true, false] {
        let shows = Shows {
            proof: Grade::UptimeReset,
            each_boot: false,
            health: false,
        };
        let names = &names;
        conformance::check(shows, async |device| {
            let server =
                TestServer::start(move |asked| answer_esphome(&device, by_name, asked)).await;
            let driver = driver(&server, Auth::None, preset::esphome(names));
            (Arc::new(driver) as Arc<dyn Driver>, server)
        })
        .await;
    }
}

/// Knows its components by their names, as newer ones do, or by their ids.
fn answer_esphome(device: &FakeDevice, by_name: bool, asked: &Asked) -> Option<Reply> {
    let (button, sensor) = if by_name {
        ("/button/Restart%20Pump/press", "/sensor/Up%20Time")
    } else {
        ("/button/restart_pump/press", "/sensor/up_time")
    };
    match (&*asked.method, &*asked.path) {
        ("POST", path) if path == button => device.command(None).then(|| Reply::new(200, "")),
        ("GET", path) if path == sensor => device.look().map(|Shown { uptime, .. }| {
            let value = uptime.as_secs_f64();
            Reply::new(200, json!({ "id": "x", "value": value, "state": "?" }))
        }),
        (_, _) if device.peek().is_none() && device.look().is_none() => None,
        (_, _) => Some(Reply::new(404, "")),
    }
}

#[tokio::test]
async fn no_behavior_of_a_container_gets_a_false_verdict() {
    let shows = Shows {
        proof: Grade::BootChanged,
        each_boot: true,
        health: true,
    };
    conformance::check(shows, async |device| {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let server =
            TestServer::start_unix(&socket, move |asked| Some(answer_engine(&device, asked)));
        let endpoint = Endpoint {
            url: "http://localhost".parse().unwrap(),
            trust: Trust::System,
            auth: Auth::None,
            socket: Some(socket),
            timeout: Duration::from_secs(20),
        };
        let plan = preset::container("web/1", Duration::from_secs(10));
        let driver = HttpDriver::new(endpoint, plan).unwrap();
        (Arc::new(driver) as Arc<dyn Driver>, (server, folder))
    })
    .await;
}

/// The engine itself is always there, and answers a command that it did not get to the end of with an
/// error. Checks neither versions nor who asks.
fn answer_engine(device: &FakeDevice, asked: &Asked) -> Reply {
    match (&*asked.method, &*asked.path) {
        ("GET", "/containers/web%2F1/json") => {
            let state = match device.look() {
                Some(shown) => json!({
                    "Running": true,
                    "StartedAt": format!("2026-01-01T00:00:0{}.5Z", shown.boots),
                    "Health": { "Status": if shown.healthy { "healthy" } else { "unhealthy" } },
                }),
                None => json!({ "Running": false, "StartedAt": "2026-01-01T00:00:00.5Z" }),
            };
            Reply::new(
                200,
                json!({ "Id": "4f1d", "RestartCount": 0, "State": state }),
            )
        }
        ("POST", "/containers/web%2F1/restart?t=10") if device.command(None) => Reply::new(204, ""),
        ("POST", "/containers/web%2F1/restart?t=10") => Reply::new(500, "connection lost"),
        (method, path) => panic!("{method} {path}"),
    }
}

#[tokio::test]
async fn a_container_that_was_made_anew_is_in_another_boot_and_one_without_a_check_in_no_health() {
    // Docker leaves it out, Podman leaves it empty, and Docker's API has a word for it.
    for health in [
        json!(null),
        json!({ "Status": "" }),
        json!({ "Status": "none" }),
    ] {
        let server = TestServer::start(move |_| {
            let started = "2026-01-01T00:00:00.5Z";
            let state = json!({ "Running": true, "StartedAt": started, "Health": health });
            Some(Reply::new(200, json!({ "Id": "4f1d", "State": state })))
        })
        .await;
        let plan = preset::container("web", Duration::from_secs(10));
        let driver = driver(&server, Auth::None, plan);
        let boot_id = driver.baseline().await.unwrap().boot_id;
        assert_eq!(boot_id.as_deref(), Some("4f1d 2026-01-01T00:00:00.5Z"));
        assert_eq!(driver.health().await, Ok(Health::Unknown));
    }
}

#[tokio::test]
async fn a_forced_container_gets_no_grace() {
    let server = TestServer::start(|asked| {
        assert_eq!(asked.path, "/containers/web/restart?t=0");
        Some(Reply::new(204, ""))
    })
    .await;
    let plan = preset::container("web", Duration::from_secs(10));
    let given = driver(&server, Auth::None, plan)
        .trigger(&order(Mode::Forced))
        .await;
    assert_eq!(given, Ok(Triggered::Acknowledged));
}

#[tokio::test]
async fn the_answer_to_the_trigger_is_what_it_says() {
    #[track_caller]
    fn check(status: u16, given: &Result<Triggered, DriverError>) {
        match (status, given) {
            (200 | 204, Ok(Triggered::Acknowledged)) => {}
            (302 | 400 | 403 | 404 | 409, Err(DriverError::Refused(words))) => {
                assert_eq!(words, &format!("HTTP status {status}: not now"));
            }
            (500 | 502, Err(DriverError::Failed { .. })) => {}
            (_, _) => panic!("{status}: {given:?}"),
        }
    }
    for status in [200, 204, 302, 400, 403, 404, 409, 500, 502] {
        let server = TestServer::start(move |_| Some(Reply::new(status, "not now\r\n"))).await;
        let driver = driver(&server, Auth::None, generic());
        check(status, &driver.trigger(&order(Mode::Forced)).await);
    }
    let server = TestServer::start(|_| Some(Reply::new(200, r#"{"error":"busy"}"#))).await;
    let mut plan = generic();
    plan.trigger.error = Some(pointer("/error"));
    let given = driver(&server, Auth::None, plan)
        .trigger(&order(Mode::Forced))
        .await;
    assert_eq!(given, Err(DriverError::Refused("busy".into())));
    let cut = TestServer::start(|_| None).await;
    let given = driver(&cut, Auth::None, generic())
        .trigger(&order(Mode::Forced))
        .await;
    assert_eq!(given, Ok(Triggered::Unacknowledged));
}

#[tokio::test]
async fn an_answer_that_shows_nothing_is_no_absence_and_no_evidence() {
    // The last one is more than anybody reads.
    for (status, bytes) in [(502, 0), (401, 0), (404, 0), (200, 300 * 1_024)] {
        let server = TestServer::start(move |_| Some(Reply::new(status, "x".repeat(bytes)))).await;
        let driver = driver(&server, Auth::None, generic());
        let seen = observe(&driver).await;
        assert!(matches!(seen, Err(DriverError::Failed { .. })), "{seen:?}");
    }
    let server = TestServer::start(|_| Some(Reply::new(200, r#"{"boot":null}"#))).await;
    let driver = driver(&server, Auth::None, generic());
    let nameless = observe(&driver).await.unwrap();
    assert!(nameless.present && nameless.boot_id.is_none());
    // Nothing is begun that could not be proved afterwards.
    let baseline = driver.baseline().await;
    assert!(matches!(baseline, Err(DriverError::Failed { message, .. })
        if message == "the answer has no boot id"));
}

#[tokio::test]
async fn another_device_at_the_address_is_not_taken_for_this_one() {
    let server = TestServer::start(|_| {
        Some(Reply::new(
            200,
            r#"{"result":{"mac":"AABBCCDDEEFF","uptime":3}}"#,
        ))
    })
    .await;
    for (mac, seen) in [("AABBCCDDEEFF", true), ("A8032ABE54DC", false)] {
        let driver = driver(&server, Auth::None, preset::shelly(Some(mac.into())));
        assert_eq!(observe(&driver).await.is_ok(), seen, "{mac}");
    }
}

#[tokio::test]
async fn a_rehearsal_sends_no_command() {
    let server = TestServer::start(|asked| {
        assert_eq!(asked.method, "GET");
        Some(Reply::new(200, r#"{"boot":"b1"}"#))
    })
    .await;
    let driver = driver(&server, Auth::None, generic());
    let rehearsal = rehearsal(Mode::Forced);
    let rehearsed = driver.trigger(&rehearsal).await;
    assert_eq!(rehearsed, Ok(Triggered::Rehearsed));
    let outlet = order(Mode::PowerCycle);
    let refused = driver.trigger(&outlet).await;
    assert!(matches!(refused, Err(DriverError::Unsupported(_))));
}

#[tokio::test]
async fn health_is_what_the_answer_says() {
    for (status, body, expected) in [
        (200, r#"{"ok":true}"#, Health::Healthy),
        (
            200,
            r#"{"ok":false}"#,
            Health::Unhealthy("its answer is not the healthy one".into()),
        ),
        (
            503,
            "too hot",
            Health::Unhealthy("HTTP status 503: too hot".into()),
        ),
    ] {
        let server = TestServer::start(move |_| Some(Reply::new(status, body))).await;
        let health = driver(&server, Auth::None, generic()).health().await;
        assert_eq!(health, Ok(expected));
    }
    let server = TestServer::start(|_| None).await;
    let shelly = driver(&server, Auth::None, preset::shelly(None));
    assert_eq!(shelly.health().await, Ok(Health::Unknown));
}
