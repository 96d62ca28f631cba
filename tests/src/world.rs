//! The whole main path on loopback, as an end-to-end test arranges it.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use hub_emulator::{Emulator, EmulatorConfig};
use iot_hub::identity::DeviceId;
use iothubdm_proto::v1::{
    CancelRebootRequest, GetDeviceRequest, GetRebootRequest, RebootAttempt, RebootEvent,
    RebootRequest, WatchRebootRequest, device_management_client::DeviceManagementClient,
};
use serde_json::Value;
use tempfile::TempDir;
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    devices::Behavior,
    process::{Daemon, eventually},
    watch::Watched,
};

/// How long a test waits for what has to happen. Generous, for a busy machine; nothing asserts it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A local device with its gateway settings.
#[derive(Debug, Clone)]
pub struct DeviceSetup {
    id: String,
    behavior: Behavior,
    boot_time: Duration,
    key: Option<String>,
    settings: Vec<(&'static str, String)>,
}

impl DeviceSetup {
    /// A device with limits so long that only its own behaviour decides.
    pub fn new(id: &str, behavior: Behavior) -> Self {
        let settings = vec![
            ("settle", "200ms".to_owned()),
            ("go_down_limit", "50s".to_owned()),
            ("return_limit", "50s".to_owned()),
            ("verify_limit", "50s".to_owned()),
        ];
        Self {
            id: id.to_owned(),
            behavior,
            boot_time: Duration::from_millis(50),
            key: None,
            settings,
        }
    }

    /// Sets one of the gateway's settings of this device.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: &str) -> Self {
        self.settings.retain(|(known, _)| *known != key);
        self.settings.push((key, value.to_owned()));
        self
    }

    /// Sets how long the device takes to boot.
    #[must_use]
    pub fn boot_time(mut self, boot_time: Duration) -> Self {
        self.boot_time = boot_time;
        self
    }

    /// Gives the gateway this key instead of the device's own.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// What the gateway is told of the device's identity.
    fn connection_string(&self, emulator: &Emulator) -> String {
        let own = emulator.device(&self.id);
        match &self.key {
            None => own,
            Some(key) => {
                let (before, _) = own.rsplit_once("SharedAccessKey=").expect("a key");
                format!("{before}SharedAccessKey={key}")
            }
        }
    }
}

/// Arranges a [`World`].
#[derive(Debug, Default)]
pub struct WorldBuilder {
    devices: Vec<DeviceSetup>,
    bare_devices: Vec<String>,
    service_settings: String,
}

impl WorldBuilder {
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

