//! The gateway daemon: arguments, logging, signals, exit code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser;
use daemon::{
    logs::{LogArguments, LogControl},
    ready::ReadyArguments,
    settings::{InForce, Mistakes, SettingsArguments},
    signals::{Hangups, StopSignals},
    systemd::{self, Watchdog},
};
use device_gateway::{Gateway, Reload, config::Config};
use tokio_util::sync::CancellationToken;

/// Bridges devices onto IoT Hub, reboots them when asked, and proves that they rebooted.
#[derive(Debug, Clone, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,

    #[command(flatten)]
    ready: ReadyArguments,

    #[command(flatten)]
    log: LogArguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (config, in_force) = match arguments.read_config() {
        Ok(read) => read,
        Err(mistakes) => {
            arguments.log.settings().start(None);
            let mistakes = anyhow::Error::from(mistakes);
            return daemon::exit_code(Err(mistakes.context("use the settings")));
        }
    };
    let log = config.log.start(None);
    if arguments.settings.print_config {
        let printed = write!(io::stdout().lock(), "{in_force}");
        return daemon::exit_code(printed.context("print the settings"));
    }
    if arguments.settings.check_config {
        tracing::info!(devices = config.devices.len(), "the settings are good");
        return ExitCode::SUCCESS;
    }
    daemon::exit_code(run(arguments, config, log).await)
}

async fn run(arguments: Arguments, config: Config, log: LogControl) -> anyhow::Result<()> {
    let signals = StopSignals::listen().context("listen for signals")?;
    let hangups = Hangups::listen().context("listen for signals")?;
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
    let announcement = arguments.ready.clone();
    let reload = reload_on_hangup(hangups, arguments, log, gateway.reload());
    let ready = move || {
        tracing::info!("ready");
        say_how_many(devices);
        let how = serde_json::json!({ "localMqtt": local_mqtt });
        tokio::spawn(reload);
        if let Err(error) = announcement.announce(&how) {
            tracing::error!("failed to {:#}", anyhow::Error::from(error));
        }
    };
    let shutdown = CancellationToken::new();
    let serving = gateway.serve(ready, shutdown.clone());
    let served = signals.run(&shutdown, serving).await.context("stop")?;
    served.context("serve")
}

/// Reads the settings again at each SIGHUP. Those with a mistake in them change nothing.
async fn reload_on_hangup(
    mut hangups: Hangups,
    arguments: Arguments,
    log: LogControl,
    reload: Reload,
) {
    loop {
        hangups.next().await;
        systemd::reloading();
        match arguments.read_config() {
            Ok((config, _)) => {
                let (filter, devices) = (config.log.filter.clone(), config.devices.len());
                match reload.to(config).await {
                    Ok(changes) => {
                        tracing::info!("the settings are read again: {changes}");
                        log.set_filter(filter);
                        say_how_many(devices);
                    }
                    Err(error) => {
                        let error = anyhow::Error::from(error);
                        tracing::error!("kept the settings in force: {error:#}");
                    }
                }
            }
            Err(mistakes) => tracing::error!("kept the settings in force: {mistakes}"),
        }
        systemd::ready();
    }
}

fn say_how_many(devices: usize) {
    systemd::status(&format!("holds {devices} device(s)"));
}

impl Arguments {
    fn read_config(&self) -> Result<(Config, InForce), Mistakes> {
        let environment = std::env::vars_os();
        let mut sources = self.settings.sources("device-gateway", environment)?;
        self.log.apply(&mut sources);
        Config::read(sources)
    }
}
