//! The commands that look at a gateway, as a person runs them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time,
};

use crate::{
    identities::{CERTIFICATE, Own, knowing},
    world::{DEVICE, ID, World, hurried, within},
};

fn gateway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_device-gateway"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn ask(settings: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = gateway();
    let [what, rest @ ..] = arguments else {
        panic!("a command");
    };
    command.arg(what).arg("--config").arg(settings).args(rest);
    let Output {
        status,
        stdout,
        stderr,
    } = within(command.output()).await.unwrap();
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Settings of a device that says `present` when it is looked at.
async fn world(present: &str) -> (World, std::path::PathBuf) {
    let world = World::prepare("", hub_emulator::EmulatorConfig::default()).await;
    let text = hurried(&world.text()).replace("[\"false\"]", present);
    let text = format!("{text}\n[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let path = world.state_dir().join("gateway.toml");
    fs::write(&path, text).unwrap();
    (world, path)
}

#[tokio::test]
async fn check_says_what_each_device_can_prove_and_whether_the_hub_is_there() {
    let (_world, settings) = world("[\"echo\", \"boot_id=b\"]").await;
    let (code, said) = ask(&settings, &["check"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("can be reached"), "{said}");
    assert!(
        said.contains(DEVICE) && said.contains("can prove"),
        "{said}"
    );

    let (code, said) = ask(&settings, &["check", "--json", "--set", "hub.mqtt_port=1"]).await;
    assert_eq!(code, Some(1), "{said}");
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&found[0]["good"], &found[1]["good"]),
        (&false.into(), &true.into())
    );
    let unreached = found[0]["found"].as_str().unwrap();
    assert!(unreached.contains("cannot be reached"), "{said}");
    assert!(unreached.contains("nobody listens at this port"), "{said}");
    assert_eq!(found[2]["good"], Value::Bool(false));
}

