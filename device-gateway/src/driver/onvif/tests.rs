//! The driver over loopback, with a fake of a camera that verifies who asks, and misbehaves.

mod last_reboot;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use iot_hub::reboot::{Grade, Mode};
use jiff::Timestamp;
use regex_lite::Regex;

use super::{
    service::{DEVICE, SERVICE},
    soap::Token,
    *,
};
use crate::driver::{
    conformance::{self, FakeDevice, Shows},
    http::{
        Auth, Endpoint, Trust, User,
        test_server::{Asked, Reply, TestServer},
    },
    tests::{order, rehearsal},
};

/// How far the fake's clock is ahead.
const AHEAD: i64 = 86_400;

const FAULT: &str = "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode>\
    <s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code>\
    <s:Reason><s:Text>Sender not authorized</s:Text></s:Reason></s:Fault>";

fn user() -> User {
    User {
        name: "ad&min".into(),
        password: "secret".into(),
    }
}

fn config(server: &TestServer, snapshot: Option<&str>) -> OnvifConfig {
    OnvifConfig {
        endpoint: Endpoint {
            url: server.url().parse().unwrap(),
            trust: Trust::System,
            auth: Auth::Digest {
                user: user(),
                strong: false,
            },
            socket: None,
            timeout: Duration::from_secs(20),
        },
        user: user(),
        snapshot: snapshot.map(str::to_owned),
        last_reboot: true,
    }
}

fn driver(server: &TestServer) -> OnvifDriver {
    OnvifDriver::new(config(server, None)).unwrap()
}

fn said(body: &str) -> Reply {
    Reply::new(200, envelope(body))
}

