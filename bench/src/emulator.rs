//! The emulator as a process: the release build beside this program.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use iot_hub::identity::{ConnectionString, ServiceConnection};
use iot_hub::sas::SasToken;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running emulator. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct EmulatorProcess {
    child: Child,
    pub(crate) https_port: u16,
    pub(crate) mqtt_port: u16,
    pub(crate) ca_pem: Vec<u8>,
    /// Device id → connection string.
    pub(crate) devices: BTreeMap<String, String>,
    owner: String,
    _folder: TempDir,
}

impl EmulatorProcess {
    /// Starts one with so many devices, and waits until it accepts connections.
    pub(crate) async fn start(devices: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let ready_file = folder.path().join("ready.json");
        let child = Command::new(program()?)
            .args(["--https-port", "0", "--mqtt-port", "0"])
            .args(["--devices", &devices.to_string()])
            .arg("--ready-file")
            .arg(&ready_file)
            .env("RUST_LOG", "off")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the emulator")?;
        let begin = Instant::now();
        let ready = loop {
            match fs::read(&ready_file) {
                Ok(text) => break serde_json::from_slice::<Value>(&text)?,
                Err(_) => ensure!(begin.elapsed() < PATIENCE, "the emulator does not start"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        let port = |name: &str| {
            let port = ready[name].as_u64().context("find the port")?;
            u16::try_from(port).context("read the port")
        };
        let strings = ready["devices"].as_object().context("find the devices")?;
        Ok(Self {
            child,
            https_port: port("httpsPort")?,
            mqtt_port: port("mqttPort")?,
            ca_pem: fs::read(text("caFile")).context("read the certificate")?,
            devices: strings
                .iter()
                .map(|(id, text)| (id.clone(), text.as_str().unwrap_or_default().to_owned()))
                .collect(),
            owner: text("ownerConnectionString"),
            _folder: folder,
        })
    }

    /// The memory that it has, in KiB.
    pub(crate) fn memory(&self) -> anyhow::Result<f64> {
        resident(self.child.id())
    }

    /// The processor time that it has used.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("read its times")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        // Linux counts a hundred of them in a second, on every machine that this runs on.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// A client of its REST API that keeps its connections, and the header that opens it.
    pub(crate) fn service(&self) -> anyhow::Result<(reqwest::Client, String)> {
        let certificate = reqwest::Certificate::from_pem(&self.ca_pem)?;
        let client = reqwest::Client::builder()
            .tls_certs_only([certificate])
            .tcp_nodelay(true)
            .build()?;
        let ConnectionString::Service(ServiceConnection { host, policy, key }) =
            self.owner.parse()?
        else {
            anyhow::bail!("the owner's connection string is a device's");
        };
        let expiry = Timestamp::now() + SignedDuration::from_hours(1);
        let token = SasToken::sign(host.as_ref(), &key, Some(&policy), expiry);
        Ok((client, token.to_string()))
    }

    /// The address of a resource of its REST API.
    pub(crate) fn url(&self, path: &str) -> String {
        let port = self.https_port;
        format!("https://localhost:{port}{path}?api-version=2021-04-12")
    }
}

impl Drop for EmulatorProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The emulator's program, which is built into the same folder as this one.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    let program = own.parent().unwrap_or(Path::new(".")).join("hub-emulator");
    ensure!(program.exists(), "{} is not built", program.display());
    Ok(program)
}

/// The memory that a process has, in KiB.
pub(crate) fn resident(process: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("find its memory")?;
    let number = line.split_whitespace().next().context("read its memory")?;
    number.parse().context("read its memory")
}
