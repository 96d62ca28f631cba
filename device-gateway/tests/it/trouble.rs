//! The program on a disk that cannot be used: it stays connected, says so, and reboots nobody.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time,
};

use crate::world::{DEVICE, ID, World, hurried, within};

/// A gateway of its own process, and a device whose reboot leaves a line in a file.
struct Troubled {
    world: World,
    settings: PathBuf,
    commands: PathBuf,
    gateway: Option<Child>,
}

impl Troubled {
    async fn new() -> Self {
        let world = World::prepare("", hub_emulator::EmulatorConfig::default()).await;
        let folder = world.state_dir().to_owned();
        let commands = folder.join("commands");
        let script = folder.join("reboot.sh");
        fs::write(&script, format!("echo x >> {}", commands.display())).unwrap();
        let trigger = format!("trigger = [\"sh\", \"{}\"]", script.display());
        let text = hurried(&world.text()).replace("trigger = [\"false\"]", &trigger);
        let text = text.replace("[\"false\"]", "[\"echo\", \"boot_id=b\"]");
        let settings = folder.join("gateway.toml");
        fs::write(&settings, text).unwrap();
        Self {
            world,
            settings,
            commands,
            gateway: None,
        }
    }

    fn state(&self) -> PathBuf {
        self.world.state_dir().join("state")
    }

    /// Starts the gateway, as somebody who ignores the signal that a file has become too large.
    fn start(&mut self) {
        let gateway = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" --config \"$1\""])
            .arg(env!("CARGO_BIN_EXE_device-gateway"))
            .arg(&self.settings)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.gateway = Some(gateway);
    }

    async fn stop(&mut self) {
        self.gateway.take().unwrap().kill().await.unwrap();
        within(self.world.hub.disconnected(DEVICE)).await;
    }

    /// How large a file the gateway may write.
    async fn limit(&self, bytes: &str) {
        let id = self.gateway.as_ref().unwrap().id().unwrap().to_string();
        let limit = format!("--fsize={bytes}:unlimited");
        let mut command = Command::new("prlimit");
        let limited = command.args(["--pid", &id, &limit]).status().await;
        assert!(limited.unwrap().success());
    }

    async fn reboot(&self) -> (i64, Value) {
        let request = json!({ "requestId": ID });
        self.world.call("reboot", request).await
    }

    async fn refuses(&self) {
        let (status, answer) = self.reboot().await;
        let error = &answer["error"];
        assert_eq!((status, &error["code"]), (500, &json!("INTERNAL")));
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("journal"), "{message}");
    }

    /// Waits until the twin says what is wrong, or nothing.
    async fn reports(&self, trouble: Option<&str>) {
        let wanted = |twin: &Value| {
            let own = &twin["properties"]["reported"]["iothubDM"];
            let said = own["gateway"]["trouble"].as_str();
            match trouble {
                Some(trouble) => said.is_some_and(|said| said.contains(trouble)),
                None => said.is_none() && own["reboot"].is_object(),
            }
        };
        within(self.world.hub.watch_twin(DEVICE, wanted)).await;
    }

    /// Asks until the request is accepted, and waits until its command was given.
    async fn reboots_once(&self) {
        let accepted = async {
            while self.reboot().await.0 != 202 {
                time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(accepted).await;
        self.world.state("FAILED").await;
        assert_eq!(self.commands(), 1);
    }

    fn commands(&self) -> usize {
        let lines = fs::read_to_string(&self.commands);
        lines.map_or(0, |lines| lines.lines().count())
    }
}

fn file_in(folder: &Path) -> PathBuf {
    folder.join("gateway.redb")
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_made_costs_reboots_and_not_the_session() {
    let mut troubled = Troubled::new().await;
    fs::write(troubled.state(), "in the way").unwrap();
    troubled.start();
    troubled.world.connected().await;
    troubled.refuses().await;
    troubled.reports(Some("make the folder")).await;
    assert!(troubled.world.hub.is_connected(DEVICE));
    assert_eq!(troubled.commands(), 0);

    fs::remove_file(troubled.state()).unwrap();
    troubled.reports(None).await;
    troubled.reboots_once().await;
    let connects = troubled.world.hub.counters().connects_accepted.total;
    assert_eq!(connects, 1, "the session was held all the time");
}

#[tokio::test]
async fn a_disk_that_is_full_in_the_midst_costs_reboots_and_not_the_session() {
    let mut troubled = Troubled::new().await;
    troubled.start();
    troubled.world.connected().await;
    troubled.reports(None).await;
    troubled.limit("4096").await;
    troubled.refuses().await;
    troubled.reports(Some("File too large")).await;
    troubled.refuses().await;
    assert_eq!(troubled.commands(), 0);

    troubled.limit("unlimited").await;
    troubled.reports(None).await;
    troubled.reboots_once().await;
    assert_eq!(troubled.world.hub.counters().connects_accepted.total, 1);
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_is_left_as_it_is_and_its_request_is_not_carried_out_again() {
    let mut troubled = Troubled::new().await;
    troubled.start();
    troubled.world.connected().await;
    troubled.reboots_once().await;
    troubled.stop().await;
    let journal = file_in(&troubled.state());
    let whole = fs::read(&journal).unwrap();
    let damaged = vec![7; whole.len()];
    fs::write(&journal, &damaged).unwrap();

    troubled.start();
    troubled.world.connected().await;
    troubled.refuses().await;
    troubled.reports(Some("gateway.redb")).await;
    assert!(fs::read(&journal).unwrap() == damaged, "it was written to");

    // Whoever has it back from somewhere puts it in its place; what it remembers is not done again.
    fs::write(&journal, &whole).unwrap();
    troubled.reports(None).await;
    let (status, answer) = troubled.reboot().await;
    assert_eq!(
        (status, &answer["duplicate"]),
        (202, &json!(true)),
        "{answer}"
    );
    assert_eq!(troubled.commands(), 1);
}
