//! The README's first command: a real reboot, streamed and verified, and a lie found out.

use std::{collections::BTreeMap, process::Stdio};

use iothubdm_tests::{PATIENCE, binary};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

#[tokio::test]
async fn the_demo_shows_both_verdicts_and_ends_with_zero() {
    let output = Command::new(binary("dmctl"))
        .args(["demo", "--json"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE * 2, output)
        .await
        .expect("it ends")
        .expect("run");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );

    // One object per line; the last one about a device is its verdict.
    let mut verdicts = BTreeMap::new();
    for line in said.lines() {
        let event: Value = serde_json::from_str(line).expect("a line is a JSON object");
        if let (Some(device), Some(state)) = (event["device"].as_str(), event["state"].as_str()) {
            let grade = event["grade"].as_str().map(str::to_owned);
            verdicts.insert(device.to_owned(), (state.to_owned(), grade));
        }
    }
    let healthy = ("SUCCEEDED".to_owned(), Some("HEALTHY".to_owned()));
    assert_eq!(verdicts.get("pump-1"), Some(&healthy), "{said}");
    assert_eq!(
        verdicts.get("valve-2").expect("the liar's verdict").0,
        "FAILED",
        "{said}"
    );
}

/// Every process that belongs to the demo, found by its parent.
fn children_of(parent: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let direct: Vec<u32> = listed
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect();
    direct
        .iter()
        .copied()
        .chain(direct.iter().flat_map(|child| children_of(*child)))
        .collect()
}

#[tokio::test]
async fn an_interrupted_demo_leaves_no_process_behind() {
    let mut demo = Command::new(binary("dmctl"))
        .args(["demo", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("start the demo");
    let mut lines = BufReader::new(demo.stdout.take().expect("its output")).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line())
        .await
        .expect("it speaks");
    first.expect("read").expect("a first event");
    let id = demo.id().expect("a running process has an id");
    let children = children_of(id);
    assert!(children.len() >= 4, "{children:?}");
    let sent = Command::new("kill")
        .args(["-INT", &id.to_string()])
        .status()
        .await;
    assert!(sent.expect("run kill").success());
    let ended = tokio::time::timeout(PATIENCE, demo.wait())
        .await
        .expect("it ends")
        .expect("wait");
    assert_eq!(ended.code(), Some(130));
    for child in children {
        let alive = std::fs::read_to_string(format!("/proc/{child}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "));
        assert!(!alive, "process {child} is left behind");
    }
}
