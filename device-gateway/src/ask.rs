//! The commands that look at a gateway instead of being one.

use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use daemon::settings::{Mistakes, SettingsArguments};
use device_gateway::{
    config::Config,
    inspect::{self, Finding},
    instruments::Status,
};
use iot_hub::identity::DeviceId;

/// How long the running gateway may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The exit code when something is not as it should be.
const BAD: u8 = 1;

/// The exit code when the settings have mistakes.
const MISTAKEN: u8 = 2;

/// The exit code when no gateway runs.
const ABSENT: u8 = 3;

/// Looks at a gateway.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Ask {
    /// Checks the settings, whether each hub can be reached, and what each device can prove.
    ///
    /// Ends with 0 when all is good, 1 when something is not, 2 when the settings have mistakes.
    Check(Common),

    /// Shows how the running gateway stands: sessions, open attempts, journal, last errors.
    ///
    /// It is asked at `listen` of [metrics]. Ends with 0 when it does its work, 1 when it has trouble,
    /// 2 when the settings have mistakes, 3 when no gateway answers.
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
            Self::Status(_) => status(&config, json),
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

fn status(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let address = config
        .metrics_listen
        .context("ask the gateway: the settings name no `listen` in [metrics]")?;
    let body = match fetch(address) {
        Ok(body) => body,
        Err(error) => {
            let said = format!("no gateway answers at {address}: {error:#}");
            writeln!(io::stderr().lock(), "{said}").context("tell that none runs")?;
            return Ok(ABSENT.into());
        }
    };
    let status: Status = serde_json::from_str(&body).context("read the gateway's answer")?;
    let text = if json { body } else { describe(&status)? };
    writeln!(io::stdout().lock(), "{}", text.trim_end()).context("print the status")?;
    Ok(if status.trouble.is_none() {
        ExitCode::SUCCESS
    } else {
        BAD.into()
    })
}

/// Asks a server on this machine for one page.
fn fetch(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET /status HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("it is another program");
    }
    Ok(body.to_owned())
}

fn describe(status: &Status) -> anyhow::Result<String> {
    let mut text = String::new();
    let devices = &status.devices;
    let connected = devices.values().filter(|device| device.connected).count();
    writeln!(
        text,
        "device-gateway {}, {connected} of {} device(s) connected",
        status.version,
        devices.len()
    )?;
    if let Some(trouble) = &status.trouble {
        writeln!(text, "TROUBLE: {trouble}")?;
    }
    let widest = devices.keys().map(String::len).max().unwrap_or_default();
    for (id, device) in devices {
        let link = if device.connected { "up  " } else { "DOWN" };
        let attempt = match &device.attempt {
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