fn envelope(body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn clock() -> Reply {
    clock_at(Timestamp::from_second(Timestamp::now().as_second() + AHEAD).unwrap())
}

fn clock_at(now: Timestamp) -> Reply {
    said(
        &now.strftime(
            "<tds:R xmlns:tds=\"urn:d\" xmlns:tt=\"urn:t\"><tds:SystemDateAndTime><tt:UTCDateTime>\
         <tt:Time><tt:Hour>%H</tt:Hour><tt:Minute>%M</tt:Minute><tt:Second>%S</tt:Second></tt:Time>\
         <tt:Date><tt:Year>%Y</tt:Year><tt:Month>%m</tt:Month><tt:Day>%d</tt:Day></tt:Date>\
         </tt:UTCDateTime></tds:SystemDateAndTime></tds:R>",
        )
        .to_string(),
    )
}

/// What is asked, by the request's own words for it.
fn action(asked: &Asked) -> &str {
    assert_eq!((&*asked.method, &*asked.path), ("POST", SERVICE));
    let (_, action) = asked.headers["content-type"].rsplit_once('/').unwrap();
    let action = action.trim_end_matches('"');
    if action == "GetCapabilities" {
        return action;
    }
    assert!(
        asked
            .body
            .contains(&format!("<s:Body><{action} xmlns=\"{DEVICE}\"/></s:Body>"))
    );
    action
}

/// A camera that lets those in who know its password and its clock, and has no events. Does not check
/// whether a nonce was used before.
fn camera(
    answer: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static {
    move |asked| {
        let action = action(asked);
        if action != "GetSystemDateAndTime" && !is_signed(&asked.body) {
            return Some(Reply::new(400, envelope(FAULT)));
        }
        if action == "GetCapabilities" {
            let unknown = FAULT.replace("NotAuthorized", "ActionNotSupported");
            return Some(Reply::new(400, envelope(&unknown)));
        }
        answer(action)
    }
}

fn is_signed(body: &str) -> bool {
    let now = Timestamp::from_second(Timestamp::now().as_second() + AHEAD).unwrap();
    is_signed_at(body, now)
}

fn is_signed_at(body: &str, now: Timestamp) -> bool {
    let part = |name: &str| {
        let element = Regex::new(&format!("<{name}(?: [^>]*)?>([^<]*)<")).unwrap();
        Some(element.captures(body)?[1].to_owned())
    };
    let (Some(user), Some(digest), Some(created)) =
        (part("w:Username"), part("w:Password"), part("u:Created"))
    else {
        return false;
    };
    let created: Timestamp = created.parse().unwrap();
    let nonce = BASE64_STANDARD.decode(part("w:Nonce").unwrap()).unwrap();
    let expected = Token {
        user: "",
        password: "secret",
        nonce: nonce.try_into().unwrap(),
        created,
    };
    let age = created.as_second() - now.as_second();
    user == "ad&amp;min" && digest == expected.digest() && age.abs() < 60
}

#[tokio::test]
async fn no_behavior_of_a_camera_gets_a_false_verdict() {
    let shows = Shows {
        proof: Grade::Returned,
        each_boot: false,
        health: true,
    };
    conformance::check(shows, async |device| {
        let server = TestServer::start(camera(move |action| answer_camera(&device, action))).await;
        (Arc::new(driver(&server)) as Arc<dyn Driver>, server)
    })
    .await;
}

fn answer_camera(device: &FakeDevice, action: &str) -> Option<Reply> {
    match action {
        // The look and every request begin with it.
        "GetSystemDateAndTime" => device.look().map(|_| clock()),
        "GetDeviceInformation" => device.peek().map(|shown| {
            if shown.healthy {
                said("<tds:GetDeviceInformationResponse/>")
            } else {
                Reply::new(
                    500,
                    envelope(
                        &FAULT
                            .replace("Sender", "Receiver")
                            .replace("NotAuthorized", "Busy"),
                    ),
                )
            }
        }),
        "SystemReboot" => device
            .command(None)
            .then(|| said("<r><Message>Rebooting in 90 seconds</Message></r>")),
        _ => panic!("{action}"),
    }
}

#[tokio::test]
async fn a_rehearsal_signs_in_and_sends_no_command() {
    let server = TestServer::start(camera(|action| match action {
        "GetSystemDateAndTime" => Some(clock()),
        "GetDeviceInformation" => Some(said("<r/>")),
        _ => panic!("{action}"),
    }))
    .await;
    let driver = driver(&server);
    assert_eq!(
        driver.trigger(&rehearsal(Mode::Graceful)).await,
        Ok(Triggered::Rehearsed)
    );
    let probe = driver.probe().await.unwrap();
    assert_eq!(
        (probe.best_grade, probe.required_grade),
        (Grade::Returned, Grade::Returned)
    );
    assert_eq!(driver.health().await, Ok(Health::Healthy));
}

#[tokio::test]
async fn the_words_of_the_answer_to_the_command_are_not_read() {
    for (reply, expected) in [
        (
            said("<r><Message>Error: cannot reboot</Message></r>"),
            Ok(Triggered::Acknowledged),
        ),
        (
            Reply::new(200, "no SOAP at all"),
            Ok(Triggered::Acknowledged),
        ),
        (
            Reply::new(500, envelope(FAULT)),
            Err(DriverError::Refused("Sender not authorized".into())),
        ),
        (
            Reply::new(
                200,
                envelope(
                    &FAULT
                        .replace("Sender", "Receiver")
                        .replace("NotAuthorized", "Busy"),
                ),
            ),
            Err(DriverError::Failed {
                doing: "give the command",
                message: "HTTP status 500: Receiver not authorized".into(),
            }),
        ),
    ] {
        let server = TestServer::start(camera(move |action| match action {
            "SystemReboot" => Some(reply.clone()),
            _ => Some(clock()),
        }))
        .await;
        assert_eq!(
            driver(&server).trigger(&order(Mode::Graceful)).await,
            expected
        );
    }
}

#[tokio::test]
async fn a_command_that_was_not_sent_for_want_of_the_clock_was_not_sent() {
    let server = TestServer::start(|asked| {
        assert_eq!(action(asked), "GetSystemDateAndTime");
        None
    })
    .await;
    let driver = driver(&server);
    let given = driver.trigger(&order(Mode::Graceful)).await;
    assert!(
        matches!(given, Err(DriverError::Unreachable(_))),
        "{given:?}"
    );
    let seen = driver.observe(&Baseline::default()).await;
    assert!(matches!(seen, Err(DriverError::Unreachable(_))), "{seen:?}");
}

#[tokio::test]
async fn another_answer_than_soap_is_no_absence_and_no_evidence() {
    for status in [200, 404, 503] {
        let server =
            TestServer::start(move |_| Some(Reply::new(status, "<html>busy</html>"))).await;
        let seen = driver(&server).observe(&Baseline::default()).await;
        assert!(
            matches!(seen, Err(DriverError::Failed { .. })),
            "{status}: {seen:?}"
        );
    }
}

#[tokio::test]
async fn the_health_may_be_a_picture() {
    let picture = |status, kind: &'static str| async move {
        let server = TestServer::start(move |asked| {
            assert_eq!((&*asked.method, &*asked.path), ("GET", "/s.jpg"));
            // Larger than any other answer may be.
            Some(Reply::new(status, "x".repeat(1 << 20)).header("content-type", kind))
        })
        .await;
        let driver = OnvifDriver::new(config(&server, Some("/s.jpg"))).unwrap();
        driver.health().await
    };
    assert_eq!(picture(200, "image/jpeg").await, Ok(Health::Healthy));
    for (status, kind) in [(200, "text/html"), (503, "image/jpeg")] {
        let health = picture(status, kind).await;
        assert!(matches!(health, Ok(Health::Unhealthy(_))), "{health:?}");
    }
}
