//! The gateway daemon: arguments, logging, signals, exit code.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use device_gateway::{Gateway, config::Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Bridges devices onto IoT Hub, reboots them when asked, and proves that they rebooted.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The settings, a TOML file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write how to reach the gateway to this file, as JSON, once it serves.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Check the settings and end.
    #[arg(long)]
    check_config: bool,
    /// What to log: error, warn, info, debug, trace, or a filter such as `device_gateway=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: EnvFilter,
    /// How to log.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines for a person.
    Text,
    /// One JSON object per line.
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(arguments.log.clone());
    match arguments.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config).context("use the settings")?;
    if arguments.check_config {
        tracing::info!(devices = config.devices.len(), "the settings are good");
        return Ok(());
    }
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let gateway = Gateway::bind(config).await.context("start")?;
    let local_mqtt = gateway.local_mqtt();
    if let Some(address) = local_mqtt {
        tracing::info!(%address, "listening for local devices");
    }
    let shutdown = CancellationToken::new();
    let ready = move || {
        tracing::info!("ready");
        if let Some(path) = &arguments.ready_file {
            let text = serde_json::json!({ "localMqtt": local_mqtt }).to_string();
            if let Err(error) = write_whole(path, &text) {
                tracing::error!(%error, path = %path.display(), "cannot write the ready file");
            }
        }
    };
    let serving = gateway.serve(ready, shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served.context("serve"),
        _ = interrupt.recv() => tracing::info!("received SIGINT, stopping"),
        _ = terminate.recv() => tracing::info!("received SIGTERM, stopping"),
    }
    shutdown.cancel();
    tokio::select! {
        served = serving => served.context("stop"),
        _ = interrupt.recv() => anyhow::bail!("stop: interrupted by a second signal"),
        _ = terminate.recv() => anyhow::bail!("stop: interrupted by a second signal"),
    }
}

/// Writes a file that others wait for: it is not there, or it is whole.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}
