//! The emulator as a process: the release build beside this program.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use iot_hub::identity::{ConnectionString, ServiceConnection};
use iot_hub::sas::SasToken;
use iothubdm_packages::sdk::LocalHub;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::process::{Built, Process};

/// A running emulator. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct EmulatorProcess {
    process: Process,
    pub(crate) https_port: u16,
    pub(crate) mqtt_port: u16,
    pub(crate) ca_pem: Vec<u8>,
    ca_file: PathBuf,
    /// Device id → connection string.
    pub(crate) devices: BTreeMap<String, String>,
    owner: String,
    /// Keeps its connections.
    client: reqwest::Client,
    _folder: TempDir,
}

impl EmulatorProcess {
    /// Starts one with so many devices, and waits until it accepts connections.
    pub(crate) async fn start(devices: usize) -> anyhow::Result<Self> {
        Self::start_as(devices, &[]).await
    }

    /// Starts one with so many devices and these arguments besides.
    pub(crate) async fn start_as(devices: usize, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_built(Built::Released, devices, arguments).await
    }

    /// Starts this build of it, with so many devices and these arguments besides.
    pub(crate) async fn start_built(
        built: Built,
        devices: usize,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let devices = devices.to_string();
        let ports = [
            "--https-port",
            "0",
            "--mqtt-port",
            "0",
            "--admin-port",
            "0",
            "--devices",
            &devices,
        ];
        let arguments = ports.iter().chain(arguments);
        let process = Process::start(built, "hub-emulator", folder.path(), arguments).await?;
        let ready = &process.ready;
        let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        let port = |name: &str| {
            let port = ready[name].as_u64().context("find the port")?;
            u16::try_from(port).context("read the port")
        };
        let strings = ready["devices"].as_object().context("find the devices")?;
        let (https_port, mqtt_port) = (port("httpsPort")?, port("mqttPort")?);
        let ca_file = PathBuf::from(text("caFile"));
        let ca_pem = fs::read(&ca_file).context("read the certificate")?;
        let certificate = reqwest::Certificate::from_pem(&ca_pem)?;
        let client = reqwest::Client::builder()
            .tls_certs_only([certificate])
            .tcp_nodelay(true)
            .build()?;
        Ok(Self {
            https_port,
            mqtt_port,
            ca_pem,
            ca_file,
            client,
            devices: strings
                .iter()
                .map(|(id, text)| (id.clone(), text.as_str().unwrap_or_default().to_owned()))
                .collect(),
            owner: text("ownerConnectionString"),
            process,
            _folder: folder,
        })
    }

    /// The memory that it has, in KiB.
    pub(crate) fn memory(&self) -> anyhow::Result<f64> {
        self.process.memory()
    }

    /// The processor time that it has used.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        self.process.processor_time()
    }

    /// What somebody else's program needs to reach it.
    pub(crate) fn local_hub(&self) -> LocalHub {
        LocalHub {
            https_port: self.https_port,
            mqtt_port: self.mqtt_port,
            ca_file: self.ca_file.clone(),
            owner: self.owner.clone(),
        }
    }

    /// Cuts every connection of a device.
    pub(crate) async fn cut(&self) -> anyhow::Result<()> {
        let cut = reqwest::Client::new().post(self.admin_url("cut"));
        cut.send().await?.error_for_status()?;
        Ok(())
    }

    fn admin_url(&self, path: &str) -> String {
        let port = &self.process.ready["adminPort"];
        format!("http://127.0.0.1:{port}/api/{path}")
    }

    /// How often something has happened there, by its name in the admin API.
    pub(crate) async fn counter(&self, name: &str) -> anyhow::Result<f64> {
        let answer = reqwest::get(self.admin_url("counters"))
            .await?
            .error_for_status()?;
        let counters: serde_json::Value = serde_json::from_str(&answer.text().await?)?;
        let total = counters[name]["total"].as_f64();
        total.with_context(|| format!("find the counter {name}"))
    }

    /// The connection string of whoever may do everything.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// The client of its REST API, which keeps its connections, and the header that opens it.
    pub(crate) fn service(&self) -> anyhow::Result<(reqwest::Client, String)> {
        let ConnectionString::Service(ServiceConnection { host, policy, key }) =
            self.owner.parse()?
        else {
            anyhow::bail!("the owner's connection string is a device's");
        };
        let expiry = Timestamp::now() + SignedDuration::from_hours(1);
        let token = SasToken::sign(host.as_ref(), &key, Some(&policy), expiry);
        Ok((self.client.clone(), token.to_string()))
    }

    /// The address of a resource of its REST API.
    pub(crate) fn url(&self, path: &str) -> String {
        let port = self.https_port;
        format!("https://localhost:{port}{path}?api-version=2021-04-12")
    }
}
