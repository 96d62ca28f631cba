//! Everything the demo runs, as real processes on this machine.
//!
//! ```text
//!   dmctl ──gRPC──► mgmt-service ──HTTPS──► hub-emulator ◄──MQTT/TLS── device-gateway
//!                                                                        ▲   ▲   ▲
//!                                                                   MQTT │   │   │
//!                                                            pump-1, valve-2, meter-3
//! ```

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use iothubdm_client::Client;
use serde::Deserialize;
use uuid::Uuid;

use crate::demo::{children::Children, programs::Programs};

/// A local device of the demo.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actor {
    /// Its id.
    pub(crate) id: &'static str,
    /// How it behaves, as `local-device` calls it.
    pub(crate) behavior: &'static str,
    /// The same for a person.
    pub(crate) about: &'static str,
}

/// A device that does what it is told.
pub(crate) const PUMP: Actor = Actor {
    id: "pump-1",
    behavior: "well-behaved",
    about: "does what it is told",
};

/// A device that says yes and does nothing.
pub(crate) const VALVE: Actor = Actor {
    id: "valve-2",
    behavior: "ack-and-nothing",
    about: "says yes and does nothing",
};

/// A device that is left alone, for whoever keeps the demo running.
pub(crate) const METER: Actor = Actor {
    id: "meter-3",
    behavior: "instant",
    about: "reboots too fast to be seen absent",
};

/// A device that nobody plays, for whoever wants to play it with an SDK.
pub(crate) const SPARE: &str = "sdk-4";

/// The ports for HTTPS and MQTT that Microsoft's SDKs insist on.
pub(crate) const SDK_PORTS: (u16, u16) = (443, 8883);

/// How long the devices may take until each of them is known to the service.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Everything that runs, and how to reach it.
#[derive(Debug)]
pub(crate) struct World {
    /// The service.
    pub(crate) client: Client,
    /// Where the service listens, as `host:port`.
    pub(crate) service: String,
    /// The hub.
    pub(crate) hub: HubReady,
}

/// What the emulator's ready file says.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HubReady {
    /// The hub's name.
    pub(crate) host_name: String,
    /// Where its REST API listens.
    pub(crate) https_port: u16,
    /// Where it listens for MQTT.
    pub(crate) mqtt_port: u16,
    /// The certificate to trust.
    pub(crate) ca_file: PathBuf,
    /// What a service connects with.
    pub(crate) service_connection_string: String,
    /// What each device connects with.
    pub(crate) devices: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewayReady {
    local_mqtt: String,
}

#[derive(Debug, Deserialize)]
struct ServiceReady {
    address: String,
}

/// Starts everything and waits until the service knows what each device can do. `say` is told what
/// goes on.
pub(crate) async fn start(
    programs: &Programs,
    folder: &Path,
    children: &mut Children,
    keep: bool,
    mut say: impl FnMut(&str) -> std::io::Result<()>,
) -> anyhow::Result<World> {
    let hub = match keep && sdk_ports_are_free() {
        // Somebody else may take them in between.
        true => match start_hub(programs, folder, children, SDK_PORTS).await {
            Ok(hub) => hub,
            Err(_) => start_hub(programs, folder, children, (0, 0)).await?,
        },
        false => start_hub(programs, folder, children, (0, 0)).await?,
    };
    say(&format!(
        "hub-emulator    an IoT Hub on this machine: https {}, mqtts {}",
        hub.https_port, hub.mqtt_port
    ))?;

    let password = Uuid::new_v4().to_string();
    let config = folder.join("device-gateway.toml");
    write_config(&config, &gateway_config(folder, &hub, &password)?)?;
    let mut gateway = Command::new(programs.path("device-gateway"));
    gateway
        .arg("--config")
        .arg(&config)
        .arg("--ready-file")
        .arg(children.ready_file("device-gateway"));
    children.start("device-gateway", gateway)?;

    let config = folder.join("mgmt-service.toml");
    write_config(&config, &service_config(folder, &hub))?;
    let mut service = Command::new(programs.path("mgmt-service"));
    service
        .arg("--config")
        .arg(&config)
        .arg("--ready-file")
        .arg(children.ready_file("mgmt-service"));
    children.start("mgmt-service", service)?;

    let gateway: GatewayReady = children.ready("device-gateway").await?;
    say(&format!(
        "device-gateway  one hub session per device; local devices at mqtt {}",
        gateway.local_mqtt
    ))?;
    let service: ServiceReady = children.ready("mgmt-service").await?;
    say(&format!("mgmt-service    gRPC at {}", service.address))?;

    for actor in [PUMP, VALVE, METER] {
        let flash = folder.join(format!("{}-flash", actor.id));
        fs::create_dir(&flash).with_context(|| format!("create {}", flash.display()))?;
        let mut device = Command::new(programs.path("local-device"));
        device
            .args(["--id", actor.id, "--broker", &gateway.local_mqtt])
            .args(["--behavior", actor.behavior])
            .arg("--state-dir")
            .arg(flash)
            .env("LOCAL_DEVICE_PASSWORD", &password);
        children.start(actor.id, device)?;
        say(&format!("{:<15} a device that {}", actor.id, actor.about))?;
    }

    let client = Client::connect(&format!("http://{}", service.address)).await?;
    let known = wait_for_devices(&client);
    tokio::select! {
        known = known => known?,
        error = children.first_end() => return Err(error),
    }
    Ok(World {
        client,
        service: service.address,
        hub,
    })
}

