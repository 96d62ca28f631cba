//! On a made-up machine: a folder with the files that are looked at, a script in systemctl's place,
//! and a process of the test in the place of the first one.

use std::{
    os::unix::fs::symlink,
    process::{Child, Command as Spawn},
};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::*;

/// A machine without systemd-logind.
pub(crate) struct Machine {
    dir: TempDir,
}

impl Machine {
    /// One that systemd runs, and where systemctl ends that way.
    pub(crate) fn with_systemd(systemctl: &str) -> Self {
        let machine = Self::empty("systemd");
        fs::create_dir_all(machine.path("run/systemd/system")).unwrap();
        let script = format!("#!/bin/sh\necho \"$@\" >> \"$0.asked\"\n{systemctl}\n");
        // Written by another process: a program that any thread of this one still has open for
        // writing, if only between fork and exec, cannot be started.
        let written = Spawn::new("/bin/sh")
            .args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""])
            .arg(machine.path("systemctl"))
            .arg(script)
            .status();
        assert!(written.unwrap().success());
        machine
    }

    fn empty(first: &str) -> Self {
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(machine.path("proc/self/ns")).unwrap();
        machine.set_namespace(OWN_NAMESPACE);
        machine.set_first(NOBODY_THERE, first);
        machine
    }

    fn set_namespace(&self, name: &str) {
        let link = self.path("proc/self/ns/pid");
        let _ = fs::remove_file(&link);
        symlink(name, link).unwrap();
    }

    fn set_first(&self, id: u32, name: &str) {
        fs::create_dir_all(self.path(&format!("proc/{id}"))).unwrap();
        fs::write(self.path(&format!("proc/{id}/comm")), format!("{name}\n")).unwrap();
    }

    /// What it offers.
    pub(crate) fn last_resort(&self) -> LastResort {
        LastResort {
            root: self.dir.path().to_owned(),
            systemctl: Some(self.path("systemctl")).filter(|path| path.exists()),
            first_process: NOBODY_THERE,
        }
    }

    /// How systemctl was called.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.path("systemctl.asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A process id that is not in use: above the kernel's highest.
const NOBODY_THERE: u32 = 4_194_304 + 7;

#[tokio::test]
async fn systemctl_is_asked_once_and_its_answer_is_understood() {
    let fails = |words: &str| format!("echo 'x\n{words}' >&2; exit 1");
    let cases = [
        ("exit 0".to_owned(), Done::Taken),
        ("kill -KILL $$".to_owned(), Done::Perhaps),
        (
            fails("Failed to connect to bus: No such file or directory"),
            Done::Nothing("Failed to connect to bus: No such file or directory".into()),
        ),
        (
            fails("Failed to start reboot.target: Access denied"),
            Done::Refused("Failed to start reboot.target: Access denied".into()),
        ),
        (
            fails("Failed to start reboot.target: Connection timed out"),
            Done::Failed("Failed to start reboot.target: Connection timed out".into()),
        ),
        ("exit 1".to_owned(), Done::Failed("no reason given".into())),
    ];
    for (systemctl, expected) in cases {
        let machine = Machine::with_systemd(&systemctl);
        let last_resort = machine.last_resort();
        let way = last_resort.ways().remove(0);
        assert_eq!(last_resort.go(&way).await, expected, "{systemctl}");
        assert_eq!(machine.asked(), ["reboot --no-wall --no-ask-password"]);
        fs::remove_file(machine.path("systemctl")).unwrap();
        let gone = last_resort.go(&way).await;
        assert!(matches!(gone, Done::Nothing(_)), "{gone:?}");
    }
}

#[test]
fn only_a_machine_of_its_own_with_an_init_that_is_known_is_signalled() {
    let signals = |machine: &Machine| -> Vec<_> {
        let ways = machine.last_resort().ways();
        ways.into_iter()
            .filter_map(|way| match way {
                Way::Signal(signal) => Some(signal),
                Way::Systemctl(_) => None,
            })
            .collect()
    };
    assert_eq!(signals(&Machine::with_systemd("")), ["RTMIN+5"]);
    assert_eq!(signals(&Machine::empty("init")), ["INT"]);
    // Without systemd's folder that name is an accident, and with it `init` is.
    assert_eq!(signals(&Machine::empty("systemd")), [""; 0]);
    let odd = Machine::with_systemd("");
    odd.set_first(NOBODY_THERE, "init");
    assert_eq!(signals(&odd), [""; 0]);
    // A container's first process would end, and the container with it.
    for first in ["sh", "device-gateway", "tini", "initial", ""] {
        assert_eq!(signals(&Machine::empty(first)), [""; 0], "{first}");
    }
    for machine in [Machine::with_systemd(""), Machine::empty("init")] {
        machine.set_namespace("pid:[4026532201]");
        assert_eq!(machine.last_resort().ways(), []);
        fs::remove_file(machine.path("proc/self/ns/pid")).unwrap();
        assert_eq!(machine.last_resort().ways(), []);
    }
}

#[test]
fn a_test_cannot_reboot_the_machine_it_runs_on() {
    assert_eq!(LastResort::new().ways(), []);
}

#[tokio::test]
async fn the_signal_arrives() {
    for signal in ["RTMIN+5", "INT"] {
        let script = format!(
            "trap 'echo arrived; exit 0' {signal}; echo listening; while :; do sleep 0.05; done"
        );
        // A shell cannot trap what was ignored when it began, as SIGINT is behind an `&`.
        let mut process = Command::new("env")
            .args(["--default-signal=INT", "/bin/bash", "-c", &script])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "listening");
        let last_resort = LastResort {
            root: "/nonexistent".into(),
            systemctl: None,
            first_process: process.id().unwrap(),
        };
        assert_eq!(last_resort.go(&Way::Signal(signal)).await, Done::Taken);
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "arrived");
    }
}

#[tokio::test]
async fn a_signal_that_cannot_be_sent_did_nothing() {
    let mut gone: Child = Spawn::new("/bin/true").spawn().unwrap();
    gone.wait().unwrap();
    let last_resort = Machine::empty("init").last_resort();
    let done = last_resort.go(&Way::Signal("INT")).await;
    assert!(matches!(done, Done::Refused(_)), "{done:?}");
}
