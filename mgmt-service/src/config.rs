//! The settings: one TOML file, read once, with every mistake in it told at once.

mod reader;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use iot_hub::identity::{ConnectionString, ServiceConnection};

pub use self::reader::Mistake;
use self::reader::Section;
use crate::{attempt::Rules, poller::Cadence, service::Timing, store::SqliteOptions};

/// Loopback, for there are no credentials to check callers by.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);

/// A little below the 100 twin reads a second that the smallest tiers of the hub allow, of which
/// devices need some too.
const DEFAULT_READS_PER_SECOND: f64 = 95.0;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The settings of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How to reach the hub.
    pub hub: HubConfig,
    /// Where to keep the data.
    pub store: SqliteOptions,
    /// How many twins may be read in a second.
    pub reads_per_second: f64,
    /// How often each twin is read.
    pub cadence: Cadence,
    /// How patient the service is.
    pub timing: Timing,
    /// How long a watch is idle before it gets a bookmark.
    pub bookmark_interval: Duration,
    /// How long a stop may wait for what is under way.
    pub drain_timeout: Duration,
}

/// How to reach the hub.
#[derive(Debug, Clone, PartialEq)]
pub struct HubConfig {
    /// The hub and the credentials.
    pub connection: ServiceConnection,
    /// The port of its HTTPS API.
    pub https_port: u16,
    /// The certificates that sign the hub's, as PEM; the platform's when absent.
    pub ca: Option<Vec<u8>>,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Mistake>);

impl Config {
    /// Reads the settings. Relative paths are relative to `folder`; `listen` wins over the file.
    pub fn parse(
        text: &str,
        folder: &Path,
        listen: Option<SocketAddr>,
    ) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                return Err(ConfigError(vec![Mistake::of_file(
                    error.to_string().trim(),
                )]));
            }
        };
        let mut root = Section::root(table, &mut mistakes);
        let listen = listen
            .or_else(|| root.address("listen"))
            .unwrap_or(DEFAULT_LISTEN);
        let open = root.flag("allow_insecure_listen").unwrap_or(false);
        if !listen.ip().is_loopback() && !open {
            let expected = "a loopback address: callers are not authenticated; allow_insecure_listen = true lifts this";
            root.mistake("listen", &listen.to_string(), expected);
        }
        let hub = read_hub(&mut root.section("hub"), folder);
        let (store, retention) = read_store(&mut root.section("store"), folder);
        let (reads_per_second, cadence) = read_polling(&mut root.section("polling"));
        let (timing, bookmark_interval, drain_timeout) =
            read_timing(&mut root.section("timing"), retention);
        root.finish();
        match hub {
            Some(hub) if mistakes.is_empty() => Ok(Self {
                listen,
                hub,
                store,
                reads_per_second,
                cadence,
                timing,
                bookmark_interval,
                drain_timeout,
            }),
            Some(_) | None => Err(ConfigError(mistakes)),
        }
    }
}

fn read_hub(section: &mut Section<'_>, folder: &Path) -> Option<HubConfig> {
    let https_port = section.port("https_port").unwrap_or(443);
    let ca = section
        .text("ca_file")
        .and_then(|file| section.file("ca_file", &folder.join(file)));
    let given = section.text("connection_string");
    let file = section.text("connection_string_file");
    let (key, text) = match (given, file) {
        (Some(text), None) => ("connection_string", Some(text)),
        (None, Some(file)) => {
            let key = "connection_string_file";
            let bytes = section.file(key, &folder.join(file));
            (
                key,
                bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()),
            )
        }
        (Some(_), Some(_)) => {
            section.mistake(
                "connection_string_file",
                "…",
                "no connection_string beside it",
            );
            return None;
        }
        (None, None) => {
            section.mistake("connection_string", "", "this or connection_string_file");
            return None;
        }
    };
    section.finish();
    let connection = match text?.parse() {
        Ok(ConnectionString::Service(connection)) => connection,
        Ok(ConnectionString::Device(_)) => {
            section.mistake(
                key,
                "(hidden)",
                "a service's connection string, with SharedAccessKeyName",
            );
            return None;
        }
        Err(error) => {
            section.mistake(
                key,
                "(hidden)",
                &format!("a service's connection string: {error}"),
            );
            return None;
        }
    };
    Some(HubConfig {
        connection,
        https_port,
        ca,
    })
}

