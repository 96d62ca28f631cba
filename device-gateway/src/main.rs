//! The gateway daemon: arguments, logging, signals, exit code.

mod ask;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use ask::Ask;
use clap::Parser;
use daemon::{
    admin,
    logs::{LogArguments, LogControl},
    ready::ReadyArguments,
    settings::{InForce, Mistakes, SettingsArguments},
    signals::{Hangups, StopSignals},
    systemd::{self, Watchdog},
};
use device_gateway::{Gateway, Reload, config::Config};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Bridges devices onto IoT Hub, reboots them when asked, and proves that they rebooted.
#[derive(Debug, Clone, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    ask: Option<Ask>,

    #[command(flatten)]
    settings: SettingsArguments,

    #[command(flatten)]
    ready: ReadyArguments,

    #[command(flatten)]
    log: LogArguments,
}

/// How many threads may wait for a disk or a name server at once. Each costs memory, and all devices
/// share one disk and mostly one hub.
const BLOCKING_THREADS: usize = 4;

fn main() -> ExitCode {
    // One thread for all devices: they wait nearly all of the time, and several threads would pay for
    // waking each other.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(start()),
        Err(error) => {
            daemon::exit_code(Err(anyhow::Error::from(error).context("start the runtime")))
        }
    }
}

async fn start() -> ExitCode {
    let mut arguments = Arguments::parse();
    if let Some(ask) = arguments.ask.take() {
        return look(ask).await;
    }
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
    drop(in_force);
    if arguments.settings.check_config {
        tracing::info!(devices = config.devices.len(), "the settings are good");
        return ExitCode::SUCCESS;
    }
    daemon::exit_code(run(arguments, config, log).await)
}

async fn look(ask: Ask) -> ExitCode {
    match ask.run().await {
        Ok(code) => code,
        Err(error) => {
            // Where stderr is gone there is nobody to tell.
            let _ = writeln!(io::stderr().lock(), "failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments, config: Config, log: LogControl) -> anyhow::Result<()> {
    let signals = StopSignals::listen().context("listen for signals")?;
    let hangups = Hangups::listen().context("listen for signals")?;
    arguments.ready.withdraw()?;
    let (devices, metrics_listen) = (config.devices.len(), config.metrics_listen);
    let mut gateway = Gateway::bind(config).await.context("start")?;
    if let Some(watchdog) = Watchdog::over_us() {
        gateway = gateway.with_watchdog(watchdog.interval(), move || watchdog.feed());
    }
    let local_mqtt = gateway.local_mqtt();
    if let Some(address) = local_mqtt {
        tracing::info!(%address, "listening for local devices");
    }
    let mut metrics_address = None;
    let shutdown = CancellationToken::new();
    if let Some(wanted) = metrics_listen {
        let listener = TcpListener::bind(wanted)
            .await
            .with_context(|| format!("listen on {wanted} for metrics"))?;
        let address = listener.local_addr().context("learn the own address")?;
        tracing::info!(%address, "serving metrics and health");
        metrics_address = Some(address);
        let pages = Arc::new(gateway.instruments());
        let serving = admin::serve(listener, pages, Some(log.clone()), shutdown.clone());
        tokio::spawn(serving);
    }
    let announcement = arguments.ready.clone();
    let reload = reload_on_hangup(hangups, arguments, log, gateway.reload());
    let ready = move || {
        tracing::info!("ready");
        say_how_many(devices);
        let how = serde_json::json!({ "localMqtt": local_mqtt, "metrics": metrics_address });
        tokio::spawn(reload);
        if let Err(error) = announcement.announce(&how) {
            tracing::error!("failed to {:#}", anyhow::Error::from(error));
        }
    };
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
