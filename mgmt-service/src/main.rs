//! The management service: arguments, logging, signals, exit code.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::Parser;
use daemon::{
    admin,
    logs::{LogArguments, LogControl},
    ready::ReadyArguments,
    settings::{InForce, Mistakes, SettingsArguments},
    signals::{Hangups, StopSignals},
};
use mgmt_service::{Config, Reload, traces::Exporter};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Reboots devices over IoT Hub and follows them to a verdict.
#[derive(Debug, Clone, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,

    /// Where to listen, instead of where the settings say. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,

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
    if arguments.settings.print_config {
        let printed = write!(io::stdout().lock(), "{in_force}");
        return daemon::exit_code(printed.context("print the settings"));
    }
    if arguments.settings.check_config {
        config.log.start(None);
        tracing::info!("the settings are good");
        return ExitCode::SUCCESS;
    }
    let exporter = match config.traces.as_deref().map(Exporter::new).transpose() {
        Ok(exporter) => exporter,
        Err(error) => {
            config.log.start(None);
            return daemon::exit_code(Err(error.into()));
        }
    };
    let log = config.log.start(exporter.as_ref().map(Exporter::receiver));
    let code = daemon::exit_code(run(arguments, config, log).await);
    if let Some(exporter) = exporter {
        exporter.shutdown();
    }
    code
}

async fn run(arguments: Arguments, config: Config, log: LogControl) -> anyhow::Result<()> {
    let signals = StopSignals::listen().context("listen for signals")?;
    let hangups = Hangups::listen().context("listen for signals")?;
    arguments.ready.withdraw()?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen on {}", config.listen))?;
    let address = listener.local_addr().context("learn the own address")?;
    let secured = config.tls.is_some();
    if config.access.policy.open {
        tracing::info!(%address, secured, "listening; callers are not authenticated, for no credentials are configured");
    } else {
        tracing::info!(%address, secured, "listening");
    }
    let mut how = serde_json::json!({ "address": address });
    let metrics = match config.metrics_listen {
        Some(wanted) => {
            let listener = TcpListener::bind(wanted)
                .await
                .with_context(|| format!("listen on {wanted} for metrics"))?;
            let address = listener.local_addr().context("learn the own address")?;
            tracing::info!(%address, "serving metrics and health");
            how["metrics"] = address.to_string().into();
            Some(listener)
        }
        None => None,
    };
    arguments.ready.announce(&how)?;
    let again = arguments.clone();
    let reload = Reload::new(move || Ok(again.read_config()?.0));
    tokio::spawn(reload_on_hangup(
        hangups,
        arguments,
        log.clone(),
        reload.clone(),
    ));
    let shutdown = CancellationToken::new();
    let instruments = config.instruments();
    if let Some(listener) = metrics {
        let pages = Arc::new(instruments.clone());
        tokio::spawn(admin::serve(listener, pages, Some(log), shutdown.clone()));
    }
    let service =
        mgmt_service::serve_observed(listener, config, instruments, reload, shutdown.clone());
    let served = signals.run(&shutdown, service).await.context("stop")?;
    served.context("run the service")
}

/// Reads the settings again at each SIGHUP, and follows what can change while the service runs.
async fn reload_on_hangup(
    mut hangups: Hangups,
    arguments: Arguments,
    log: LogControl,
    reload: Reload,
) {
    loop {
        hangups.next().await;
        match arguments.read_config() {
            Ok((config, _)) => {
                tracing::info!("the settings are read again");
                log.set_filter(config.log.filter);
                reload.now();
            }
            Err(mistakes) => tracing::error!("kept the settings in force: {mistakes}"),
        }
    }
}

impl Arguments {
    fn read_config(&self) -> Result<(Config, InForce), Mistakes> {
        let mut sources = self.settings.sources("mgmt-service", std::env::vars_os())?;
        if let Some(listen) = self.listen {
            sources.argument("--listen", "listen", &listen.to_string());
        }
        self.log.apply(&mut sources);
        Config::read(sources)
    }
}
