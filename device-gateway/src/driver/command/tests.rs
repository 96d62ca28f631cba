//! The driver with real processes: scripts that keep the contract or do not. A file stands for the
//! device; its content is the boot it is in.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use iot_hub::reboot::{Grade, Mode};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::driver::{
    conformance::{self, FakeDevice, Shows},
    http::test_server::{Asked, Reply, TestServer},
    tests::{self, ID, rehearsal},
};

/// A device in a file, and commands for it.
struct Device {
    dir: TempDir,
    config: CommandConfig,
}

impl Device {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("boot"), "b1\n").unwrap();
        let read = shell(dir.path(), "cat boot");
        Self {
            config: CommandConfig {
                baseline: read.clone(),
                trigger: shell(dir.path(), "echo b2 > boot"),
                observe: read,
                health: None,
                timeout: Duration::from_secs(30),
            },
            dir,
        }
    }

    fn trigger(mut self, script: &str) -> Self {
        self.config.trigger = shell(self.dir.path(), script);
        self
    }

    fn observe(mut self, script: &str) -> Self {
        self.config.baseline = shell(self.dir.path(), script);
        self.config.observe = shell(self.dir.path(), script);
        self
    }

    fn health(mut self, script: &str) -> Self {
        self.config.health = Some(shell(self.dir.path(), script));
        self
    }

    fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    fn driver(&self) -> CommandDriver {
        CommandDriver::new(self.config.clone())
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

/// A script, run by a shell that is the configured program.
fn shell(dir: &Path, script: &str) -> CommandLine {
    let dir = dir.to_str().unwrap();
    CommandLine {
        program: "sh".into(),
        arguments: vec!["-c".into(), format!("cd '{dir}' || exit 99\n{script}")],
    }
}

fn order() -> Order {
    Order {
        reason: "a \"test\"\n$(exit 7)\0".into(),
        ..tests::order(Mode::Graceful)
    }
}

async fn observe(driver: &CommandDriver) -> Observation {
    driver.observe(&Baseline::default()).await.unwrap()
}

fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// A script that asks for a path at that address. Where nobody answers, the trigger goes down with the
/// device, as one over a connection does.
fn asks(server: &TestServer, path: &str) -> CommandLine {
    let url = server.url();
    let address = url.trim_start_matches("http://").replace(':', "/");
    let script = format!(
        "exec 3<>/dev/tcp/{address} || exit 1\n\
         printf 'GET {path} HTTP/1.1\\r\\n\\r\\n' >&3\n\
         IFS=' ' read -r _ status _ <&3 || {{ [ -z \"$DM_REQUEST_ID\" ] || kill -9 $$; exit 1; }}\n\
         while IFS= read -r line <&3 && [ \"$line\" != $'\\r' ]; do :; done\n\
         cat <&3\n\
         [ \"$status\" = 200 ]"
    );
    CommandLine {
        program: "bash".into(),
        arguments: vec!["-c".into(), script],
    }
}

fn answer(device: &FakeDevice, asked: &Asked) -> Option<Reply> {
    match &*asked.path {
        "/look" => device.look().map(|shown| {
            let look = json!({ "bootId": format!("b{}", shown.boots), "causeId": shown.cause });
            Reply::new(200, look)
        }),
        "/health" => device
            .peek()
            .map(|shown| Reply::new(if shown.healthy { 200 } else { 500 }, "")),
        path => {
            assert_eq!(path, format!("/reboot/{ID}"));
            device.command(Some(ID)).then(|| Reply::new(200, ""))
        }
    }
}

#[tokio::test]
async fn no_behavior_behind_scripts_gets_a_false_verdict() {
    let shows = Shows {
        proof: Grade::Caused,
        each_boot: true,
        health: true,
    };
    conformance::check(shows, async |device| {
        let server = TestServer::start(move |asked| answer(&device, asked)).await;
        let driver = CommandDriver::new(CommandConfig {
            baseline: asks(&server, "/look"),
            trigger: asks(&server, "/reboot/'\"$DM_REQUEST_ID\"'"),
            observe: asks(&server, "/look"),
            health: Some(asks(&server, "/health")),
            timeout: Duration::from_secs(30),
        });
        (Arc::new(driver) as Arc<dyn Driver>, server)
    })
    .await;
}

#[tokio::test]
async fn a_reboot_shows_in_what_is_printed() {
    let device = Device::new();
    let driver = device.driver();
    let baseline = driver.baseline().await.unwrap();
    assert_eq!(baseline.boot_id.as_deref(), Some("b1"));
    assert_eq!(baseline.detail, "boot b1");
    let triggered = driver.trigger(&order()).await.unwrap();
    assert_eq!(triggered, Triggered::Acknowledged);
    let seen = observe(&driver).await;
    assert!(seen.present);
    assert_eq!(seen.boot_id.as_deref(), Some("b2"));
    assert_eq!(seen.method, "command");
    assert_eq!(driver.health().await.unwrap(), Health::Unknown);
}

#[tokio::test]
async fn a_script_that_lies_changes_nothing() {
    let device = Device::new().trigger("echo rebooting now");
    let driver = device.driver();
    let triggered = driver.trigger(&order()).await.unwrap();
    assert_eq!(triggered, Triggered::Acknowledged);
    let seen = observe(&driver).await;
    assert_eq!(seen.boot_id.as_deref(), Some("b1"));
    assert!(!seen.was_absent);
}

#[tokio::test]
async fn the_exit_of_the_trigger_is_the_answer() {
    async fn trigger(script: &str, limit: Duration) -> Result<Triggered, DriverError> {
        let device = Device::new().trigger(script).timeout(limit);
        device.driver().trigger(&order()).await
    }
    let long = Duration::from_secs(30);
    let killed = trigger("kill -9 $$", long).await;
    assert_eq!(killed.unwrap(), Triggered::Unacknowledged);
    let stuck = trigger("sleep 1000", Duration::from_millis(200)).await;
    assert_eq!(stuck.unwrap(), Triggered::Unacknowledged);
    for (script, expected) in [
        (
            "echo one >&2; echo ' not now ' >&2; echo >&2; exit 3",
            "not now",
        ),
        ("exit 3", "exit status 3"),
    ] {
        match trigger(script, long).await {
            Err(DriverError::Refused(message)) => assert_eq!(message, expected),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_trigger_is_told_the_order_and_no_shell_reads_it() {
    let device = Device::new()
        .trigger(r#"printf '%s|%s|%s' "$DM_REQUEST_ID" "$DM_MODE" "$DM_REASON" > told"#);
    device.driver().trigger(&order()).await.unwrap();
    assert_eq!(
        device.file("told"),
        format!("{ID}|graceful|a \"test\" $(exit 7) ")
    );

    // The arguments themselves are nobody's script.
    let mut device = Device::new();
    device.config.baseline = CommandLine {
        program: "echo".into(),
        arguments: ["$(echo", "b9);", "*"].map(String::from).to_vec(),
    };
    let baseline = device.driver().baseline().await.unwrap();
    assert_eq!(baseline.boot_id.as_deref(), Some("$(echo b9); *"));
}

#[tokio::test]
async fn a_rehearsal_does_not_run_the_trigger() {
    let device = Device::new();
    let driver = device.driver();
    let rehearsal = rehearsal(Mode::Graceful);
    assert_eq!(
        driver.trigger(&rehearsal).await.unwrap(),
        Triggered::Rehearsed
    );
    assert_eq!(device.file("boot"), "b1\n");
    let power_cycle = tests::order(Mode::PowerCycle);
    assert!(matches!(
        driver.trigger(&power_cycle).await,
        Err(DriverError::Unsupported(_))
    ));
    assert_eq!(device.file("boot"), "b1\n");
}

#[tokio::test]
async fn a_device_that_cannot_be_reached_is_told_from_one_that_is_said_to_be_away() {
    let device =
        Device::new().observe("test -f boot && cat boot || { echo no route >&2; exit 255; }");
    let driver = device.driver();
    driver.trigger(&order()).await.unwrap();
    assert!(observe(&driver).await.present);
    fs::remove_file(device.dir.path().join("boot")).unwrap();
    let silent = Some(DriverError::Unreachable("no route".into()));
    assert_eq!(driver.observe(&Baseline::default()).await.err(), silent);
    assert_eq!(driver.baseline().await.err(), silent);
    fs::write(device.dir.path().join("boot"), "b2").unwrap();
    assert!(observe(&driver).await.present);
}

#[tokio::test]
async fn an_object_may_say_that_the_device_is_absent_or_why_it_booted() {
    let device = Device::new().observe(&format!(
        r#"echo '{{"bootId":"b2","uptimeSec":3,"bootCount":4,"causeId":"{ID}"}}'"#
    ));
    let seen = observe(&device.driver()).await;
    assert_eq!(seen.caused_by, Some(ID));
    assert_eq!(seen.boot_count, Some(4));
    assert_eq!(seen.uptime, Some(Duration::from_secs(3)));
    assert_eq!(seen.detail, "boot b2, boot number 4, up 3 s");
    let device = Device::new().observe(r#"echo '{"present":false}'"#);
    let seen = device.driver().observe(&Baseline::default()).await;
    assert!(matches!(seen, Err(DriverError::Absent(_))), "{seen:?}");
}

#[tokio::test]
async fn nonsense_is_an_error_and_no_evidence() {
    for script in ["true", "echo a; echo b", "echo '{'", r"printf '\377\0'"] {
        let device = Device::new().observe(script);
        let driver = device.driver();
        for failed in [
            driver.observe(&Baseline::default()).await.err(),
            driver.baseline().await.err(),
        ] {
            assert!(
                matches!(failed, Some(DriverError::Failed { .. })),
                "{script}: {failed:?}"
            );
        }
    }
    let mut device = Device::new();
    device.config.trigger.program = "/nonexistent/program".into();
    let failed = device.driver().trigger(&order()).await;
    let message = failed.unwrap_err().to_string();
    assert!(
        message.starts_with("run the trigger command: /nonexistent/program: "),
        "{message}"
    );
}

#[tokio::test]
async fn health_is_an_exit_status() {
    async fn health(script: &str) -> Health {
        let device = Device::new().health(script);
        device.driver().health().await.unwrap()
    }
    assert_eq!(health("true").await, Health::Healthy);
    let ill = health("echo too hot >&2; false").await;
    assert_eq!(ill, Health::Unhealthy("too hot".into()));
    let dead = health("kill -9 $$").await;
    assert_eq!(dead, Health::Unhealthy("killed by signal 9".into()));
}

#[tokio::test]
async fn a_grade_is_promised_only_where_something_printed_can_carry_it() {
    #[track_caller]
    fn check(probe: &Probe, best: Grade, required: Grade) {
        assert_eq!((probe.best_grade, probe.required_grade), (best, required));
    }
    let probe = |device: Device| async move { device.driver().probe().await.unwrap() };
    let full = probe(Device::new().health("true")).await;
    check(&full, Grade::Healthy, Grade::BootChanged);
    assert_eq!(full.boot_id.as_deref(), Some("b1"));
    let plain = probe(Device::new()).await;
    check(&plain, Grade::Caused, Grade::BootChanged);
    let uptime = probe(Device::new().observe(r#"echo '{"uptimeSec":3}'"#)).await;
    check(&uptime, Grade::UptimeReset, Grade::UptimeReset);
    let nothing = probe(Device::new().observe("echo '{}'")).await;
    check(&nothing, Grade::Returned, Grade::Returned);
    let away = probe(Device::new().observe("exit 1")).await;
    check(&away, Grade::Caused, Grade::BootChanged);
    assert_eq!(away.boot_id, None);
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_that_it_started() {
    let device = Device::new()
        .observe("sleep 1000 & echo $! > child; echo $$ > leader; wait")
        .timeout(Duration::from_secs(2));
    let seen = device.driver().observe(&Baseline::default()).await;
    let late = DriverError::Unreachable("it took too long".into());
    assert_eq!(seen.err(), Some(late));
    assert!(!is_running(&device.file("leader")));
    until_gone(&device.file("child")).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_kills_its_command() {
    let device = Device::new().observe("echo $$ > leader; exec sleep 1000");
    let driver = device.driver();
    let begun = async {
        while device.file("leader").trim().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = driver.baseline() => panic!("it hangs"),
        () = begun => {}
    }
    until_gone(&device.file("leader")).await;
}

/// Waits for a process that is not our child, which can only be asked after.
async fn until_gone(pid: &str) {
    assert!(!pid.trim().is_empty());
    let gone = async {
        while is_running(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .expect("the process is gone");
}

#[tokio::test]
async fn endless_output_and_what_a_command_leaves_behind_hold_nobody_up() {
    let begun = Instant::now();
    let device = Device::new().trigger("yes | head -c 10000000");
    assert_eq!(
        device.driver().trigger(&order()).await.unwrap(),
        Triggered::Acknowledged
    );

    // A trigger that reboots a second later, as many do, keeps the output open and stays alive.
    let device = Device::new().trigger("sleep 1000 & echo $! > child");
    assert_eq!(
        device.driver().trigger(&order()).await.unwrap(),
        Triggered::Acknowledged
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    let child = device.file("child");
    assert!(is_running(&child));
    let kill = tokio::process::Command::new("kill")
        .arg(child.trim())
        .status();
    assert!(kill.await.unwrap().success());
}
