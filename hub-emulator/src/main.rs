//! The emulator for a person at a terminal, or a program that waits for its ready file.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use daemon::logs::LogArguments;
use daemon::ready::ReadyArguments;
use daemon::signals::StopSignals;
use hub_emulator::{Edition, Emulator, EmulatorConfig, Ready, Shaping, StartError, Tier};
use iot_hub::identity::{DeviceId, HubHost};
use tokio_util::sync::CancellationToken;

/// An Azure IoT Hub on this machine: MQTT for devices, REST for services, no cloud.
///
/// Without arguments it takes the ports that Microsoft's SDKs insist on, 443 and 8883, makes itself
/// a certificate authority, registers one device, and prints how to connect. Ports below 1024 may
/// need rights: `--https-port 0 --mqtt-port 0` takes free ones.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The hub's name, in connection strings and in the certificate
    #[arg(long, value_name = "NAME", default_value = EmulatorConfig::DEFAULT_HOST_NAME)]
    host: HubHost,

    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,

    /// The port of the REST API; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 443)]
    https_port: u16,

    /// The port of MQTT over TLS; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8883)]
    mqtt_port: u16,

    /// Opens the admin API and page on this port of 127.0.0.1; 0 takes a free one. Without it there
    /// is none
    #[arg(long, value_name = "N")]
    admin_port: Option<u16>,

    /// Registers device-1 to device-N
    #[arg(long, value_name = "N", default_value_t = 0)]
    devices: u32,

    /// Registers a device of this id; may be given several times
    #[arg(long = "device", value_name = "ID")]
    device: Vec<DeviceId>,

    /// Enforces the throttles of a hub of this edition: S1, S2 or S3
    #[arg(long, value_name = "EDITION")]
    tier: Option<Edition>,

    /// How many units the hub has, with --tier
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tier")]
    units: u32,

    /// How many seconds' worth of requests a quiet hub takes at once, with --tier; at 0 its limits
    /// show from the first request on
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "tier")]
    burst: u16,

    /// Writes the certificate to trust here
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Keeps the certificate authority here, so that clients go on trusting it
    #[arg(long, value_name = "FOLDER")]
    ca_dir: Option<PathBuf>,

    /// Keeps identities, twins, subscriptions and the policies' keys here over restarts
    #[arg(long = "state", value_name = "FILE")]
    state_file: Option<PathBuf>,

    /// Trusts certificates of devices that are signed by an authority in this file (PEM); may be
    /// given several times
    #[arg(long = "device-ca", value_name = "FILE")]
    device_ca: Vec<PathBuf>,

    #[command(flatten)]
    ready: ReadyArguments,

    #[command(flatten)]
    log: LogArguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.log.settings().start(None);
    daemon::exit_code(run(arguments).await)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let signals = StopSignals::listen().context("listen for signals")?;

    let ca_file = CaFile::choose(&arguments).context("find a place for the certificate")?;
    arguments.ready.withdraw()?;
    let config = EmulatorConfig {
        host_name: arguments.host.clone(),
        listen: arguments.listen,
        https_port: arguments.https_port,
        mqtt_port: arguments.mqtt_port,
        admin_port: arguments.admin_port,
        ca_dir: arguments.ca_dir.clone(),
        tier: arguments.tier.map(|edition| Tier {
            edition,
            units: arguments.units,
        }),
        shaping: Shaping {
            credit: Duration::from_secs(arguments.burst.into()),
            ..Shaping::default()
        },
        ca_file: Some(ca_file.path.clone()),
        state_file: arguments.state_file.clone(),
        device_ca_files: arguments.device_ca.clone(),
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.map_err(explain)?;

    let ready = Ready {
        host_name: emulator.host_name().to_string(),
        https_port: emulator.https_port(),
        mqtt_port: emulator.mqtt_port(),
        ca_file: Some(ca_file.path.clone()),
        owner_connection_string: emulator.owner_connection_string(),
        service_connection_string: emulator.service_connection_string(),
        devices: register(&emulator, &arguments)?,
        admin_port: emulator.admin_port(),
        admin_url: emulator.admin_url(),
    };
    let how = serde_json::to_value(&ready).context("say how to connect")?;
    arguments.ready.announce(&how)?;
    greet(&ready, &mut io::stdout().lock()).context("print how to connect")?;

    let shutdown = CancellationToken::new();
    let stop = async {
        shutdown.cancelled().await;
        emulator.shutdown().await;
    };
    signals.run(&shutdown, stop).await.context("stop")
}

