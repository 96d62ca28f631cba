//! The whole main path on loopback, as an end-to-end test arranges it.

mod caller;
mod processes;
mod setup;

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use hub_emulator::{Emulator, EmulatorConfig, Fault, FaultId, Times};
use iot_hub::identity::DeviceId;
use iothubdm_proto::v1::{GetDeviceRequest, device_management_client::DeviceManagementClient};
use tempfile::TempDir;
use tonic::transport::Channel;

pub(crate) use self::setup::own_loopback;
use self::setup::service_toml;
pub use self::{
    caller::request,
    setup::{DeviceSetup, LOCAL_PASSWORD},
};
use crate::{
    mosquitto::Mosquitto,
    process::{Daemon, eventually},
};

/// How long a test waits for what has to happen. Generous, for a busy machine; nothing asserts it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Arranges a [`World`].
#[derive(Debug)]
pub struct WorldBuilder {
    devices: Vec<DeviceSetup>,
    bare_devices: Vec<String>,
    hub_access: Option<String>,
    service_settings: String,
    local_mqtt: String,
    /// Where the devices meet the gateway instead, and the gateway's settings for that.
    broker: Option<(SocketAddr, String)>,
    environment: Vec<(&'static str, String)>,
    files: Vec<(&'static str, String)>,
    hub: EmulatorConfig,
    log: &'static str,
}

impl Default for WorldBuilder {
    fn default() -> Self {
        Self {
            devices: Vec::new(),
            bare_devices: Vec::new(),
            hub_access: None,
            service_settings: String::new(),
            local_mqtt: String::new(),
            broker: None,
            environment: Vec::new(),
            files: Vec::new(),
            hub: EmulatorConfig::default(),
            log: "info",
        }
    }
}

impl WorldBuilder {
    /// Sets up the hub otherwise.
    #[must_use]
    pub fn hub(mut self, config: EmulatorConfig) -> Self {
        self.hub = config;
        self
    }

    /// Puts a file beside the settings, for them to name.
    #[must_use]
    pub fn file(mut self, name: &'static str, text: &str) -> Self {
        self.files.push((name, text.to_owned()));
        self
    }

    /// Lets the service and the gateway log at this level.
    #[must_use]
    pub fn log(mut self, level: &'static str) -> Self {
        self.log = level;
        self
    }

    /// Adds a local device behind the gateway.
    #[must_use]
    pub fn device(mut self, setup: DeviceSetup) -> Self {
        self.devices.push(setup);
        self
    }

    /// Adds a device identity that the gateway does not hold: a test speaks for it.
    #[must_use]
    pub fn bare_device(mut self, id: &str) -> Self {
        self.bare_devices.push(id.to_owned());
        self
    }

    /// Gives the service these settings of `[hub]` instead of a connection string.
    #[must_use]
    pub fn hub_access(mut self, toml: &str) -> Self {
        self.hub_access = Some(toml.to_owned());
        self
    }

    /// Puts a variable into the service's environment.
    #[must_use]
    pub fn environment(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Adds to the gateway's settings of its endpoint for local devices.
    #[must_use]
    pub fn local_mqtt(mut self, toml: &str) -> Self {
        self.local_mqtt.push_str(toml);
        self
    }

    /// Adds tables to the service's settings.
    #[must_use]
    pub fn service_settings(mut self, toml: &str) -> Self {
        self.service_settings.push_str(toml);
        self
    }

    /// Has the gateway and the devices meet at somebody else's broker.
    #[must_use]
    pub fn broker(mut self, broker: &Mosquitto) -> Self {
        self.broker = Some((broker.address(), broker.settings()));
        self
    }

    /// Starts everything, and waits until every device has reported what it can do.
    pub async fn start(self) -> World {
        let world = self.start_without_waiting().await;
        for setup in &world.setups {
            world.await_device(&setup.id).await;
        }
        world
    }

    /// Starts everything.
    pub async fn start_without_waiting(self) -> World {
        let folder = tempfile::tempdir().expect("make a folder");
        let emulator = Emulator::start(self.hub.clone())
            .await
            .expect("start the emulator");
        fs::write(folder.path().join("ca.pem"), emulator.ca_pem()).expect("write the CA");
        for (name, text) in &self.files {
            fs::write(folder.path().join(name), text).expect("write a file");
        }
        for id in &self.bare_devices {
            let _ = emulator.device(id);
        }
        let service_config = folder.path().join("service.toml");
        fs::write(
            &service_config,
            service_toml(
                &emulator,
                self.hub_access.as_deref(),
                &self.service_settings,
            ),
        )
        .expect("write the service's settings");
        let mut world = World {
            emulator,
            folder,
            service: None,
            gateway: None,
            gateway_address: self.broker.as_ref().map_or_else(
                || SocketAddr::from((own_loopback(), 0)),
                |(address, _)| *address,
            ),
            service_address: SocketAddr::from((own_loopback(), 0)),
            local_mqtt: self.local_mqtt,
            broker: self.broker.map(|(_, settings)| settings),
            setups: self.devices,
            devices: Vec::new(),
            client: None,
            metrics_address: None,
            environment: self.environment,
            log: self.log,
        };
        world.start_service().await;
        if !world.setups.is_empty() {
            world.start_gateway().await;
            for index in 0..world.setups.len() {
                world.start_device(index);
            }
        }
        world
    }
}

/// The whole main path on loopback.
#[derive(Debug)]
pub struct World {
    /// The hub, with its faults and counters.
    pub emulator: Emulator,
    folder: TempDir,
    service: Option<Daemon>,
    gateway: Option<Daemon>,
    gateway_address: SocketAddr,
    service_address: SocketAddr,
    local_mqtt: String,
    broker: Option<String>,
    setups: Vec<DeviceSetup>,
    devices: Vec<(String, Daemon)>,
    client: Option<DeviceManagementClient<Channel>>,
    metrics_address: Option<SocketAddr>,
    environment: Vec<(&'static str, String)>,
    log: &'static str,
}

impl World {
    /// Begins to arrange a world.
    pub fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// A world with one device.
    pub async fn with_device(setup: DeviceSetup) -> Self {
        Self::builder().device(setup).start().await
    }

    /// The folder with the processes' settings, state and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How many different boots a local device has had, by its supervisor's log.
    pub fn boots(&self, device: &str) -> usize {
        let log = self.device_log(device);
        let boots: BTreeSet<_> = log
            .lines()
            .filter(|line| line.contains(" boots "))
            .filter_map(|line| line.split("boot_id=").nth(1)?.split_whitespace().next())
            .collect();
        boots.len()
    }

    /// How many reboot commands a local device has received, by its own log.
    pub fn commands(&self, device: &str) -> usize {
        self.device_log(device).matches(" told to reboot ").count()
    }

    /// The ids of the reboot commands that a local device has received, by its own log.
    pub fn commanded_ids(&self, device: &str) -> Vec<String> {
        let log = self.device_log(device);
        log.lines()
            .filter(|line| line.contains(" told to reboot "))
            .filter_map(|line| line.split(" id=").nth(1)?.split_whitespace().next())
            .map(|id| id.trim_matches('"').to_owned())
            .collect()
    }

    fn device_log(&self, device: &str) -> String {
        let path = self.folder().join(format!("local-device.{device}.log"));
        fs::read_to_string(path).expect("read a device's log")
    }

    /// Waits until a device has reported what it can do and where it stands.
    pub async fn await_device(&self, id: &str) {
        eventually(&format!("{id} reports"), PATIENCE, async || {
            let request = GetDeviceRequest {
                name: format!("devices/{id}"),
            };
            let device = self.client().get_device(request).await.ok()?.into_inner();
            (!device.boot_id.is_empty()).then_some(())
        })
        .await;
    }

    /// Waits until the first reboot command has reached a local device.
    pub async fn commanded(&self, device: &str) {
        eventually("the command arrives", PATIENCE, async || {
            (self.commands(device) == 1).then_some(())
        })
        .await;
    }

    /// Lets the hub keep back its answers to a device's twin requests.
    pub fn withhold_twin_answers(&self, device: &str) -> FaultId {
        let device = device_id(device);
        let fault = Fault::WithholdTwinAnswers { device };
        self.emulator.faults().inject(fault, Times::Always)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }
}

/// A device's id.
pub fn device_id(id: &str) -> DeviceId {
    id.parse().expect("a device id")
}
