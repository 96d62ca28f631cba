//! An emulator and a gateway in this process, on free ports.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use device_gateway::{Changes, Gateway, Reload, ReloadError, config::Config};
use hub_emulator::{Emulator, EmulatorConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    runtime::{self, Runtime},
    task::{self, JoinHandle},
    time,
};
use tokio_util::sync::CancellationToken;

use crate::{device::ScriptedDevice, hub::Service};

/// The device that most tests are about.
pub(crate) const DEVICE: &str = "pump-1";

/// The machine of the gateway.
pub(crate) const HOST: &str = "box-1";

/// A request id.
pub(crate) const ID: &str = "11111111-1111-4111-8111-111111111111";

/// Longer than anything here takes, on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(30);

/// No limit to a machine that is busy with something else.
const UNHURRIED: &str = "go_down_limit = \"5m\"";

/// Settings for a device whose verdict is that it did not go down in time.
pub(crate) fn hurried(settings: &str) -> String {
    settings.replace(UNHURRIED, "go_down_limit = \"1s\"")
}

pub(crate) struct World {
    pub(crate) hub: Emulator,
    pub(crate) service: Service,
    pub(crate) device: Arc<ScriptedDevice>,
    /// The machine of the gateway, where it is a device of the settings.
    pub(crate) host: Arc<ScriptedDevice>,
    folder: TempDir,
    timing: String,
    running: Option<Running>,
}

/// A gateway in a runtime of its own, so that it can be killed with all of its tasks.
struct Running {
    runtime: Runtime,
    shutdown: CancellationToken,
    gateway: JoinHandle<()>,
    reload: Reload,
    local_mqtt: Option<SocketAddr>,
}

impl World {
    /// A connected gateway with one device.
    pub(crate) async fn start() -> Self {
        let mut world = Self::prepare("", EmulatorConfig::default()).await;
        world.start_gateway();
        world.connected().await;
        world
    }

    /// The same, for a device that does not go down: nobody waits long for that.
    pub(crate) async fn start_hurried() -> Self {
        let mut world = Self::prepare("", EmulatorConfig::default()).await;
        let config = Config::parse(&hurried(&world.text()), world.folder.path()).unwrap();
        world.start_with(config);
        world.connected().await;
        world
    }

    /// The hub alone; `timing` is added to the gateway's settings.
    pub(crate) async fn prepare(timing: &str, config: EmulatorConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = Emulator::start(config).await.unwrap();
        let service = Service::of(&hub);
        // Unless the configuration says otherwise, it has a key.
        let _ = hub.register(&DEVICE.parse().unwrap());
        Self {
            hub,
            service,
            device: Arc::new(ScriptedDevice::default()),
            host: Arc::new(ScriptedDevice::default()),
            folder,
            timing: timing.to_owned(),
            running: None,
        }
    }

    pub(crate) fn start_gateway(&mut self) {
        let config = self.config(&self.hub.device(DEVICE));
        self.start_with(config);
    }

    pub(crate) fn start_with(&mut self, config: Config) {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (device, host) = (self.device.clone(), self.host.clone());
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let (told, bound) = std::sync::mpsc::channel();
        let gateway = runtime.spawn(async move {
            let gateway = Gateway::bind(config).await.unwrap();
            let gateway = gateway.with_driver(DEVICE.parse().unwrap(), device);
            let gateway = gateway.with_driver(HOST.parse().unwrap(), host);
            told.send((gateway.reload(), gateway.local_mqtt())).unwrap();
            gateway.serve(|| {}, token).await.unwrap();
        });
        let (reload, local_mqtt) = bound.recv_timeout(PATIENCE).unwrap();
        self.running = Some(Running {
            runtime,
            shutdown,
            gateway,
            reload,
            local_mqtt,
        });
    }

    /// Where local devices connect.
    pub(crate) fn local_mqtt(&self) -> SocketAddr {
        self.running.as_ref().unwrap().local_mqtt.unwrap()
    }

    /// Gives the gateway other settings.
    pub(crate) async fn reload(&self, config: Config) -> Result<Changes, ReloadError> {
        within(self.running.as_ref().unwrap().reload.to(config)).await
    }

    pub(crate) fn config(&self, connection_string: &str) -> Config {
        self.config_of(connection_string, self.hub.mqtt_port())
    }

    pub(crate) fn config_of(&self, connection_string: &str, mqtt_port: u16) -> Config {
        let identity = format!("connection_string = \"{connection_string}\"");
        self.config_with(&format!("mqtt_port = {mqtt_port}"), &identity, "")
    }

    /// Settings with these lines in `[hub]` and `[[device]]`, and these sections.
    pub(crate) fn config_with(&self, hub: &str, identity: &str, sections: &str) -> Config {
        let folder = self.folder.path();
        let trusted = folder.join("ca.pem");
        if !trusted.exists() {
            std::fs::write(trusted, self.hub.ca_pem()).unwrap();
        }
        let text = self.settings(hub, identity, sections);
        Config::parse(&text, folder).unwrap()
    }

    /// The settings as a text.
    pub(crate) fn text(&self) -> String {
        self.text_with(&self.hub.device(DEVICE), "")
    }

