//! The demo with its real processes: its verdicts, what it prints for a script, and that nothing
//! of it is left when it ends.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[test]
fn it_ends_with_both_verdicts_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path())
        .args(["demo", "--json"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");

    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [.., pump, valve] = lines.as_slice() else {
        panic!("two verdicts: {text}");
    };
    for (verdict, device, state) in [(pump, "pump-1", "SUCCEEDED"), (valve, "valve-2", "FAILED")] {
        assert_eq!(verdict["event"], "verdict");
        assert_eq!(verdict["device"], device);
        assert_eq!(verdict["state"], state);
    }
    assert_eq!(pump["grade"], "HEALTHY");
    assert_eq!(pump["error"], Value::Null);
    assert_eq!(valve["error"]["code"], "NO_SHUTDOWN");
    assert_nothing_left(folder.path());
}

#[test]
fn kept_it_runs_until_it_is_interrupted_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(folder.path())
        .args(["demo", "--keep"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        told += &line;
        told.push('\n');
        if line.starts_with("Everything runs on") {
            assert!(!processes(folder.path()).is_empty());
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
            kill_process(pid, Signal::INT).unwrap();
        }
    }
    assert!(child.wait().unwrap().success(), "{told}");
    for part in ["SUCCEEDED", "NO_SHUTDOWN", "export DMCTL_SERVER", "grpcurl"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_nothing_left(folder.path());
}

/// The demo with its temporary folder in `folder`. Where the other programs are built, as they are
/// when the whole workspace is tested, they are taken as they are.
fn demo(folder: &Path) -> Command {
    let dmctl = Path::new(env!("CARGO_BIN_EXE_dmctl"));
    let mut command = Command::new(dmctl);
    command.env("TMPDIR", folder).stdin(Stdio::null());
    let programs = [
        "hub-emulator",
        "mgmt-service",
        "device-gateway",
        "local-device",
    ];
    if programs
        .iter()
        .all(|name| dmctl.with_file_name(name).is_file())
    {
        command.env_remove("CARGO");
    }
    command
}

/// No process runs on files of `folder`, and none are left there.
fn assert_nothing_left(folder: &Path) {
    assert_eq!(processes(folder), [""; 0]);
    let left: Vec<_> = fs::read_dir(folder).expect("the folder is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The command lines of the processes that name `folder`.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().expect("the folder has a plain name");
    fs::read_dir("/proc")
        .expect("this is Linux")
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}
