//! The examples for callers in other languages, against the whole main path: they reboot a device,
//! take a watch up again when the service is killed under it, and read why they are refused.

use std::{path::Path, time::Duration};

use iothubdm_tests::{Behavior, DeviceSetup, Language, ScriptProcess, World};

const DEVICE: &str = "pump-1";

/// The stages of a reboot that goes well, each of which is told once.
const STAGES: [&str; 5] = [
    "ACCEPTED",
    "PREPARING",
    "REBOOTING",
    "VERIFYING",
    "SUCCEEDED",
];

fn start(language: Language, folder: &str, script: &str, arguments: &[&str]) -> ScriptProcess {
    let folder = format!("docs/examples/{folder}");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    match ScriptProcess::start(language, &folder, script, arguments, target) {
        Ok(example) => example,
        Err(error) => panic!("{error:#}"),
    }
}

/// Runs an example whose service is killed half-way, and one that is refused.
async fn holds(language: Language, folder: &str, script: &str) {
    let setup = DeviceSetup::new(DEVICE, Behavior::WellBehaved);
    let mut world = World::with_device(setup.boot_time(Duration::from_secs(2))).await;
    let address = world.service_address().to_string();

    let mut example = start(language, folder, script, &[&address, DEVICE]);
    example.prints("ATTEMPT_STATE_REBOOTING").await;
    world.kill_service().await;
    example.prints("interrupted:").await;
    world.start_service().await;
    let (code, output) = example.end().await;
    assert_eq!(code, Some(0), "{output:#?}\n{}", world.logs());
    for stage in STAGES {
        let begin = format!("ATTEMPT_STATE_{stage} ");
        let told = output.iter().filter(|line| line.starts_with(&begin));
        assert_eq!(told.count(), 1, "{stage}: {output:#?}");
    }
    let last = output.last().expect("a last line");
    assert!(
        last.starts_with("proved: EVIDENCE_GRADE_HEALTHY boot"),
        "{output:#?}"
    );
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 1));

    let refused = start(language, folder, script, &[&address, "nobody"]);
    let (code, output) = refused.end().await;
    assert_eq!(code, Some(4), "{output:#?}");
    assert!(
        output[0].starts_with("refused: NOT_FOUND DEVICE_NOT_FOUND device nobody"),
        "{output:#?}"
    );
}

#[tokio::test]
async fn python() {
    holds(Language::Python, "python", "reboot.py").await;
}

#[tokio::test]
async fn node() {
    holds(Language::Node, "node", "reboot.js").await;
}
