//! The programs outside the virtual machine: the hub, the service, and the client that asks.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::machine::{Machine, log};
use crate::steps::{cargo, target_folder};

/// The hub's name in the virtual machine. Outside it is `localhost`, which the hub answers to as well.
const HUB_NAME: &str = "iot-hub.test";

/// How long a program of ours may take to serve.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The programs, running. They end with this value.
#[derive(Debug)]
pub(crate) struct Outside {
    folder: PathBuf,
    hub: Value,
    service: SocketAddr,
    go_down_limit: &'static str,
    _running: Vec<Running>,
}

/// What the service says of the device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) boot_id: String,
}

/// An attempt that has ended.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// `dmctl`'s exit code.
    pub(crate) exit: i32,
    pub(crate) state: String,
    pub(crate) grade: String,
    pub(crate) error: String,
    /// Every event, as `dmctl` prints it.
    pub(crate) events: Vec<Value>,
}

/// Builds the programs.
pub(crate) fn build() -> anyhow::Result<()> {
    cargo(&[
        "build",
        "--package",
        "hub-emulator",
        "--package",
        "mgmt-service",
        "--package",
        "dmctl",
        "--bins",
    ])
}

impl Outside {
    /// Starts the programs in a folder of their own.
    pub(crate) fn start(folder: &Path, go_down_limit: &'static str) -> anyhow::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;

        let mut hub = Running::start(
            folder,
            "hub-emulator",
            &[
                "--host",
                HUB_NAME,
                "--https-port",
                "0",
                "--mqtt-port",
                "0",
                "--device",
                "edge-1",
                "--admin-port",
                "0",
                "--ca-file",
                "ca.pem",
                "--ready-file",
                "hub-emulator.ready",
            ],
        )?;
        let hub_ready = hub.ready(folder)?;
        fs::write(folder.join("service.toml"), settings(&hub_ready)?)
            .context("write the service's settings")?;
        let mut service = Running::start(
            folder,
            "mgmt-service",
            &[
                "--config",
                "service.toml",
                "--ready-file",
                "mgmt-service.ready",
            ],
        )?;
        let service_ready = service.ready(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            service: text(&service_ready, "address")?
                .parse()
                .context("read the service's address")?,
            hub: hub_ready,
            go_down_limit,
            _running: vec![service, hub],
        })
    }

    pub(crate) fn hub_name(&self) -> &'static str {
        HUB_NAME
    }

    pub(crate) fn go_down_limit(&self) -> &'static str {
        self.go_down_limit
    }

    pub(crate) fn mqtt_port(&self) -> u64 {
        self.hub["mqttPort"].as_u64().unwrap_or_default()
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub(crate) fn connection_string(&self) -> &str {
        self.hub["devices"]["edge-1"].as_str().unwrap_or_default()
    }

    /// Reads the device's twin through the service.
    pub(crate) fn device(&self) -> anyhow::Result<Device> {
        let output = self
            .dmctl(&["--json", "devices", "edge-1"])
            .output()
            .context("run dmctl")?;
        let line: Value = serde_json::from_slice(&output.stdout).context("read dmctl's line")?;
        Ok(Device {
            boot_id: line["bootId"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Reads what the device's twin says of its reboots, from the hub itself.
    pub(crate) fn reported(&self) -> anyhow::Result<Value> {
        let port = self.hub["adminPort"]
            .as_u64()
            .context("find the admin port")?;
        let mut hub = TcpStream::connect(format!("127.0.0.1:{port}")).context("reach the hub")?;
        write!(
            hub,
            "GET /api/devices/edge-1/twin HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        )?;
        let mut answer = String::new();
        hub.read_to_string(&mut answer).context("read the twin")?;
        let (_, body) = answer.split_once("\r\n\r\n").context("read the twin")?;
        let mut twin: Value = serde_json::from_str(body).context("read the twin")?;
        Ok(twin["properties"]["reported"]["iothubDM"]["reboot"].take())
    }

    /// Asks the service for a reboot, and follows it to its end.
    pub(crate) fn reboot(&self, machine: &mut Machine, limit: Duration) -> anyhow::Result<Attempt> {
        let events = self.folder.join("events.json");
        let mut child = Ending(
            self.dmctl(&["--json", "reboot", "edge-1", "--wait", "--reason", "proof"])
                .stdout(log(&self.folder, "events.json")?)
                .spawn()
                .context("start dmctl")?,
        );
        let status = machine.wait("the attempt has ended", limit, || {
            child.0.try_wait().ok().flatten()
        })?;
        let text = fs::read_to_string(&events).context("read the events")?;
        let events: Vec<Value> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .context("read the events")?;
        let verdict = events.last().context("find the verdict")?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Attempt {
            exit: status.code().unwrap_or(-1),
            state: word(&verdict["state"]),
            grade: word(&verdict["grade"]),
            error: word(&verdict["error"]["code"]),
            events,
        })
    }

    fn dmctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("dmctl"));
        command
            .args(["--server", &format!("http://{}", self.service)])
            .args(arguments);
        command
    }
}

fn settings(hub: &Value) -> anyhow::Result<String> {
    let name = format!("HostName={HUB_NAME};");
    let connection = text(hub, "serviceConnectionString")?.replace(&name, "HostName=localhost;");
    Ok(format!(
        "listen = \"127.0.0.1:0\"\n\
         [hub]\n\
         connection_string = \"{connection}\"\n\
         https_port = {}\n\
         ca_file = \"ca.pem\"\n\
         [store]\n\
         path = \"service.db\"\n",
        hub["httpsPort"]
    ))
}

/// A program of ours. It is killed with this value.
#[derive(Debug)]
struct Running {
    name: &'static str,
    child: Ending,
}

#[derive(Debug)]
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(folder: &Path, name: &'static str, arguments: &[&str]) -> anyhow::Result<Self> {
        let child = Command::new(program(name))
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(folder, &format!("{name}.log"))?)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self {
            name,
            child: Ending(child),
        })
    }

    /// Waits for the program's ready file and reads it.
    fn ready(&mut self, folder: &Path) -> anyhow::Result<Value> {
        let file = folder.join(format!("{}.ready", self.name));
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(bytes) = fs::read(&file) {
                return serde_json::from_slice(&bytes)
                    .with_context(|| format!("read {}", file.display()));
            }
            if self.child.0.try_wait()?.is_some() || Instant::now() >= deadline {
                bail!(
                    "{} does not serve; see its log in {}",
                    self.name,
                    folder.display()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn program(name: &str) -> PathBuf {
    target_folder().join("debug").join(name)
}

fn text<'a>(value: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    value[field]
        .as_str()
        .with_context(|| format!("find {field} in a ready file"))
}