    /// Adds tables to the service's settings.
    #[must_use]
    pub fn service_settings(mut self, toml: &str) -> Self {
        self.service_settings.push_str(toml);
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
        let emulator = Emulator::start(EmulatorConfig::default())
            .await
            .expect("start the emulator");
        fs::write(folder.path().join("ca.pem"), emulator.ca_pem()).expect("write the CA");
        for id in &self.bare_devices {
            let _ = emulator.device(id);
        }
        let service_config = folder.path().join("service.toml");
        fs::write(
            &service_config,
            service_toml(&emulator, &self.service_settings),
        )
        .expect("write the service's settings");
        let mut world = World {
            emulator,
            folder,
            service: None,
            gateway: None,
            gateway_address: SocketAddr::from((own_loopback(), 0)),
            service_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            setups: self.devices,
            devices: Vec::new(),
            client: None,
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
    setups: Vec<DeviceSetup>,
    devices: Vec<(String, Daemon)>,
    client: Option<DeviceManagementClient<Channel>>,
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

    /// A client of the service.
    pub fn client(&self) -> DeviceManagementClient<Channel> {
        self.client.clone().expect("the service runs")
    }

    /// Asks for a reboot of a device, with the defaults.
    pub async fn reboot(&self, device: &str) -> Result<RebootAttempt, Status> {
        self.request(request(device)).await
    }

    /// Asks for a reboot.
    pub async fn request(&self, request: RebootRequest) -> Result<RebootAttempt, Status> {
        self.client()
            .reboot(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Begins to watch an attempt, after a token where one is given.
    pub async fn watch(&self, name: &str, token: &str) -> Result<Streaming<RebootEvent>, Status> {
        let request = WatchRebootRequest {
            name: name.to_owned(),
            resume_token: token.to_owned(),
        };
        self.client()
            .watch_reboot(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Watches an attempt to its end.
    pub async fn watch_to_end(&self, name: &str) -> Watched {
        let stream = self.watch(name, "").await.expect("watch an attempt");
        tokio::time::timeout(PATIENCE, Watched::to_end(stream))
            .await
            .unwrap_or_else(|_| {
                panic!("{name} did not end; logs:\n{}", self.logs());
            })
    }

    /// Reboots a device and watches the attempt to its end.
    pub async fn reboot_to_end(&self, device: &str) -> RebootAttempt {
        let attempt = self.reboot(device).await.expect("ask for a reboot");
        self.watch_to_end(&attempt.name).await.verdict().clone()
    }

    /// Reads an attempt.
    pub async fn get(&self, name: &str) -> RebootAttempt {
        let request = GetRebootRequest {
            name: name.to_owned(),
        };
        self.client()
            .get_reboot(request)
            .await
            .expect("read an attempt")
            .into_inner()
    }

    /// Waits until an attempt satisfies a condition.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&RebootAttempt) -> bool,
    ) -> RebootAttempt {
        eventually(what, PATIENCE, async || {
            Some(self.get(name).await).filter(&holds)
        })
        .await
    }

    /// Asks to cancel an attempt.
    pub async fn cancel(&self, name: &str) -> Result<RebootAttempt, Status> {
        let request = CancelRebootRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        self.client()
            .cancel_reboot(request)
            .await
            .map(tonic::Response::into_inner)
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

    fn device_log(&self, device: &str) -> String {
        let path = self.folder().join(format!("local-device.{device}.log"));
        fs::read_to_string(path).expect("read a device's log")
    }

    /// Ends the service as a power cut would.
    pub async fn kill_service(&mut self) {
        self.client = None;
        self.service.take().expect("the service runs").kill().await;
    }

    /// Asks the service to end, and returns its exit code.
    pub async fn stop_service(&mut self) -> Option<i32> {
        self.client = None;
        self.service
            .take()
            .expect("the service runs")
            .stop(PATIENCE)
            .await
    }

    /// Starts the service, on the state that an earlier run left.
    pub async fn start_service(&mut self) {
        let ready = self.fresh("service.ready");
        let config = self.path("service.toml");
        let arguments = [
            "--config".into(),
            config,
            "--ready-file".into(),
            ready.clone(),
        ];
        let mut daemon =
            Daemon::start("mgmt-service", self.folder(), arguments).expect("start the service");
        let told = daemon.ready(&ready, PATIENCE).await;
        self.service_address = address_of(&told["address"]);
        let channel = Channel::from_shared(format!("http://{}", self.service_address))
            .expect("the ready file holds an address")
            .connect_lazy();
        self.client = Some(DeviceManagementClient::new(channel));
        self.service = Some(daemon);
    }

    /// Ends the gateway as a power cut would.
    pub async fn kill_gateway(&mut self) {
        self.gateway.take().expect("the gateway runs").kill().await;
    }

    /// Starts the gateway, on the state that an earlier run left.
    pub async fn start_gateway(&mut self) {
        let ready = self.fresh("gateway.ready");
        let config = self.path("gateway.toml");
        fs::write(
            &config,
            gateway_toml(&self.emulator, self.gateway_address, &self.setups),
        )
        .expect("write the gateway's settings");
        let arguments = [
            "--config".into(),
            config,
            "--ready-file".into(),
            ready.clone(),
        ];
        let mut daemon =
            Daemon::start("device-gateway", self.folder(), arguments).expect("start the gateway");
        let told = daemon.ready(&ready, PATIENCE).await;
        // The local devices keep the address they were given, so a restarted gateway keeps it too.
        self.gateway_address = address_of(&told["localMqtt"]);
        self.gateway = Some(daemon);
    }

    /// Ends a local device, its supervisor included.
    pub async fn stop_device(&mut self, device: &str) {
        let index = self
            .devices
            .iter()
            .position(|(id, _)| id == device)
            .expect("a known device");
        self.devices.swap_remove(index).1.stop(PATIENCE).await;
    }

    /// Restarts a local device as a power cut would: a boot that nobody asked for.
    pub async fn restart_device(&mut self, device: &str) {
        self.stop_device(device).await;
        let index = self
            .setups
            .iter()
            .position(|setup| setup.id == device)
            .expect("a known device");
        self.start_device(index);
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

    /// The logs of every process, for a person who looks at a failed test.
    pub fn logs(&self) -> String {
        let daemons = self.service.iter().chain(&self.gateway);
        let devices = self.devices.iter().map(|(_, daemon)| daemon);
        daemons
            .chain(devices)
            .fold(String::new(), |mut text, daemon| {
                let _ = writeln!(text, "{}", daemon.log());
                text
            })
    }

    /// The gateway's endpoint for local devices.
    pub fn local_mqtt_address(&self) -> SocketAddr {
        self.gateway_address
    }

    /// The service's address.
    pub fn service_address(&self) -> SocketAddr {
        self.service_address
    }

    /// The service's process.
    pub fn service(&self) -> &Daemon {
        self.service.as_ref().expect("the service runs")
    }

    /// The gateway's process.
    pub fn gateway(&self) -> &Daemon {
        self.gateway.as_ref().expect("the gateway runs")
    }

    fn start_device(&mut self, index: usize) {
        let setup = &self.setups[index];
        let state = self.path(&setup.id);
        fs::create_dir_all(&state).expect("make a device's folder");
        let arguments = [
            "--id".into(),
            setup.id.clone().into(),
            "--password".into(),
            PathBuf::from("secret"),
            "--broker".into(),
            self.gateway_address.to_string().into(),
            "--behavior".into(),
            setup.behavior.name().into(),
            "--boot-time".into(),
            format!("{}ms", setup.boot_time.as_millis()).into(),
            "--state-dir".into(),
            state,
        ];
        let name = format!("local-device.{}", setup.id);
        let daemon = Daemon::start(&name, self.folder(), arguments).expect("start a device");
        self.devices.push((setup.id.clone(), daemon));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// A file that is not there yet.
    fn fresh(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let _ = fs::remove_file(&path);
        path
    }
}

/// A request for a reboot of a device, with the defaults.
pub fn request(device: &str) -> RebootRequest {
    RebootRequest {
        device: format!("devices/{device}"),
        ..Default::default()
    }
}

fn service_toml(emulator: &Emulator, more: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\n\
         [hub]\n\
         connection_string = \"{}\"\n\
         https_port = {}\n\
         ca_file = \"ca.pem\"\n\
         [store]\n\
         path = \"service.db\"\n\
         {more}\n",
        emulator.service_connection_string(),
        emulator.https_port(),
    )
}

fn gateway_toml(emulator: &Emulator, local_mqtt: SocketAddr, setups: &[DeviceSetup]) -> String {
    let mut toml = format!(
        "state_dir = \"gateway-state\"\n\
         [gateway]\n\
         id = \"edge-1\"\n\
         [hub]\n\
         mqtt_port = {}\n\
         ca_file = \"ca.pem\"\n\
         [local_mqtt]\n\
         listen = \"{local_mqtt}\"\n\
         [timing]\n\
         answer_grace = \"50ms\"\n",
        emulator.mqtt_port(),
    );
    for setup in setups {
        let _ = write!(
            toml,
            "[[device]]\nid = \"{}\"\nconnection_string = \"{}\"\n",
            setup.id,
            setup.connection_string(emulator),
        );
        for (key, value) in &setup.settings {
            let _ = writeln!(toml, "{key} = \"{value}\"");
        }
        toml.push_str("[device.mqtt]\npassword = \"secret\"\n");
    }
    toml
}

/// Reads an address from a ready file.
fn address_of(told: &Value) -> SocketAddr {
    told.as_str()
        .and_then(|address| address.parse().ok())
        .expect("an address")
}

/// A loopback address that nobody else uses. A port that is given back and taken again stays free on
/// it: no other process is given one there, and a device that dials it cannot meet itself.
fn own_loopback() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = process::id().to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A device's id.
pub fn device_id(id: &str) -> DeviceId {
    id.parse().expect("a device id")
}
