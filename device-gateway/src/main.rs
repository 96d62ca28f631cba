//! The gateway daemon: arguments, logging, signals, exit code.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use daemon::{
    logs::LogArguments,
    ready::ReadyArguments,
    signals::StopSignals,
    systemd::{self, Watchdog},
};
use device_gateway::{Gateway, config::Config};
use tokio_util::sync::CancellationToken;

/// Bridges devices onto IoT Hub, reboots them when asked, and proves that they rebooted.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The settings, a TOML file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

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
    arguments.log.settings().start(None);
    daemon::exit_code(run(arguments).await)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config).context("use the settings")?;
    if arguments.check_config {
        tracing::info!(devices = config.devices.len(), "the settings are good");
        return Ok(());
    }
    let signals = StopSignals::listen().context("listen for signals")?;
    arguments.ready.withdraw()?;
    let devices = config.devices.len();
    let mut gateway = Gateway::bind(config).await.context("start")?;
    if let Some(watchdog) = Watchdog::over_us() {
        gateway = gateway.with_watchdog(watchdog.interval(), move || watchdog.feed());
    }
    let local_mqtt = gateway.local_mqtt();
    if let Some(address) = local_mqtt {
        tracing::info!(%address, "listening for local devices");
    }
    let ready = move || {
        tracing::info!("ready");
        systemd::status(&format!("holds {devices} device(s)"));
        let how = serde_json::json!({ "localMqtt": local_mqtt });
        if let Err(error) = arguments.ready.announce(&how) {
            tracing::error!("failed to {:#}", anyhow::Error::from(error));
        }
    };
    let shutdown = CancellationToken::new();
    let serving = gateway.serve(ready, shutdown.clone());
    let served = signals.run(&shutdown, serving).await.context("stop")?;
    served.context("serve")
}
