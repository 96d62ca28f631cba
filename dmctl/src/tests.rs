//! What a person sees and what a script gets, command by command, against a scripted service.

mod secured;

use std::{
    collections::HashMap,
    future::{pending, ready},
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard},
};

use anstream::adapter::strip_str;
use clap::Parser as _;
use iothubdm_proto::v1::{
    AttemptState, BlockedPolicy, Blocker, Device, Dialect, EvidenceGrade, ListRebootsResponse,
    OfflinePolicy, Preconditions, RebootAttempt, RebootEvent, RebootMode, RebootRequest,
    reboot_request::Start,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    cli::{Cli, Command},
    fake::{Fake, GOOD, ID, Script, after, attempt, failed, progress, snapshot, succeeded},
    terminal::Terminal,
    words,
};

/// What a command wrote, and its exit code.
struct Ran {
    code: u8,
    out: String,
    err: String,
    fake: Fake,
}

impl Ran {
    /// The lines of standard output as JSON.
    fn json(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap();
        self.out.lines().map(parse).collect()
    }
}

/// Runs a command line against a script.
async fn dmctl(line: &str, script: Script) -> Ran {
    dmctl_until(line, script, pending()).await
}

async fn dmctl_until(line: &str, script: Script, interrupt: impl Future<Output = ()>) -> Ran {
    let (fake, url) = Fake::serve(script).await;
    run(line, &url, fake, interrupt).await
}

/// Runs a command line against a service that leads to `fake`.
async fn run(line: &str, url: &str, fake: Fake, interrupt: impl Future<Output = ()>) -> Ran {
    let words = ["dmctl", "--server", url]
        .into_iter()
        .chain(line.split(' '));
    let cli = Cli::try_parse_from(words).unwrap();
    let (out, err) = (Shared::default(), Shared::default());
    let mut terminal = Terminal {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        json: cli.json,
        live: false,
    };
    let exit = crate::run(&cli, &mut terminal, interrupt).await;
    Ran {
        code: exit.code(),
        out: out.text(),
        err: err.text(),
        fake,
    }
}

/// A writer whose content can be read afterwards.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap()
    }

    fn text(&self) -> String {
        let text = String::from_utf8(self.bytes().clone()).unwrap();
        strip_str(&text).to_string()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Listens in front of a service, and cuts the first connection when `cut` says so.
async fn cutting_proxy(url: &str, cut: Arc<Notify>) -> String {
    let service = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(&service).await.unwrap();
            let cut = cut.clone();
            tokio::spawn(async move {
                tokio::select! {
                    copied = copy_bidirectional(&mut near, &mut far) => { copied.ok(); }
                    () = cut.notified() => {}
                }
            });
        }
    });
    proxy
}

/// A script in which a reboot is accepted and watched in these streams.
fn watched(streams: Vec<Vec<Result<RebootEvent, Status>>>) -> Script {
    Script {
        attempts: [Ok(attempt(&GOOD[..2]))].into(),
        streams: streams.into(),
        ..Script::default()
    }
}