/// Waits until the service can tell what each device is able to do, which it learns from the
/// gateway's first report of a device that has connected.
async fn wait_for_devices(client: &Client) -> anyhow::Result<()> {
    let deadline = Instant::now() + CONNECT_LIMIT;
    for actor in [PUMP, VALVE, METER] {
        loop {
            let device = client.get_device(format!("devices/{}", actor.id)).await;
            if let Ok(device) = &device
                && device.connected
                && !device.modes.is_empty()
                && !device.boot_id.is_empty()
            {
                break;
            }
            if Instant::now() > deadline {
                let seen = match device {
                    Ok(device) => format!("{device:?}"),
                    Err(error) => error.to_string(),
                };
                bail!(
                    "connect {}: it is not known after {} s; last seen: {seen}",
                    actor.id,
                    CONNECT_LIMIT.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

async fn start_hub(
    programs: &Programs,
    folder: &Path,
    children: &mut Children,
    (https_port, mqtt_port): (u16, u16),
) -> anyhow::Result<HubReady> {
    let mut emulator = Command::new(programs.path("hub-emulator"));
    emulator
        .args(["--https-port", &https_port.to_string()])
        .args(["--mqtt-port", &mqtt_port.to_string()])
        .arg("--ca-file")
        .arg(folder.join("hub-ca.pem"))
        .arg("--ready-file")
        .arg(children.ready_file("hub-emulator"));
    for id in [PUMP.id, VALVE.id, METER.id, SPARE] {
        emulator.args(["--device", id]);
    }
    children.start("hub-emulator", emulator)?;
    children.ready("hub-emulator").await
}

fn sdk_ports_are_free() -> bool {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    is_free(SDK_PORTS.0) && is_free(SDK_PORTS.1)
}

fn write_config(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// The gateway's settings. Its limits are short, so that a device that lies is found out while
/// somebody looks on.
fn gateway_config(folder: &Path, hub: &HubReady, password: &str) -> anyhow::Result<String> {
    let mut text = format!(
        "state_dir = {}\n\n[gateway]\nid = \"edge-1\"\n\n[hub]\nmqtt_port = {}\nca_file = {}\n\n\
         [local_mqtt]\nlisten = \"127.0.0.1:0\"\n",
        quoted(folder.join("gateway-state")),
        hub.mqtt_port,
        quoted(&hub.ca_file),
    );
    for actor in [PUMP, VALVE, METER] {
        let connection = hub
            .devices
            .get(actor.id)
            .with_context(|| format!("find {} in the emulator's ready file", actor.id))?;
        text += &format!(
            "\n[[device]]\nid = {}\nconnection_string = {}\nsettle = \"1s\"\n\
             go_down_limit = \"4s\"\nreturn_limit = \"30s\"\nverify_limit = \"15s\"\n\
             [device.mqtt]\npassword = {}\n",
            quoted(actor.id),
            quoted(connection),
            quoted(password),
        );
    }
    Ok(text)
}

fn service_config(folder: &Path, hub: &HubReady) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\n\n[hub]\nconnection_string = {}\nhttps_port = {}\n\
         ca_file = {}\n\n[store]\npath = {}\n",
        quoted(&hub.service_connection_string),
        hub.https_port,
        quoted(&hub.ca_file),
        quoted(folder.join("mgmt-service.db")),
    )
}

/// A TOML string; TOML takes every string that JSON writes.
fn quoted(text: impl AsRef<Path>) -> String {
    serde_json::Value::from(text.as_ref().to_string_lossy()).to_string()
}
