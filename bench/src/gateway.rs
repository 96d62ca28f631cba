//! The gateway as a process.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::{
    emulator::EmulatorProcess,
    process::{Built, Process},
};

const CONFIG: &str = "gateway.toml";

/// The password of every local device.
pub(crate) const LOCAL_PASSWORD: &str = "local-password";

/// So many connects in a second that nothing waits for its turn.
pub(crate) const UNPACED: &str = "connects_per_second = 100000";

/// How long all devices may take to connect.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks at how many devices are connected.
const SHORTEST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// A running gateway. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct GatewayProcess {
    pub(crate) process: Process,
    built: Built,
    folder: TempDir,
}

impl GatewayProcess {
    /// Starts one of the first so many of an emulator's devices, which it reaches over MQTT, with
    /// these settings of time, and of each device.
    pub(crate) async fn start(
        emulator: &EmulatorProcess,
        count: usize,
        timing: &str,
        each: &str,
    ) -> anyhow::Result<Self> {
        Self::start_built(Built::Released, emulator, count, timing, each).await
    }

    /// Starts this build of it, likewise.
    pub(crate) async fn start_built(
        built: Built,
        emulator: &EmulatorProcess,
        count: usize,
        timing: &str,
        each: &str,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        fs::write(folder.path().join("ca.pem"), &emulator.ca_pem)?;
        let mut settings = String::new();
        writeln!(
            settings,
            "state_dir = \"state\"\n[hub]\nmqtt_port = {}\nca_file = \"ca.pem\"\n\
             [local_mqtt]\nlisten = \"127.0.0.1:0\"\n\
             [timing]\n{timing}",
            emulator.mqtt_port
        )?;
        for (id, connection) in emulator.devices.iter().take(count) {
            writeln!(
                settings,
                "[[device]]\nid = \"{id}\"\nconnection_string = \"{connection}\"\n{each}\n\
                 [device.mqtt]\npassword = \"{LOCAL_PASSWORD}\""
            )?;
        }
        fs::write(folder.path().join(CONFIG), settings)?;
        Self::start_in(built, folder).await
    }

    async fn start_in(built: Built, folder: TempDir) -> anyhow::Result<Self> {
        let arguments = ["--config", CONFIG];
        let process = Process::start(built, "device-gateway", folder.path(), arguments).await?;
        Ok(Self {
            process,
            built,
            folder,
        })
    }

    /// Stops it and starts it once more, with what it has kept.
    pub(crate) async fn again(self, emulator: &EmulatorProcess) -> anyhow::Result<Self> {
        self.process.stop().await?;
        emulator.until_connected(0).await?;
        Self::start_in(self.built, self.folder).await
    }

    /// Waits until so many devices are connected; says how long that took from the start.
    pub(crate) async fn connected(
        &self,
        emulator: &EmulatorProcess,
        count: usize,
    ) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        emulator.until_connected(count).await?;
        Ok(self.process.took + begin.elapsed())
    }

    /// Where local devices connect.
    pub(crate) fn local_mqtt(&self) -> anyhow::Result<&str> {
        let address = self.process.ready["localMqtt"].as_str();
        address.context("find the local endpoint")
    }
}

impl EmulatorProcess {
    /// Waits until so many devices are connected.
    pub(crate) async fn until_connected(&self, count: usize) -> anyhow::Result<()> {
        let begin = Instant::now();
        let (hub, token) = self.service()?;
        let url = self.url("/statistics/service");
        loop {
            let request = hub.get(&url).header("Authorization", &token);
            let text = request.send().await?.error_for_status()?.text().await?;
            let said: serde_json::Value = serde_json::from_str(&text)?;
            if said["connectedDeviceCount"].as_u64() == Some(count as u64) {
                return Ok(());
            }
            let waited = begin.elapsed();
            ensure!(waited < PATIENCE, "the devices do not connect: {text}");
            // Often enough for what is over soon, and no burden on what takes long.
            let pause = (waited / 20).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            tokio::time::sleep(pause).await;
        }
    }
}