/// The authority's certificate, where clients find it.
struct CaFile {
    path: PathBuf,
    /// Nobody asked for it to be there, so it goes with us.
    temporary: bool,
}

impl CaFile {
    fn choose(arguments: &Arguments) -> io::Result<Self> {
        let (path, temporary) = match (&arguments.ca_file, &arguments.ca_dir) {
            (Some(file), _) => (file.clone(), false),
            (None, Some(folder)) => (folder.join("ca.pem"), false),
            (None, None) => {
                let name = format!("hub-emulator-{}.pem", std::process::id());
                (std::env::temp_dir().join(name), true)
            }
        };
        // Others read it from elsewhere.
        Ok(Self {
            path: std::path::absolute(path)?,
            temporary,
        })
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        if self.temporary {
            // It may never have been written.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Registers the devices that were asked for, or one when none was.
fn register(
    emulator: &Emulator,
    arguments: &Arguments,
) -> anyhow::Result<BTreeMap<String, String>> {
    let count = match arguments.devices {
        0 if arguments.device.is_empty() => 1,
        count => count,
    };
    let numbered = (1..=count).map(|number| {
        format!("device-{number}")
            .parse::<DeviceId>()
            .context("name the devices")
    });
    let named = arguments.device.iter().cloned().map(Ok);
    numbered
        .chain(named)
        .map(|device| {
            let device = device?;
            let connection = emulator.register(&device).context("register the devices")?;
            Ok((device.to_string(), connection))
        })
        .collect()
}

/// Says which flag avoids a port that cannot be had.
fn explain(error: StartError) -> anyhow::Error {
    let advice = match &error {
        StartError::Listen {
            what: hub_emulator::FrontDoor::Https,
            ..
        } => Some("start the hub: try another port with --https-port, or 0 for any free one"),
        StartError::Listen {
            what: hub_emulator::FrontDoor::Mqtt,
            ..
        } => Some("start the hub: try another port with --mqtt-port, or 0 for any free one"),
        StartError::Listen {
            what: hub_emulator::FrontDoor::Admin,
            ..
        } => Some("start the hub: try another port with --admin-port, or 0 for any free one"),
        StartError::Tls(_)
        | StartError::DeviceCa(_)
        | StartError::State(_)
        | StartError::CaFile { .. } => None,
    };
    let error = anyhow::Error::from(error);
    match advice {
        Some(advice) => error.context(advice),
        None => error.context("start the hub"),
    }
}

fn greet(ready: &Ready, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "IoT Hub emulator {} is ready.", ready.host_name)?;
    writeln!(out)?;
    writeln!(
        out,
        "  REST   https://{}:{}",
        ready.host_name, ready.https_port
    )?;
    writeln!(
        out,
        "  MQTT   mqtts://{}:{}",
        ready.host_name, ready.mqtt_port
    )?;
    if let Some(ca_file) = &ready.ca_file {
        writeln!(out, "  trust  {}", ca_file.display())?;
    }
    if let Some(url) = &ready.admin_url {
        writeln!(out, "  admin  {url} (page), {url}api (API)")?;
    }
    writeln!(out)?;
    writeln!(out, "Owner (everything):")?;
    writeln!(out, "  {}", ready.owner_connection_string)?;
    writeln!(out, "Service (twins, methods, queries):")?;
    writeln!(out, "  {}", ready.service_connection_string)?;
    for (device, connection) in &ready.devices {
        writeln!(out, "Device {device}:")?;
        writeln!(out, "  {connection}")?;
    }
    writeln!(out)?;
    writeln!(out, "Stop it with Ctrl-C.")?;
    out.flush()
}
