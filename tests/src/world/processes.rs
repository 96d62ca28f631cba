//! The processes of a world: started, killed and started again on what they left.

use std::{fmt::Write as _, fs, net::SocketAddr, path::PathBuf};

use iothubdm_proto::v1::device_management_client::DeviceManagementClient;
use tonic::transport::Channel;

use super::{
    PATIENCE, World,
    setup::{LOCAL_PASSWORD, address_of, gateway_toml},
};
use crate::process::Daemon;

impl World {
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
            "--listen".into(),
            self.service_address.to_string().into(),
            "--ready-file".into(),
            ready.clone(),
            "--log".into(),
            self.log.into(),
        ];
        let (folder, environment) = (self.folder(), &self.environment);
        let mut daemon = Daemon::start_in("mgmt-service", folder, arguments, environment)
            .expect("start the service");
        let told = daemon.ready(&ready, PATIENCE).await;
        self.metrics_address = told.get("metrics").map(address_of);
        // Clients that were connected find a restarted service where it was.
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
            gateway_toml(
                &self.emulator,
                &self
                    .broker
                    .clone()
                    .unwrap_or_else(|| format!("listen = \"{}\"\n", self.gateway_address)),
                &self.local_mqtt,
                &self.setups,
                self.folder(),
            ),
        )
        .expect("write the gateway's settings");
        let arguments = [
            "--config".into(),
            config,
            "--ready-file".into(),
            ready.clone(),
            "--log".into(),
            self.log.into(),
        ];
        let mut daemon =
            Daemon::start("device-gateway", self.folder(), arguments).expect("start the gateway");
        let told = daemon.ready(&ready, PATIENCE).await;
        if self.broker.is_some() {
            self.gateway = Some(daemon);
            return;
        }
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

    /// Where the service serves its metrics, if its settings say so.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The service's process.
    pub fn service(&self) -> &Daemon {
        self.service.as_ref().expect("the service runs")
    }

    /// The gateway's process.
    pub fn gateway(&self) -> &Daemon {
        self.gateway.as_ref().expect("the gateway runs")
    }

    pub(super) fn start_device(&mut self, index: usize) {
        let setup = &self.setups[index];
        let state = self.path(&setup.id);
        fs::create_dir_all(&state).expect("make a device's folder");
        let arguments = [
            "--id".into(),
            setup.id.clone().into(),
            "--password".into(),
            PathBuf::from(LOCAL_PASSWORD),
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

    /// A file that is not there yet.
    fn fresh(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let _ = fs::remove_file(&path);
        path
    }
}