fn read_store(section: &mut Section<'_>, folder: &Path) -> (SqliteOptions, Duration) {
    let path = section
        .text("path")
        .unwrap_or_else(|| "mgmt-service.db".to_owned());
    let events_per_attempt = section
        .count("events_per_attempt", 10, 100_000)
        .unwrap_or(1000);
    let retention = section
        .duration("retention", HOUR, 3650 * DAY)
        .unwrap_or(90 * DAY);
    section.finish();
    let path: PathBuf = folder.join(path);
    (
        SqliteOptions {
            path,
            events_per_attempt,
        },
        retention,
    )
}

fn read_polling(section: &mut Section<'_>) -> (f64, Cadence) {
    let default = Cadence::default();
    let rate = section
        .number("reads_per_second", 0.01, 1e6)
        .unwrap_or(DEFAULT_READS_PER_SECOND);
    let ms = Duration::from_millis(1);
    let cadence = Cadence {
        part: section.number("part", 0.001, 1.0).unwrap_or(default.part),
        min: section
            .duration("min_interval", 10 * ms, DAY)
            .unwrap_or(default.min),
        max: section
            .duration("max_interval", 10 * ms, DAY)
            .unwrap_or(default.max),
        jitter: section.number("jitter", 0.0, 0.9).unwrap_or(default.jitter),
    };
    if cadence.min > cadence.max {
        let value = format!("{:?}", cadence.min);
        section.mistake("min_interval", &value, "no more than max_interval");
    }
    section.finish();
    (rate, cadence)
}

fn read_timing(section: &mut Section<'_>, retention: Duration) -> (Timing, Duration, Duration) {
    let rules = Rules::default();
    let ms = Duration::from_millis(1);
    let second = Duration::from_secs(1);
    let retry_min = section
        .duration("retry_min", 10 * ms, HOUR)
        .unwrap_or(rules.retry_min);
    let retry_max = section
        .duration("retry_max", 10 * ms, DAY)
        .unwrap_or(rules.retry_max);
    if retry_min > retry_max {
        section.mistake(
            "retry_min",
            &format!("{retry_min:?}"),
            "no more than retry_max",
        );
    }
    let rules = Rules {
        retry_min,
        retry_max,
        cancel_pause: section
            .duration("cancel_pause", 10 * ms, HOUR)
            .unwrap_or(rules.cancel_pause),
        last_look: section
            .duration("last_look", second, HOUR)
            .unwrap_or(rules.last_look),
    };
    let timing = Timing {
        // The hub's own limits.
        answer_timeout: section
            .duration("dispatch_answer_timeout", 5 * second, 300 * second)
            .unwrap_or(30 * second),
        default_deadline: section
            .duration("default_deadline", second, 7 * DAY)
            .unwrap_or(1800 * second),
        recovery_pause: section
            .duration("recovery_interval", 10 * ms, DAY)
            .unwrap_or(300 * second),
        recovery_limit: section
            .duration("recovery_limit", second, 30 * DAY)
            .unwrap_or(DAY),
        retention,
        rules,
    };
    let bookmark = section
        .duration("bookmark_interval", 10 * ms, HOUR)
        .unwrap_or(15 * second);
    let drain = section
        .duration("drain_timeout", Duration::ZERO, HOUR)
        .unwrap_or(10 * second);
    section.finish();
    (timing, bookmark, drain)
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{count} {noun} in the settings")?;
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests;
