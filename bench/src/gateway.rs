//! The gateway as a process.

use std::{fmt::Write as _, fs};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{emulator::EmulatorProcess, process::Process};

/// The password of every local device.
pub(crate) const LOCAL_PASSWORD: &str = "local-password";

/// A running gateway. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct GatewayProcess {
    pub(crate) process: Process,
    _folder: TempDir,
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
        let config = folder.path().join("gateway.toml");
        fs::write(&config, settings)?;
        let config = config.to_string_lossy().into_owned();
        let arguments = ["--config", &config];
        let process = Process::start("device-gateway", folder.path(), arguments).await?;
        Ok(Self {
            process,
            _folder: folder,
        })
    }

    /// Where local devices connect.
    pub(crate) fn local_mqtt(&self) -> anyhow::Result<&str> {
        let address = self.process.ready["localMqtt"].as_str();
        address.context("find the local endpoint")
    }
}