#[tokio::test]
async fn a_reboot_is_followed_to_its_verdict_and_evidence() {
    let script = watched(vec![vec![
        snapshot(attempt(&GOOD[..1])),
        progress(attempt(&GOOD[..2]), "accepted by gateway edge-1"),
        // A slow reader misses a stage's event and learns of it from the timeline.
        progress(attempt(&GOOD[..4]), "the device is gone"),
        progress(
            attempt(&GOOD[..5]),
            "the device is back with another boot identity",
        ),
        progress(succeeded(), "verified"),
    ]]);
    let ran = dmctl("reboot pump-1 --wait", script).await;
    assert_eq!(
        ran.out,
        "\
reboot of pump-1, graceful
  0b6c4a52-7d3e-4c11-9a55-1f2e3d4c5b6a
  03:41:07Z     +0.0 s  DISPATCHING  asking the device
  03:41:07Z     +0.2 s  ACCEPTED     accepted by gateway edge-1
  03:41:08Z     +1.3 s  REBOOTING    the command is out
  03:41:08Z     +1.4 s  DOWN         the device is gone
  03:41:09Z     +2.1 s  VERIFYING    the device is back with another boot identity
SUCCEEDED after 3.1 s: the device rebooted because of this request, and is healthy
  evidence  HEALTHY, by mqtt-birth
  before    boot 5f0c, up 12.0 s
  after     boot 9e2a, up 0.4 s, caused by this request
"
    );
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[tokio::test]
async fn a_device_that_lies_fails_with_its_reason() {
    let script = watched(vec![vec![
        snapshot(attempt(&GOOD[..3])),
        progress(failed("NO_SHUTDOWN"), "the device did not go down"),
    ]]);
    let ran = dmctl("reboot pump-1 --wait --reason x", script).await;
    assert_eq!(
        ran.out,
        "\
reboot of pump-1, graceful
  0b6c4a52-7d3e-4c11-9a55-1f2e3d4c5b6a
  03:41:07Z     +0.0 s  DISPATCHING  asking the device
  03:41:07Z     +0.2 s  ACCEPTED     accepted
  03:41:08Z     +1.3 s  REBOOTING    the command is out
FAILED after 4.3 s: NO_SHUTDOWN: the device kept its boot identity for 3 s after the command
  next      the command did not take effect; look at the device itself, or try --mode forced
"
    );
    assert_eq!(ran.code, 1);
}

#[tokio::test]
async fn every_verdict_ends_with_its_code() {
    let ended = |state| attempt(&[GOOD[0], (state, 5_000)]);
    for (attempt, code) in [
        (succeeded(), 0),
        (failed("NO_SHUTDOWN"), 1),
        (ended(AttemptState::Cancelled), 1),
        (ended(AttemptState::Lost), 2),
        (failed("PROOF_TOO_WEAK"), 3),
        (ended(AttemptState::Rejected), 4),
        (ended(AttemptState::Expired), 5),
    ] {
        let state = attempt.state();
        let script = watched(vec![vec![snapshot(attempt)]]);
        let ran = dmctl(&format!("watch pump-1/{ID}"), script).await;
        assert_eq!(ran.code, code, "{state:?}: {}", ran.out);
    }
}

#[tokio::test]
async fn a_watch_is_taken_up_again_with_its_token_and_tells_nothing_twice() {
    let script = watched(vec![
        vec![
            snapshot(attempt(&GOOD[..1])),
            progress(attempt(&GOOD[..2]), "accepted"),
            Err(Status::unavailable("the service is stopping")),
        ],
        // A stream that just ends, as when a proxy gives up.
        vec![snapshot(attempt(&GOOD[..3]))],
        vec![
            snapshot(attempt(&GOOD[..3])),
            progress(attempt(&GOOD[..3]), "the command is out"),
            progress(succeeded(), "verified"),
        ],
    ]);
    let ran = dmctl(&format!("watch pump-1/{ID}"), script).await;
    let tokens = ran.fake.asked(|asked| {
        let tokens = asked.watches.iter().map(|watch| watch.resume_token.clone());
        tokens.collect::<Vec<_>>()
    });
    assert_eq!(tokens, ["", "t2", "t3"]);
    let stages = ["DISPATCHING", "ACCEPTED", "REBOOTING", "SUCCEEDED"];
    for stage in stages {
        assert_eq!(ran.out.matches(stage).count(), 1, "{}", ran.out);
    }
    assert!(
        ran.out
            .contains("interrupted: the service is stopping; trying again in")
    );
    assert_eq!(ran.code, 0);
}

#[tokio::test]
async fn a_token_that_is_too_old_begins_the_watch_anew() {
    let script = watched(vec![
        vec![Err(Status::out_of_range(
            "the token is older than the kept events",
        ))],
        vec![snapshot(succeeded())],
    ]);
    let ran = dmctl(&format!("watch pump-1/{ID} --resume-token t1"), script).await;
    let tokens = ran.fake.asked(|asked| {
        let tokens = asked.watches.iter().map(|watch| watch.resume_token.clone());
        tokens.collect::<Vec<_>>()
    });
    assert_eq!(tokens, ["t1", ""]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[tokio::test]
async fn a_service_that_stays_away_ends_the_patience() {
    let away = || vec![Err(Status::unavailable("the service is stopping"))];
    let script = watched(vec![away(), away(), away(), away(), away(), away()]);
    let ran = dmctl(&format!("watch pump-1/{ID} --patience 200ms"), script).await;
    assert_eq!(
        ran.err,
        format!(
            "error: the service is stopping (UNAVAILABLE)\n  \
             the attempt goes on; watch it again with: dmctl watch pump-1/{ID}\n"
        )
    );
    assert_eq!(ran.code, 69);
}

#[tokio::test]
async fn ctrl_c_says_how_to_go_on() {
    let mut script = watched(vec![vec![snapshot(attempt(&GOOD[..3]))]]);
    script.hang = true;
    let ran = dmctl_until(&format!("watch pump-1/{ID}"), script, ready(())).await;
    assert_eq!(
        ran.err,
        format!(
            "the attempt goes on without this command; \
             watch it again with: dmctl watch pump-1/{ID}\n"
        )
    );
    assert_eq!(ran.code, 130);
}

#[tokio::test]
async fn ctrl_c_before_the_answer_says_what_is_not_known() {
    let line = format!("reboot pump-1 --request-id {ID}");
    let script = Script {
        unanswered: 1,
        ..Script::default()
    };
    let ran = dmctl_until(&line, script, ready(())).await;
    assert_eq!(
        ran.err,
        format!(
            "whether it was begun is not known; with --request-id {ID} you may ask again, \
             and it is not done twice\n"
        )
    );
    assert_eq!(ran.code, 130);
}

#[tokio::test]
async fn without_wait_an_accepted_reboot_is_enough() {
    let script = Script {
        attempts: [Ok(attempt(&GOOD[..2]))].into(),
        ..Script::default()
    };
    let ran = dmctl(&format!("reboot pump-1 --request-id {ID}"), script).await;
    assert_eq!(
        ran.out,
        "\
reboot of pump-1, graceful
  0b6c4a52-7d3e-4c11-9a55-1f2e3d4c5b6a
  03:41:07Z     +0.0 s  DISPATCHING  asking the device
  03:41:07Z     +0.2 s  ACCEPTED     accepted
  ends by 2026-11-23 04:11:07Z at the latest
"
    );
    assert_eq!(
        ran.err,
        format!("follow it with: dmctl watch pump-1/{ID}\n")
    );
    assert_eq!(ran.code, 0);
}

#[tokio::test]
async fn a_reboot_whose_answer_got_lost_is_asked_for_again_with_its_id() {
    let (fake, url) = Fake::serve(Script {
        attempts: [Ok(attempt(&GOOD[..2]))].into(),
        unanswered: 1,
        ..Script::default()
    })
    .await;
    let proxy = cutting_proxy(&url, fake.unanswered.clone()).await;
    let client = iothubdm_client::Client::connect(&proxy).await.unwrap();
    let cli = Cli::try_parse_from(["dmctl", "reboot", "pump-1"]).unwrap();
    let Command::Reboot(command) = &cli.command else {
        unreachable!("the line says reboot")
    };
    let mut terminal = Terminal {
        out: Box::new(io::sink()),
        err: Box::new(io::sink()),
        json: false,
        live: false,
    };
    let exit = crate::command::reboot::run(&client, command, &mut terminal, pending()).await;
    assert_eq!(exit.unwrap().code(), 0);
    fake.asked(|asked| {
        assert_eq!(asked.reboots.len(), 2);
        assert_eq!(asked.reboots[0].request_id, asked.reboots[1].request_id);
    });
}

#[tokio::test]
async fn a_request_with_a_deadline_is_the_same_when_it_is_asked_for_again() {
    let used = || {
        let details = ErrorDetails::with_error_info("REQUEST_ID_USED", "iothubdm", HashMap::new());
        let message = "request_id: was used with another request";
        Err(Status::with_error_details(
            Code::InvalidArgument,
            message,
            details,
        ))
    };
    let known = RebootAttempt {
        deadline: Some(words::to_moment(after(1_000_000))),
        ..attempt(&GOOD[..2])
    };
    let line = format!("reboot pump-1 --request-id {ID} --deadline 20m");
    let script = Script {
        attempts: [used(), Ok(known.clone()), Ok(known.clone())].into(),
        ..Script::default()
    };
    let ran = dmctl(&line, script).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.fake.asked(|asked| {
        let [first, again] = &asked.reboots[..] else {
            panic!("{:?}", asked.reboots);
        };
        assert_eq!(again.deadline, known.deadline);
        let deadline = again.deadline;
        assert_eq!(
            *again,
            RebootRequest {
                deadline,
                ..first.clone()
            }
        );
    });
    // Something else is different, or the attempt is another device's.
    for answers in [vec![used(), Ok(known), used()], vec![used(), used()]] {
        let script = Script {
            attempts: answers.into(),
            ..Script::default()
        };
        let ran = dmctl(&line, script).await;
        assert_eq!(ran.code, 64);
        assert!(ran.err.contains("REQUEST_ID_USED"), "{}", ran.err);
    }
}

#[tokio::test]
async fn every_option_reaches_the_request() {
    let line = format!(
        "reboot devices/pump-1 --request-id {ID} --mode forced --reason stuck --delay 10s \
         --deadline 20m --require boot-changed --queue --fail-if-blocked --if-boot-id 5f0c \
         --escalate-to power-cycle --if-up-for 1h --validate-only"
    );
    let script = Script {
        attempts: [Ok(attempt(&GOOD[..1]))].into(),
        ..Script::default()
    };
    let ran = dmctl(&line, script).await;
    let mut request = ran.fake.asked(|asked| asked.reboots[0].clone());
    let limit = request.deadline.take().unwrap().seconds - Timestamp::now().as_second();
    assert!((1200..=1210).contains(&limit), "{limit}");
    let seconds = |seconds| prost_types::Duration { seconds, nanos: 0 };
    assert_eq!(
        request,
        RebootRequest {
            device: "devices/pump-1".into(),
            request_id: ID.into(),
            mode: RebootMode::Forced.into(),
            escalate_to: RebootMode::PowerCycle.into(),
            reason: "stuck".into(),
            start: Some(Start::Delay(seconds(10))),
            deadline: None,
            preconditions: Some(Preconditions {
                boot_id: "5f0c".into(),
                min_uptime: Some(seconds(3600)),
            }),
            required_evidence: EvidenceGrade::BootChanged.into(),
            offline_policy: OfflinePolicy::Queue.into(),
            validate_only: true,
            blocked_policy: BlockedPolicy::Fail.into(),
        }
    );
    assert_eq!(ran.code, 0);
    assert_eq!(ran.err, "this is how it would begin; nothing was begun\n");
}

#[tokio::test]
async fn a_refused_reboot_is_rejected_with_the_rule() {
    let script = Script {
        attempts: [Err(Status::not_found("the hub has no device `pump-1`"))].into(),
        ..Script::default()
    };
    let ran = dmctl("reboot pump-1 --wait", script).await;
    assert_eq!(
        ran.err,
        "error: the hub has no device `pump-1` (NOT_FOUND)\n"
    );
    assert_eq!((ran.code, ran.out.as_str()), (4, ""));
}

#[tokio::test]
async fn an_unreachable_service_is_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let ran = dmctl(
        &format!("reboot pump-1 --server http://{address}"),
        Script::default(),
    )
    .await;
    assert!(
        ran.err.starts_with(&format!(
            "error: cannot reach the management service at http://{address}: Connection refused"
        )),
        "{}",
        ran.err
    );
    assert!(
        ran.err
            .ends_with("--server or DMCTL_SERVER says where it is\n")
    );
    assert_eq!(ran.code, 69);
}

#[tokio::test]
async fn json_has_one_object_for_each_event_and_the_verdict_last() {
    let script = watched(vec![vec![
        snapshot(attempt(&GOOD[..1])),
        progress(attempt(&GOOD[..2]), "accepted"),
        progress(succeeded(), "verified"),
    ]]);
    let ran = dmctl("--json reboot pump-1 --wait", script).await;
    let lines = ran.json();
    let events: Vec<_> = lines.iter().map(|line| &line["event"]).collect();
    assert_eq!(events, ["snapshot", "progress", "progress", "verdict"]);
    assert_eq!(
        lines[1],
        json!({
            "event": "progress",
            "device": "pump-1",
            "name": format!("devices/pump-1/reboots/{ID}"),
            "state": "ACCEPTED",
            "grade": null,
            "error": null,
            "time": "2026-11-23T03:41:07.23Z",
            "message": "accepted",
            "revision": 2,
            "resumeToken": "t2",
            "attempt": null,
        })
    );
    let verdict = &lines[3];
    assert_eq!(verdict["device"], "pump-1");
    assert_eq!(verdict["state"], "SUCCEEDED");
    assert_eq!(verdict["grade"], "HEALTHY");
    assert_eq!(verdict["error"], Value::Null);
    assert_eq!(verdict["attempt"]["evidence"]["method"], "mqtt-birth");
    assert_eq!(ran.code, 0);
}

#[tokio::test]
async fn json_does_not_repeat_what_a_new_stream_replays() {
    let accepted = || progress(attempt(&GOOD[..2]), "accepted");
    let script = watched(vec![
        vec![snapshot(attempt(&GOOD[..1])), accepted()],
        vec![
            snapshot(attempt(&GOOD[..2])),
            accepted(),
            progress(succeeded(), "verified"),
        ],
    ]);
    let ran = dmctl(&format!("--json watch pump-1/{ID}"), script).await;
    let lines = ran.json();
    let events: Vec<_> = lines.iter().map(|line| &line["event"]).collect();
    assert_eq!(
        events,
        ["snapshot", "progress", "interrupted", "progress", "verdict"]
    );
    assert_eq!(lines[2]["error"]["code"], "UNAVAILABLE");
}

#[tokio::test]
async fn json_of_a_refusal_has_the_fields_of_a_verdict() {
    let script = Script {
        attempts: [Err(Status::aborted("another attempt is open"))].into(),
        ..Script::default()
    };
    let ran = dmctl("--json reboot pump-1", script).await;
    let [line] = &ran.json()[..] else {
        panic!("one line: {}", ran.out)
    };
    assert_eq!(line["event"], "error");
    assert_eq!(line["device"], "pump-1");
    for field in ["state", "grade", "name"] {
        assert_eq!(line[field], Value::Null);
    }
    assert_eq!(line["error"]["code"], "ABORTED");
    assert_eq!(line["error"]["retryable"], true);
    assert_eq!(ran.code, 4);
}

#[tokio::test]
async fn a_blocked_attempt_names_who_blocks_it() {
    let blocked = RebootAttempt {
        blockers: vec![Blocker {
            id: "apt".into(),
            who: "unattended-upgrades".into(),
            why: "packages are being installed".into(),
            until: None,
        }],
        ..attempt(&[GOOD[0], (AttemptState::Blocked, 300)])
    };
    let script = Script {
        attempts: [Ok(blocked)].into(),
        ..Script::default()
    };
    let ran = dmctl(&format!("get pump-1/{ID}"), script).await;
    assert_eq!(
        ran.out,
        "\
reboot of pump-1, graceful
  0b6c4a52-7d3e-4c11-9a55-1f2e3d4c5b6a
  03:41:07Z     +0.0 s  DISPATCHING  asking the device
  03:41:07Z     +0.3 s  BLOCKED      waiting until nothing forbids it
  blocked by unattended-upgrades (apt): packages are being installed
  ends by 2026-11-23 04:11:07Z at the latest
"
    );
}

#[tokio::test]
async fn a_cancelled_attempt_is_what_was_asked_for() {
    let cancelled = attempt(&[GOOD[0], GOOD[1], (AttemptState::Cancelled, 900)]);
    let script = Script {
        attempts: [Ok(cancelled), Ok(succeeded())].into(),
        ..Script::default()
    };
    let line = format!("cancel pump-1/{ID} --reason later --abandon");
    let ran = dmctl(&line, script).await;
    assert_eq!(ran.code, 0);
    assert!(
        ran.out
            .ends_with("CANCELLED after 0.9 s: cancelled before the reboot command went out\n")
    );
    let request = ran.fake.asked(|asked| asked.cancels[0].clone());
    assert!(request.abandon);
    assert_eq!(request.reason, "later");

    let script = Script {
        attempts: [Ok(failed("NO_SHUTDOWN"))].into(),
        ..Script::default()
    };
    let ran = dmctl(&format!("cancel pump-1/{ID}"), script).await;
    assert_eq!(ran.code, 1, "it had already ended otherwise");
}

#[tokio::test]
async fn attempts_are_listed_page_by_page() {
    let page = |token: &str| ListRebootsResponse {
        reboots: vec![succeeded(), failed("NO_SHUTDOWN")],
        next_page_token: token.into(),
    };
    let pages = || Script {
        pages: [page("p2"), page("")].into(),
        ..Script::default()
    };
    let ran = dmctl("list pump-1", pages()).await;
    assert_eq!(
        ran.out,
        format!(
            "\
CREATED               STATE      EVIDENCE  NAME                                         CAUSE
2026-11-23 03:41:07Z  SUCCEEDED  HEALTHY   pump-1/{ID}
2026-11-23 03:41:07Z  FAILED     -         pump-1/{ID}  NO_SHUTDOWN
"
        )
    );
    assert_eq!(ran.err, "there are more; --all-pages shows them\n");

    let ran = dmctl("list --all-pages", pages()).await;
    assert_eq!(ran.out.lines().count(), 5);
    let asked = ran.fake.asked(|asked| {
        let lists = asked.lists.iter();
        lists
            .map(|list| (list.parent.clone(), list.page_token.clone()))
            .collect::<Vec<_>>()
    });
    let all = || "devices/-".to_owned();
    assert_eq!(asked, [(all(), String::new()), (all(), "p2".to_owned())]);
}

#[tokio::test]
async fn devices_are_listed_and_shown_in_detail() {
    let pump = Device {
        name: "devices/pump-1".into(),
        connected: true,
        enabled: true,
        dialect: Dialect::Native.into(),
        modes: vec![RebootMode::Graceful.into(), RebootMode::Forced.into()],
        best_evidence: EvidenceGrade::Healthy.into(),
        can_cancel: true,
        gateway: "edge-1".into(),
        gateway_version: "0.1.0".into(),
        boot_id: "9e2a".into(),
        ..Device::default()
    };
    let valve = Device {
        name: "devices/valve-2".into(),
        ..Device::default()
    };
    let script = || Script {
        devices: vec![pump.clone(), valve.clone()],
        ..Script::default()
    };
    let ran = dmctl("devices", script()).await;
    assert_eq!(
        ran.out,
        "\
DEVICE   CONNECTED  DIALECT  EVIDENCE  LAST REBOOT  OPEN ATTEMPT
pump-1   yes        NATIVE   HEALTHY   -            -
valve-2  disabled   -        -         -            -
"
    );
    let ran = dmctl("devices pump-1", script()).await;
    assert_eq!(
        ran.out,
        "\
pump-1
  connected     yes
  dialect       NATIVE
  modes         graceful, forced
  best evidence HEALTHY
  can cancel    yes
  gateway       edge-1 0.1.0
  boot id       9e2a
"
    );
    let ran = dmctl("--json devices pump-1", script()).await;
    assert_eq!(ran.json()[0]["bestGrade"], "HEALTHY");
    let ran = dmctl("devices meter-3", script()).await;
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (4, "error: no such device (NOT_FOUND)\n")
    );
}

#[tokio::test]
async fn the_audit_tells_who_was_refused_what() {
    let event = iothubdm_proto::v1::AuditEvent {
        caller: "subject:alice".into(),
        origin: "127.0.0.1:5".into(),
        action: "REBOOT".into(),
        device: "devices/pump-1".into(),
        reason: "stuck".into(),
        decision: iothubdm_proto::v1::AuditDecision::Denied.into(),
        verdict: "no".into(),
        ..Default::default()
    };
    let script = || Script {
        audit: vec![event.clone()],
        ..Script::default()
    };
    let ran = dmctl("audit", script()).await;
    let line = ran.out.lines().nth(1).unwrap();
    for part in [
        "DENIED",
        "REBOOT",
        "subject:alice 127.0.0.1:5",
        "pump-1",
        "stuck",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let ran = dmctl("--json audit pump-1", script()).await;
    let line: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(line["decision"], "DENIED");
    assert_eq!(line["device"], "pump-1");
}
