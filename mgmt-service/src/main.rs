//! The management service: arguments, logging, signals, exit code.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser;
use daemon::{logs::LogArguments, ready::ReadyArguments, signals::StopSignals};
use mgmt_service::Config;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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

    /// Check the settings and end.
    #[arg(long)]
    check_config: bool,

    #[command(flatten)]
    ready: ReadyArguments,

    #[command(flatten)]
    log: LogArguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.log.start(None);
    daemon::exit_code(run(arguments).await)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = read_config(&arguments)?;
    if arguments.check_config {
        tracing::info!("the settings are good");
        return Ok(());
    }
    let signals = StopSignals::listen().context("listen for signals")?;
    arguments.ready.withdraw()?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen on {}", config.listen))?;
    let address = listener.local_addr().context("learn the own address")?;
    tracing::info!(%address, "listening; callers are not authenticated");
    arguments
        .ready
        .announce(&serde_json::json!({ "address": address }))?;
    let shutdown = CancellationToken::new();
    let service = mgmt_service::serve(listener, config, shutdown.clone());
    let served = signals.run(&shutdown, service).await.context("stop")?;
    served.context("run the service")
}

fn read_config(arguments: &Arguments) -> anyhow::Result<Config> {
    let path = &arguments.config;
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Config::parse(&text, folder, arguments.listen)
        .with_context(|| format!("use {}", path.display()))
}
