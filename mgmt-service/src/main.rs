//! The management service: arguments, logging, signals, exit code.

use std::{
    fs,
    io::IsTerminal as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use mgmt_service::Config;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Reboots devices over IoT Hub and follows them to a verdict.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The settings, a TOML file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Where to listen, instead of where the settings say. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

    /// Write the address as JSON to this file once the service listens.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// Check the settings and end.
    #[arg(long)]
    check_config: bool,

    /// What to log: a level, or directives such as `mgmt_service=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: EnvFilter,

    /// How to log.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object for each event.
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let logs = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(arguments.log.clone());
    match arguments.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
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
    let config = read_config(&arguments)?;
    if arguments.check_config {
        tracing::info!("the settings are good");
        return Ok(());
    }
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen on {}", config.listen))?;
    let address = listener.local_addr().context("learn the own address")?;
    tracing::info!(%address, "listening; callers are not authenticated");
    if let Some(path) = &arguments.ready_file {
        let text = serde_json::json!({ "address": address.to_string() }).to_string();
        write_whole(path, &text).with_context(|| format!("write {}", path.display()))?;
    }

    let mut interrupt = signal(SignalKind::interrupt()).context("watch for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("watch for signals")?;
    let shutdown = CancellationToken::new();
    let service = mgmt_service::serve(listener, config, shutdown.clone());
    tokio::pin!(service);
    tokio::select! {
        result = &mut service => return result.context("run the service"),
        () = either(&mut interrupt, &mut terminate) => tracing::info!("stopping"),
    }
    shutdown.cancel();
    tokio::select! {
        result = service => result.context("run the service"),
        () = either(&mut interrupt, &mut terminate) => anyhow::bail!("stop: a second signal came first"),
    }
}

fn read_config(arguments: &Arguments) -> anyhow::Result<Config> {
    let path = &arguments.config;
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Config::parse(&text, folder, arguments.listen)
        .with_context(|| format!("use {}", path.display()))
}

/// Writes a file that is either absent or whole.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
