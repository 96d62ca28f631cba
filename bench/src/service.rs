//! The service as a process.

use std::{fmt::Write as _, fs};

use anyhow::Context as _;
use iothubdm_proto::v1::{RebootRequest, device_management_client::DeviceManagementClient};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::{
    emulator::EmulatorProcess,
    process::{Built, Process},
};

/// Settings with which nothing is held back by a quota.
pub(crate) const UNLIMITED: &str = "\
    [quota]\nmethods_per_second = 1000000\n\
    [polling]\nreads_per_second = 1000000\n\
    [limits]\ncalls_per_second = 1000000\n";

/// The same for measuring how reboots begin: the twins of open attempts are read by name only, before
/// and after a call. What it costs to look for a change again and again is another question, and the
/// longer a measurement takes, the more it costs.
pub(crate) fn unhurried() -> String {
    let unhurried = "[polling]\nmin_interval = \"20s\"\nmax_interval = \"1h\"\n";
    UNLIMITED.replace("[polling]\n", unhurried)
}

/// A running service. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ServiceProcess {
    pub(crate) process: Process,
    /// Where it listens.
    pub(crate) address: String,
    _folder: TempDir,
}

impl ServiceProcess {
    /// Starts one that is held back by no quota.
    pub(crate) async fn start(emulator: &EmulatorProcess) -> anyhow::Result<Self> {
        Self::start_with(emulator, UNLIMITED).await
    }

    /// Starts one with these settings beside where the hub is.
    pub(crate) async fn start_with(emulator: &EmulatorProcess, more: &str) -> anyhow::Result<Self> {
        Self::start_built(Built::Released, emulator, more).await
    }

    /// Starts this build of it, with these settings beside where the hub is.
    pub(crate) async fn start_built(
        built: Built,
        emulator: &EmulatorProcess,
        more: &str,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        fs::write(folder.path().join("ca.pem"), &emulator.ca_pem)?;
        let mut settings = String::new();
        write!(
            settings,
            "[hub]\nconnection_string = \"{}\"\nhttps_port = {}\nca_file = \"ca.pem\"\n\
             [store]\npath = \"service.db\"\n{more}",
            emulator.owner(),
            emulator.https_port,
        )?;
        let config = folder.path().join("service.toml");
        fs::write(&config, settings)?;
        let config = config.to_string_lossy().into_owned();
        let arguments = ["--config", &config, "--listen", "127.0.0.1:0"];
        let process = Process::start(built, "mgmt-service", folder.path(), arguments).await?;
        let address = process.ready["address"].as_str();
        Ok(Self {
            address: address.context("find the address")?.to_owned(),
            process,
            _folder: folder,
        })
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> anyhow::Result<DeviceManagementClient<Channel>> {
        // Thousands of watches that nobody reads, bookmarks and all, are not to fill the connection.
        let endpoint = Channel::from_shared(format!("http://{}", self.address))?
            .initial_connection_window_size(CONNECTION_WINDOW);
        Ok(DeviceManagementClient::new(endpoint.connect().await?))
    }
}

/// What a client lets the service send unread, in bytes.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A request for a reboot of a device, with the defaults.
pub(crate) fn request(device: &str) -> RebootRequest {
    RebootRequest {
        device: format!("devices/{device}"),
        ..RebootRequest::default()
    }
}
