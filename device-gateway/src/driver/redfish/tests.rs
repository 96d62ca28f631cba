//! The driver over loopback, with a fake of a BMC whose system misbehaves.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::*;
use crate::driver::{
    conformance::{self, Behavior, FakeDevice, Shows},
    http::{
        Auth, Endpoint, Trust, User,
        test_server::{Asked, Reply, TestServer},
    },
    tests::{order, rehearsal},
};

const SYSTEM: &str = "/redfish/v1/Systems/437XR1138R2";
const RESET: &str = "/redfish/v1/Systems/437XR1138R2/Actions/ComputerSystem.Reset";
const MONITOR: &str = "/redfish/v1/TaskService/TaskMonitors/545";

fn user() -> User {
    User {
        name: "operator".into(),
        password: "secret".into(),
    }
}

fn config(server: &TestServer) -> RedfishConfig {
    RedfishConfig {
        endpoint: Endpoint {
            url: server.url().parse().unwrap(),
            trust: Trust::System,
            auth: Auth::Basic(user()),
            socket: None,
            timeout: Duration::from_secs(20),
        },
        session: None,
        system: None,
    }
}

fn driver(server: &TestServer) -> RedfishDriver {
    RedfishDriver::new(config(server)).unwrap()
}

/// What every service says beside its system.
fn answer_service(asked: &Asked) -> Option<Value> {
    match (&*asked.method, &*asked.path) {
        ("GET", ROOT) => Some(json!({
            "RedfishVersion": "1.15.0",
            "Systems": { "@odata.id": "/redfish/v1/Systems" },
            "Links": { "Sessions": { "@odata.id": "/redfish/v1/SessionService/Sessions" } },
        })),
        ("GET", "/redfish/v1/Systems") => {
            Some(json!({ "Members": [{ "@odata.id": SYSTEM }], "Members@odata.count": 1 }))
        }
        (_, _) => None,
    }
}

/// A service whose system is this document, and whose reset is answered so.
async fn service(system: Value, reset: fn(&Asked) -> Option<Reply>) -> TestServer {
    TestServer::start(move |asked| match (answer_service(asked), &*asked.path) {
        (Some(document), _) => Some(Reply::new(200, document)),
        (None, SYSTEM) => Some(Reply::new(200, &system)),
        (None, RESET) => reset(asked),
        (None, _) => Some(Reply::new(404, "")),
    })
    .await
}

fn no_reset(asked: &Asked) -> Option<Reply> {
    panic!("{asked:?}");
}

fn running() -> Value {
    json!({
        "PowerState": "On",
        "LastResetTime": "2026-01-01T00:00:00Z",
        "Actions": { "#ComputerSystem.Reset": {
            "target": RESET,
            "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulRestart", "ForceRestart"],
        } },
    })
}

/// How much a BMC shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// The time of the last reset, the progress of the boot, the health, and a task of each command.
    Full,
    /// The power.
    Power,
}

