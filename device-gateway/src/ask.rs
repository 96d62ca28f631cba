//! The commands that look at a gateway instead of being one.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use daemon::settings::{Mistakes, SettingsArguments};
use device_gateway::{
    config::Config,
    inspect::{self, Finding, Running},
    instruments::Status,
};
use iot_hub::identity::DeviceId;

/// The exit code when something is not as it should be.
const BAD: u8 = 1;

/// The exit code when the settings have mistakes.
const MISTAKEN: u8 = 2;

/// The exit code when no gateway runs.
const ABSENT: u8 = 3;

/// Looks at a gateway.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Ask {
    /// Checks the settings, whether each hub can be reached and lets its devices in, and what each
    /// device can prove.
    ///
    /// A device signs in with its hub once, unless a gateway runs, whose session that would end: then
    /// that one is asked, at `listen` of [metrics].
    ///
    /// Ends with 0 when all is good, 1 when something is not, 2 when the settings have mistakes.
    Check(Common),

    /// Shows how the running gateway stands: sessions, open attempts, journal, last errors.
    ///
    /// It is asked at `listen` of [metrics]; where none runs, its journal is read. Ends with 0 when it does
    /// its work, 1 when it has trouble, 2 when the settings have mistakes, 3 when no gateway runs.
    Status(Common),

    /// Rehearses the reboot of the named devices, or of all; none is rebooted.
    ///
    /// Ends with 0 when all of them could be rebooted, 1 when one could not, 2 when the settings have mistakes.
    Rehearse {
        #[command(flatten)]
        common: Common,

        /// The devices.
        #[arg(value_name = "DEVICE")]
        devices: Vec<DeviceId>,
    },
}

/// What all of them take.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    settings: SettingsArguments,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Ask {
    /// Looks, and prints what is found.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let (Self::Check(common) | Self::Status(common) | Self::Rehearse { common, .. }) = &self;
        let json = common.json;
        let config = match read_config(&common.settings) {
            Ok(config) => config,
            Err(mistakes) => {
                writeln!(io::stderr().lock(), "{mistakes}").context("tell the mistakes")?;
                return Ok(MISTAKEN.into());
            }
        };
        match self {
            Self::Check(_) => tell(&inspect::check(&config).await, json),
            Self::Rehearse { devices, .. } => {
                tell(&inspect::rehearse(&config, &devices).await, json)
            }
            Self::Status(_) => status(&config, json).await,
        }
    }
}

fn read_config(settings: &SettingsArguments) -> Result<Config, Mistakes> {
    let sources = settings.sources("device-gateway", std::env::vars_os())?;
    Ok(Config::read(sources)?.0)
}

fn tell(findings: &[Finding], json: bool) -> anyhow::Result<ExitCode> {
    let text = if json {
        serde_json::to_string_pretty(findings).context("print as JSON")?
    } else {
        let widest = findings.iter().map(|finding| finding.subject.len()).max();
        let widest = widest.unwrap_or_default();
        let lines = findings.iter().map(
            |Finding {
                 subject,
                 good,
                 found,
             }| {
                let mark = if *good { "ok  " } else { "FAIL" };
                format!("{mark}  {subject:widest$}  {found}")
            },
        );
        lines.collect::<Vec<_>>().join("\n")
    };
    writeln!(io::stdout().lock(), "{text}").context("print what was found")?;
    let good = findings.iter().all(|finding| finding.good);
    Ok(if good { ExitCode::SUCCESS } else { BAD.into() })
}

async fn status(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let address = config.metrics_listen;
    let place = address.map_or_else(String::new, |address| format!(" at {address}"));
    let (status, code, said) = match inspect::running(config).await {
        Running::Tells(status) => {
            let good = status.trouble.is_none();
            let code = if good { ExitCode::SUCCESS } else { BAD.into() };
            (*status, code, None)
        }
        Running::IsSilent => {
            let folder = config.state_dir.display();
            let how = "name a `listen` in [metrics]";
            bail!(
                "ask the gateway: one runs, for it holds {folder}, and none answers{place}; {how}"
            );
        }
        Running::Nobody | Running::Unknown(_) => {
            let kept = inspect::kept(config).await;
            let kept =
                kept.with_context(|| format!("read the journal, for no gateway answers{place}"));
            match kept {
                Ok(status) => {
                    let said = format!("no gateway answers{place}; this is what its journal says");
                    (status, ABSENT.into(), Some(said))
                }
                Err(error) => {
                    writeln!(io::stderr().lock(), "failed to {error:#}")
                        .context("tell that none runs")?;
                    return Ok(ABSENT.into());
                }
            }
        }
    };
    if let Some(said) = &said {
        writeln!(io::stderr().lock(), "{said}").context("tell that none runs")?;
    }
    let text = if json {
        serde_json::to_string(&status).context("print as JSON")?
    } else {
        describe(&status, said.is_none())?
    };
    writeln!(io::stdout().lock(), "{}", text.trim_end()).context("print the status")?;
    Ok(code)
}

fn describe(status: &Status, runs: bool) -> anyhow::Result<String> {
    let mut text = String::new();
    let devices = &status.devices;
    let connected = devices.values().filter(|device| device.connected).count();
    if runs {
        writeln!(
            text,
            "device-gateway {}, {connected} of {} device(s) connected",
            status.version,
            devices.len()
        )?;
    }
    if let Some(trouble) = &status.trouble {
        writeln!(text, "TROUBLE: {trouble}")?;
    }
    let widest = devices.keys().map(String::len).max().unwrap_or_default();
    for (id, device) in devices {
        let link = match (runs, device.connected) {
            (false, _) => "    ",
            (true, true) => "up  ",
            (true, false) => "DOWN",
        };
        let attempt = match device.attempt.as_deref() {
            Some((id, state)) => format!("{state} {id}"),
            None => "no attempt".to_owned(),
        };
        let report = if device.undelivered {
            ", report not delivered"
        } else {
            ""
        };
        writeln!(text, "{link}  {id:widest$}  {attempt}{report}")?;
        let errors = [
            ("newest attempt", &device.ended),
            ("journal", &device.journal_error),
            ("driver", &device.driver_error),
        ];
        for (what, error) in errors {
            if let Some(error) = error {
                writeln!(text, "      {what}, {}: {}", error.time, error.what)?;
            }
        }
    }
    Ok(text)
}
