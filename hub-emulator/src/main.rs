//! The emulator for a person at a terminal, or a program that waits for its ready file.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use daemon::logs::LogArguments;
use daemon::ready::ReadyArguments;
use daemon::settings::{InForce, Mistakes, SettingsArguments, Sources};
use daemon::signals::StopSignals;
use hub_emulator::{Edition, Emulator, EmulatorConfig, Ready, Settings, StartError};
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
    #[command(flatten)]
    settings: SettingsArguments,

    /// The hub's name, in connection strings and in the certificate [default: localhost]
    #[arg(long, value_name = "NAME")]
    host: Option<HubHost>,

    /// The address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,

    /// The port of the REST API; 0 takes a free one [default: 443]
    #[arg(long, value_name = "N")]
    https_port: Option<u16>,

    /// The port of MQTT over TLS; 0 takes a free one [default: 8883]
    #[arg(long, value_name = "N")]
    mqtt_port: Option<u16>,

    /// Opens the admin API and page on this port of 127.0.0.1; 0 takes a free one. Without it there
    /// is none
    #[arg(long, value_name = "N")]
    admin_port: Option<u16>,

    /// Registers device-1 to device-N
    #[arg(long, value_name = "N")]
    devices: Option<u32>,

    /// Registers a device of this id; may be given several times
    #[arg(long = "device", value_name = "ID")]
    device: Vec<DeviceId>,

    /// Enforces the throttles of a hub of this edition: S1, S2 or S3
    #[arg(long, value_name = "EDITION")]
    tier: Option<Edition>,

    /// How many units the hub has, with --tier [default: 1]
    #[arg(long, value_name = "N")]
    units: Option<u32>,

    /// How many seconds' worth of requests a quiet hub takes at once, with --tier; at 0 its limits
    /// show from the first request on [default: 60]
    #[arg(long, value_name = "SECONDS")]
    burst: Option<u16>,

    /// Writes the certificate to trust here
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Keeps the certificate authority here, so that clients go on trusting it
    #[arg(long, value_name = "FOLDER")]
    ca_dir: Option<PathBuf>,

    /// Keeps the hub's state here over restarts: identities, twins, subscriptions, waiting messages,
    /// jobs, configurations and the policies' keys
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

// One thread: what a connection does is too little to pay for waking another thread to do it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (settings, in_force) = match arguments.read_settings() {
        Ok(read) => read,
        Err(mistakes) => {
            arguments.log.settings().start(None);
            let mistakes = anyhow::Error::from(mistakes);
            return daemon::exit_code(Err(mistakes.context("use the settings")));
        }
    };
    settings.log.start(None);
    if arguments.settings.print_config {
        use std::io::Write as _;
        let printed = write!(io::stdout().lock(), "{in_force}");
        return daemon::exit_code(printed.context("print the settings"));
    }
    if arguments.settings.check_config {
        tracing::info!(
            devices = settings.config.devices.len(),
            "the settings are good"
        );
        return ExitCode::SUCCESS;
    }
    daemon::exit_code(run(settings).await)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let signals = StopSignals::listen().context("listen for signals")?;
    let Settings {
        config, ready_file, ..
    } = settings;
    let ca_file = CaFile::choose(&config).context("find a place for the certificate")?;
    let announcement = ReadyArguments { file: ready_file };
    announcement.withdraw()?;
    let config = EmulatorConfig {
        ca_file: Some(ca_file.path.clone()),
        ..config
    };
    let emulator = Emulator::start(config).await.map_err(explain)?;

    let ready = Ready {
        host_name: emulator.host_name().to_string(),
        https_port: emulator.https_port(),
        mqtt_port: emulator.mqtt_port(),
        ca_file: Some(ca_file.path.clone()),
        owner_connection_string: emulator.owner_connection_string(),
        service_connection_string: emulator.service_connection_string(),
        devices: emulator.configured_devices(),
        admin_port: emulator.admin_port(),
        admin_url: emulator.admin_url(),
    };
    let how = serde_json::to_value(&ready).context("say how to connect")?;
    announcement.announce(&how)?;
    let greeted = ready.greet(&mut io::stdout().lock());
    greeted.context("print how to connect")?;

    let shutdown = CancellationToken::new();
    let stop = async {
        shutdown.cancelled().await;
        emulator.shutdown().await;
    };
    signals.run(&shutdown, stop).await.context("stop")
}

impl Arguments {
    /// Lays the file, the environment and the flags over each other.
    fn read_settings(&self) -> Result<(Settings, InForce), Mistakes> {
        let environment = std::env::vars_os();
        let mut sources = self.settings.sources("hub-emulator", environment)?;
        let flags: [(&str, &str, Option<String>); 11] = [
            (
                "--host",
                "host",
                self.host.as_ref().map(ToString::to_string),
            ),
            (
                "--listen",
                "listen",
                self.listen.map(|listen| listen.to_string()),
            ),
            (
                "--https-port",
                "https_port",
                self.https_port.map(|port| port.to_string()),
            ),
            (
                "--mqtt-port",
                "mqtt_port",
                self.mqtt_port.map(|port| port.to_string()),
            ),
            (
                "--admin-port",
                "admin_port",
                self.admin_port.map(|port| port.to_string()),
            ),
            (
                "--devices",
                "devices",
                self.devices.map(|count| count.to_string()),
            ),
            (
                "--tier",
                "tier",
                self.tier.map(|edition| format!("{edition:?}")),
            ),
            (
                "--units",
                "units",
                self.units.map(|units| units.to_string()),
            ),
            (
                "--burst",
                "burst",
                self.burst.map(|burst| burst.to_string()),
            ),
            ("--ca-file", "ca_file", self.ca_file.as_deref().map(text)),
            ("--ca-dir", "ca_dir", self.ca_dir.as_deref().map(text)),
        ];
        for (flag, key, value) in flags {
            lay(&mut sources, flag, key, value);
        }
        lay(
            &mut sources,
            "--state",
            "state",
            self.state_file.as_deref().map(text),
        );
        lay(
            &mut sources,
            "--ready-file",
            "ready_file",
            self.ready.file.as_deref().map(text),
        );
        if !self.device_ca.is_empty() {
            let files = self.device_ca.iter().map(|file| {
                // What the file says is relative to it, what is said here is not.
                let path = std::path::absolute(file);
                toml::Value::String(text(path.as_deref().unwrap_or(file)))
            });
            let files = toml::Value::Array(files.collect()).to_string();
            sources.argument("--device-ca", "device_ca", &files);
        }
        self.log.apply(&mut sources);
        Settings::read(sources, &self.device)
    }
}

fn lay(sources: &mut Sources, flag: &str, key: &str, value: Option<String>) {
    if let Some(value) = value {
        sources.argument(flag, key, &value);
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The authority's certificate, where clients find it.
struct CaFile {
    path: PathBuf,
    /// Nobody asked for it to be there, so it goes with us.
    temporary: bool,
}

impl CaFile {
    fn choose(config: &EmulatorConfig) -> io::Result<Self> {
        let (path, temporary) = match (&config.ca_file, &config.ca_dir) {
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

/// Says what helps, where something does.
fn explain(error: StartError) -> anyhow::Error {
    let program = std::env::current_exe().unwrap_or_else(|_| "hub-emulator".into());
    let doing = match error.advice(&program) {
        None => "start the hub".to_owned(),
        Some(advice) => format!("start the hub: {advice}"),
    };
    anyhow::Error::from(error).context(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