/// Does not check who asks, nor a document that nobody asks for.
fn answer_bmc(device: &FakeDevice, detail: Detail, asked: &Asked) -> Option<Reply> {
    if let Some(document) = answer_service(asked) {
        return Some(Reply::new(200, document));
    }
    let full = detail == Detail::Full;
    match (&*asked.method, &*asked.path) {
        ("GET", SYSTEM) => {
            let shown = device.look();
            if full && shown.is_none() && device.behavior() == Behavior::StaleOnline {
                // The BMC itself restarts, and its system goes on.
                return None;
            }
            let mut system = json!({
                "PowerState": if shown.is_some() { "On" } else { "Off" },
                "LastResetTime": "0000-00-00T00:00:00Z",
                "Actions": { "#ComputerSystem.Reset": {
                    "target": RESET,
                    "@Redfish.ActionInfo": "/redfish/v1/Systems/437XR1138R2/ResetActionInfo",
                } },
            });
            if let (true, Some(shown)) = (full, shown) {
                system["LastResetTime"] = json!(format!("2026-01-01T00:0{}:00Z", shown.boots));
                system["BootProgress"] = json!({ "LastState": "OSRunning" });
                let health = if shown.healthy { "OK" } else { "Critical" };
                system["Status"] = json!({ "State": "Enabled", "Health": health });
            } else if full {
                // Warm: the power stays.
                system["PowerState"] = json!("On");
                system["BootProgress"] = json!({ "LastState": "MemoryInitializationStarted" });
            }
            Some(Reply::new(200, system))
        }
        ("GET", "/redfish/v1/Systems/437XR1138R2/ResetActionInfo") => {
            let kinds = ["GracefulRestart", "ForceRestart", "PowerCycle"];
            let parameters = json!([{ "Name": "ResetType", "AllowableValues": kinds }]);
            Some(Reply::new(200, json!({ "Parameters": parameters })))
        }
        ("GET", MONITOR) => Some(Reply::new(202, json!({ "TaskState": "Running" }))),
        ("POST", RESET) => {
            assert_eq!(asked.body, r#"{"ResetType":"GracefulRestart"}"#);
            let reply = match detail {
                Detail::Full => {
                    Reply::new(202, json!({ "TaskState": "New" })).header("location", MONITOR)
                }
                Detail::Power => Reply::new(204, ""),
            };
            device.command(None).then_some(reply)
        }
        (method, path) => panic!("{method} {path}"),
    }
}

async fn no_false_verdict(detail: Detail, shows: Shows) {
    conformance::check(shows, async |device| {
        let server = TestServer::start(move |asked| answer_bmc(&device, detail, asked)).await;
        (Arc::new(driver(&server)) as Arc<dyn Driver>, server)
    })
    .await;
}

#[tokio::test]
async fn no_behavior_gets_a_false_verdict_of_a_bmc_that_tells_the_last_reset() {
    let shows = Shows {
        proof: Grade::BootChanged,
        each_boot: true,
        health: true,
    };
    no_false_verdict(Detail::Full, shows).await;
}

#[tokio::test]
async fn no_behavior_gets_a_false_verdict_of_a_bmc_that_tells_no_more_than_the_power() {
    let shows = Shows {
        proof: Grade::Returned,
        each_boot: false,
        health: false,
    };
    no_false_verdict(Detail::Power, shows).await;
}

#[tokio::test]
async fn each_mode_is_the_reset_of_its_name_and_no_other_is_offered() {
    let server = service(running(), |asked| {
        assert_eq!(asked.body, r#"{"ResetType":"ForceRestart"}"#);
        assert_eq!(asked.headers["authorization"], "Basic b3BlcmF0b3I6c2VjcmV0");
        Some(Reply::new(200, ""))
    })
    .await;
    let driver = driver(&server);
    let probe = driver.probe().await.unwrap();
    assert_eq!(probe.modes, [Mode::Graceful, Mode::Forced]);
    assert_eq!(probe.best_grade, Grade::BootChanged);
    assert_eq!(probe.boot_id.as_deref(), Some("2026-01-01T00:00:00Z"));
    let given = driver.trigger(&order(Mode::Forced)).await;
    assert_eq!(given, Ok(Triggered::Acknowledged));
    let cycled = driver.trigger(&order(Mode::PowerCycle)).await;
    let no_cycle = DriverError::Unsupported("its reset has no PowerCycle".into());
    assert_eq!(cycled, Err(no_cycle));
}

#[tokio::test]
async fn a_rehearsal_sends_no_command_and_finds_what_a_command_would() {
    let server = service(running(), no_reset).await;
    let driver_of = driver(&server);
    let rehearsed = driver_of.trigger(&rehearsal(Mode::Graceful)).await;
    assert_eq!(rehearsed, Ok(Triggered::Rehearsed));
    let cycled = driver_of.trigger(&rehearsal(Mode::PowerCycle)).await;
    assert!(matches!(cycled, Err(DriverError::Unsupported(_))));
    let server = service(json!({ "PowerState": "On" }), no_reset).await;
    let nowhere = driver(&server).trigger(&rehearsal(Mode::Graceful)).await;
    assert!(
        matches!(nowhere, Err(DriverError::Refused(_))),
        "{nowhere:?}"
    );
}

#[tokio::test]
async fn a_no_is_told_in_the_words_of_the_service() {
    let server = service(running(), |_| {
        let words = json!({ "error": { "code": "Base.1.8.GeneralError", "message": "general",
            "@Message.ExtendedInfo": [{ "Message": "The system is locked down." }] } });
        Some(Reply::new(409, words))
    })
    .await;
    let given = driver(&server).trigger(&order(Mode::Graceful)).await;
    let refused = "HTTP status 409: The system is locked down.";
    assert_eq!(given, Err(DriverError::Refused(refused.into())));
}

#[tokio::test]
async fn a_system_without_power_is_not_begun_with_and_a_silent_bmc_shows_nothing() {
    let mut off = running();
    off["PowerState"] = json!("Off");
    let server = service(off, no_reset).await;
    let baseline = driver(&server).baseline().await;
    assert_eq!(
        baseline,
        Err(DriverError::Absent("its power is Off".into()))
    );

    let silent = TestServer::start(|_| None).await;
    let driver = driver(&silent);
    let seen = driver.observe(&Baseline::default()).await;
    assert!(matches!(seen, Err(DriverError::Failed { .. })), "{seen:?}");
    let baseline = driver.baseline().await;
    assert!(matches!(baseline, Err(DriverError::Unreachable(_))));
}

#[tokio::test]
async fn the_end_of_the_task_is_told_and_proves_nothing() {
    let server = TestServer::start(|asked| {
        let task = json!({
            "TaskState": "Exception",
            "Messages": [{ "Message": "The host did not answer." }],
        });
        match (answer_service(asked), &*asked.path) {
            (Some(document), _) => Some(Reply::new(200, document)),
            (None, SYSTEM) => Some(Reply::new(200, running())),
            (None, RESET) => {
                Some(Reply::new(202, "").header("location", format!("https://bmc{MONITOR}")))
            }
            (None, MONITOR) => Some(Reply::new(200, task)),
            (None, path) => panic!("{path}"),
        }
    })
    .await;
    let driver = driver(&server);
    let baseline = driver.baseline().await.unwrap();
    let given = driver.trigger(&order(Mode::Graceful)).await;
    assert_eq!(given, Ok(Triggered::Acknowledged));
    for _ in 0..2 {
        let seen = driver.observe(&baseline).await.unwrap();
        assert_eq!(
            seen.detail,
            "last reset 2026-01-01T00:00:00Z, power On, task Exception: The host did not answer."
        );
        assert!(seen.present && !seen.was_absent);
        assert_eq!(seen.boot_id, baseline.boot_id);
    }
}

#[tokio::test]
async fn a_session_is_begun_once_and_anew_when_it_ended() {
    let begun = Arc::new(Mutex::new(0));
    let sessions = begun.clone();
    let server = TestServer::start(move |asked| {
        if asked.path == ROOT {
            return answer_service(asked).map(|root| Reply::new(200, root));
        }
        assert!(!asked.headers.contains_key("authorization"));
        let mut begun = sessions.lock().unwrap();
        if asked.path == "/redfish/v1/SessionService/Sessions" {
            assert_eq!(asked.body, r#"{"Password":"secret","UserName":"operator"}"#);
            *begun += 1;
            return Some(Reply::new(201, "{}").header("x-auth-token", format!("t{begun}")));
        }
        // The first two end before they are of any use.
        if asked.headers.get("x-auth-token").map(String::as_str) != Some("t3") {
            return Some(Reply::new(401, ""));
        }
        let document = answer_service(asked).unwrap_or_else(running);
        Some(Reply::new(200, document))
    })
    .await;
    let mut config = config(&server);
    config.endpoint.auth = Auth::None;
    config.session = Some(user());
    let driver = RedfishDriver::new(config).unwrap();
    // A new session that is refused, too, is not tried for ever.
    assert!(driver.baseline().await.is_err());
    for _ in 0..3 {
        assert!(driver.baseline().await.is_ok());
    }
    assert_eq!(*begun.lock().unwrap(), 3);
}