#[tokio::test]
async fn check_signs_in_once_and_says_why_it_is_not_let_in() {
    let (world, settings) = world("[\"echo\", \"boot_id=b\"]").await;
    let (code, said) = ask(&settings, &["check"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("signs in at "), "{said}");
    within(world.hub.disconnected(DEVICE)).await;
    assert_eq!(world.hub.counters().connects_accepted.total, 1);
    let nobodys = !world.state_dir().join("state").exists();
    assert!(nobodys, "check leaves nothing behind");

    let text = fs::read_to_string(&settings).unwrap();
    let other = world.hub.device("another-device");
    let key = |connection: &str| {
        connection
            .split("SharedAccessKey=")
            .nth(1)
            .unwrap()
            .to_owned()
    };
    let wrong = text.replace(&key(&world.hub.device(DEVICE)), &key(&other));
    fs::write(&settings, wrong).unwrap();
    let (code, said) = ask(&settings, &["check"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the hub refused the credentials"), "{said}");
    assert!(said.contains("this machine's clock"), "{said}");
}

#[tokio::test]
async fn check_tells_of_a_key_that_everybody_may_read() {
    let own = Own::new();
    let world = World::prepare("", knowing(own.thumbprints.clone())).await;
    own.put(world.state_dir());
    let identity = format!("HostName=localhost;DeviceId={DEVICE};x509=true");
    let settings = world.state_dir().join("gateway.toml");
    let text = world.text_with(&identity, CERTIFICATE);
    fs::write(&settings, text.replace("\"false\"", "\"echo\", \"b\"")).unwrap();
    let (code, said) = ask(&settings, &["check"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("signs in at "), "{said}");

    let key = world.state_dir().join("device.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = ask(&settings, &["check"]).await;
    assert_eq!(code, Some(1), "{said}");
    let exposed = "everybody may read it, its permissions are 644";
    assert!(
        said.contains("device.key") && said.contains(exposed),
        "{said}"
    );
}

#[tokio::test]
async fn check_beside_a_gateway_that_runs_takes_no_session_away() {
    let (world, settings) = world("[\"echo\", \"boot_id=b\"]").await;
    let lamp = world.hub.device("lamp");
    let text = fs::read_to_string(&settings).unwrap();
    let text = format!(
        "{text}[local_mqtt]\nlisten = \"127.0.0.1:0\"\n[[device]]\nid = \"lamp\"\n\
         connection_string = \"{lamp}\"\n[device.mqtt]\npassword = \"x\"\n"
    );
    fs::write(&settings, text).unwrap();
    let (code, said) = ask(&settings, &["check"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("connects by itself"), "{said}");

    let (mut running, listen) = run(&world, &settings).await;
    within(world.hub.callable("lamp")).await;
    let accepted = world.hub.counters().connects_accepted.total;
    // A gateway that nobody can ask still holds its folder.
    let (code, said) = ask(&settings, &["check"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("a gateway runs, and its session would end"),
        "{said}"
    );
    let (code, said) = within(async {
        loop {
            let (code, said) = ask(&settings, &["check", "--set", &listen]).await;
            if !said.contains("is not signed in") {
                return (code, said);
            }
        }
    })
    .await;
    assert!(
        said.contains("is signed in by the gateway that runs"),
        "{said}"
    );
    assert!(
        said.contains("is not connected to the gateway that runs"),
        "{said}"
    );
    assert_eq!(code, Some(1), "the lamp is not there: {said}");
    assert_eq!(world.hub.counters().connects_accepted.total, accepted);
    assert!(world.hub.is_connected(DEVICE) && world.hub.is_connected("lamp"));
    running.kill().await.unwrap();
}

#[tokio::test]
async fn status_of_a_gateway_that_does_not_run_is_what_its_journal_says() {
    let (world, settings) = world("[\"echo\", \"boot_id=b\"]").await;
    let (mut running, _) = run(&world, &settings).await;
    let first = json!({ "requestId": ID });
    assert_eq!(world.call("reboot", first).await.0, 202);
    world.state("FAILED").await;
    let other = ID.replace('1', "2");
    let second = json!({ "requestId": other, "delaySec": 3_600 });
    assert_eq!(world.call("reboot", second).await.0, 202);
    running.kill().await.unwrap();
    let journal = world.state_dir().join("state").join("gateway.redb");
    let before = fs::read(&journal).unwrap();

    let (code, said) = ask(&settings, &["status"]).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("what its journal says"), "{said}");
    assert!(said.contains(&format!("SCHEDULED {other}")), "{said}");
    assert!(said.contains(&format!("FAILED {ID}, ")), "{said}");
    assert!(fs::read(&journal).unwrap() == before, "it was written to");

    fs::write(&journal, "garbage").unwrap();
    let (code, said) = ask(&settings, &["status"]).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("gateway.redb"), "{said}");
    assert_eq!(fs::read_to_string(&journal).unwrap(), "garbage");
}

/// Starts the gateway of these settings; says where it can be asked.
async fn run(world: &World, settings: &Path) -> (Child, String) {
    let ready = world.state_dir().join("ready.json");
    let running = gateway()
        .arg("--config")
        .arg(settings)
        .arg("--ready-file")
        .arg(&ready)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    world.connected().await;
    // The hub may hear of the device a moment before whoever waits for the gateway.
    let how = within(async {
        loop {
            match fs::read(&ready) {
                Ok(how) => return how,
                Err(_) => time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    let how: Value = serde_json::from_slice(&how.await).unwrap();
    let address = how["metrics"].as_str().unwrap();
    (running, format!("metrics.listen={address}"))
}

#[tokio::test]
async fn rehearse_goes_through_a_reboot_and_gives_no_command() {
    let (world, settings) = world("[\"echo\", \"boot_id=b\"]").await;
    let mark = world.state_dir().join("rebooted");
    let text = fs::read_to_string(&settings).unwrap();
    let trigger = format!("trigger = [\"touch\", \"{}\"]", mark.display());
    fs::write(
        &settings,
        text.replace("trigger = [\"echo\", \"boot_id=b\"]", &trigger),
    )
    .unwrap();
    let (code, said) = ask(&settings, &["rehearse"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("would be rebooted"), "{said}");
    assert!(!mark.exists());
    let (code, said) = ask(&settings, &["rehearse", "nobody"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("not in the settings") && !said.contains(DEVICE),
        "{said}"
    );
    fs::write(
        &settings,
        text.replace("\"echo\", \"boot_id=b\"", "\"false\""),
    )
    .unwrap();
    let (code, said) = ask(&settings, &["rehearse", DEVICE]).await;
    assert_eq!(code, Some(1), "{said}");
}

#[tokio::test]
async fn wrong_settings_end_with_a_code_of_their_own() {
    let (_world, settings) = world("[]").await;
    for what in ["check", "rehearse", "status"] {
        let (code, said) = ask(&settings, &[what]).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("device[0].command.trigger"), "{said}");
    }
    let (code, said) = ask(Path::new("/nonexistent"), &["check"]).await;
    assert_eq!(code, Some(2), "{said}");
    let output = gateway()
        .args(["status", "--nonsense"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn status_asks_the_gateway_that_runs() {
    let (world, settings) = world("[\"echo\", \"boot_id=b\"]").await;
    let (code, said) = ask(
        &settings,
        &["status", "--set", "metrics.listen=127.0.0.1:1"],
    )
    .await;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("no gateway answers at 127.0.0.1:1"), "{said}");

    let (mut running, listen) = run(&world, &settings).await;
    let address = listen.trim_start_matches("metrics.listen=");
    let status = async || {
        let (code, said) = ask(&settings, &["status", "--json", "--set", &listen]).await;
        (code, serde_json::from_str::<Value>(&said).unwrap())
    };
    // The device's task hears of its session a moment after the hub.
    let (code, found) = within(async {
        loop {
            let (code, found) = status().await;
            if found["devices"][DEVICE]["connected"] == true {
                return (code, found);
            }
            time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!((code, &found["trouble"]), (Some(0), &Value::Null));
    let (_, said) = ask(&settings, &["status", "--set", &listen]).await;
    assert!(said.contains("1 of 1 device(s) connected"), "{said}");

    let http = reqwest::Client::new();
    let get = async |path: &str| {
        let answer = within(http.get(format!("http://{address}{path}")).send()).await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("/readyz").await.0, 200);
    let (_, metrics) = get("/metrics").await;
    for line in [
        "device_gateway_hub_sessions 1",
        "device_gateway_devices 1",
        "device_gateway_hub_connects_total 1",
        "device_gateway_journal_write_seconds_count",
        "device_gateway_journal_failures_total 0",
    ] {
        assert!(metrics.contains(line), "{line} {metrics}");
    }
    assert!(!metrics.contains(DEVICE), "no label names a device");
    running.kill().await.unwrap();
}