    /// The same with this connection string and these sections.
    pub(crate) fn text_with(&self, connection_string: &str, sections: &str) -> String {
        std::fs::write(self.folder.path().join("ca.pem"), self.hub.ca_pem()).unwrap();
        let identity = format!("connection_string = \"{connection_string}\"");
        let port = format!("mqtt_port = {}", self.hub.mqtt_port());
        self.settings(&port, &identity, sections)
    }

    /// The settings, with a text replaced and others devices added, which commands cannot reach.
    pub(crate) fn config_otherwise(&self, from: &str, to: &str, others: &[&str]) -> Config {
        let mut text = self.text();
        text = text.replace(from, to);
        for other in others {
            let connection = self.hub.device(other);
            text += &format!(
                "[[device]]\nid = \"{other}\"\nconnection_string = \"{connection}\"\n\
                 [device.command]\nbaseline = [\"false\"]\ntrigger = [\"false\"]\nobserve = [\"false\"]\n"
            );
        }
        Config::parse(&text, self.folder.path()).unwrap()
    }

    /// The settings with the gateway's host as a second device. Should anybody take it for real, it has
    /// no way to reboot this machine.
    pub(crate) fn config_with_host(&self) -> Config {
        let connection = self.hub.device(HOST);
        let text = format!(
            "{}[[device]]\nid = \"{HOST}\"\nconnection_string = \"{connection}\"\n\
             settle = \"50ms\"\n\
             [device.host]\nfallback = false\nbus_address = \"unix:path=/nowhere\"\n",
            self.text()
        );
        Config::parse(&text, self.folder.path()).unwrap()
    }

    fn settings(&self, hub: &str, identity: &str, sections: &str) -> String {
        let own = ["answer_grace = \"50ms\"", "report_delay = \"500ms\""];
        let own = own.into_iter().filter(|setting| {
            let key = setting.split(' ').next().unwrap_or_default();
            !self.timing.contains(key)
        });
        let own = own.collect::<Vec<_>>().join("\n");
        format!(
            r#"
            state_dir = "state"
            [gateway]
            id = "edge-1"
            [hub]
            {hub}
            ca_file = "ca.pem"
            [timing]
            {}
            observe_interval = "20ms"
            reconnect_min = "20ms"
            reconnect_max = "200ms"
            {}
            [[device]]
            id = "{DEVICE}"
            {identity}
            settle = "50ms"
            {UNHURRIED}
            return_limit = "5m"
            verify_limit = "5m"
            [device.command]
            baseline = ["false"]
            trigger = ["false"]
            observe = ["false"]
            {sections}
            "#,
            own, self.timing,
        )
    }

    pub(crate) fn state_dir(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the gateway at once, as if its process were killed: no task gets to say goodbye.
    pub(crate) async fn kill_gateway(&mut self) {
        let running = self.running.take().unwrap();
        task::spawn_blocking(|| drop(running.runtime))
            .await
            .unwrap();
    }

    pub(crate) async fn stop_gateway(&mut self) {
        let running = self.running.take().unwrap();
        running.shutdown.cancel();
        within(running.gateway).await.unwrap();
        running.runtime.shutdown_background();
    }

    pub(crate) async fn connected(&self) {
        within(self.hub.callable(DEVICE)).await;
    }

    /// Checks that the request is known and waits for its device, and lets the device boot.
    pub(crate) async fn goes_on_rebooting(&self) {
        let again = self.reboot().await;
        assert_eq!(
            (&again["state"], &again["duplicate"]),
            (&json!("REBOOTING"), &json!(true))
        );
        self.device.boot(Some(ID.parse().unwrap()));
        let reported = self.state("SUCCEEDED").await;
        assert_eq!(reported["evidence"]["grade"], 5);
    }

    /// Calls `reboot` with an id of its own.
    pub(crate) async fn reboot(&self) -> Value {
        let (status, payload) = self.call("reboot", json!({ "requestId": ID })).await;
        assert_eq!(status, 202, "{payload}");
        payload
    }

    pub(crate) async fn call(&self, method: &str, payload: Value) -> (i64, Value) {
        within(self.service.call(DEVICE, method, payload)).await
    }

    /// Waits until what the device reports is as wanted, and returns it.
    pub(crate) async fn reported(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.reported_of(DEVICE, wanted).await
    }

    pub(crate) async fn reported_of(&self, device: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let at = "/properties/reported/iothubDM/reboot";
        let wanted = |twin: &Value| twin.pointer(at).is_some_and(&wanted);
        let twin = within(self.hub.watch_twin(device, wanted)).await;
        twin.pointer(at).unwrap().clone()
    }

    /// Waits until the newest attempt is in a state, and returns what is reported.
    pub(crate) async fn state(&self, state: &str) -> Value {
        self.reported(|reboot| reboot["state"] == state).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.runtime.shutdown_background();
        }
    }
}

#[track_caller]
pub(crate) fn within<T>(wanted: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match time::timeout(PATIENCE, wanted).await {
            Ok(value) => value,
            Err(_) => panic!("waited in vain at {caller}"),
        }
    }
}
