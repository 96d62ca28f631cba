//! The settings and their defaults.

mod access;
mod hub;
mod limits;
mod tls;
mod web;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use daemon::{
    logs::LogSettings,
    settings::{InForce, Mistakes, Section, Sources},
};

pub use self::{
    hub::HubConfig,
    limits::Limits,
    tls::TlsConfig,
    web::{Origin, WebOptions},
};
use crate::{
    access::AccessOptions,
    attempt::Rules,
    metrics::{Asked, Instruments},
    poller::Cadence,
    quota::{Edition, HubQuota, Tier},
    service::Timing,
    store::SqliteOptions,
};

/// Loopback, for there are no credentials to check callers by.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);

/// Soon enough for a certificate that is replaced days before its end.
const DEFAULT_RELOAD_INTERVAL: Duration = Duration::from_secs(30);

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The settings of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How connections are secured; `None` when they are not.
    pub tls: Option<TlsConfig>,
    /// Whom to let in, and to what.
    pub access: AccessOptions,
    /// How often changed settings are looked for.
    pub reload_interval: Duration,
    /// How to reach the hub.
    pub hub: HubConfig,
    /// Where to keep the data.
    pub store: SqliteOptions,
    /// How often twins are read.
    pub cadence: Cadence,
    /// How much else the hub is asked.
    pub quota: HubQuota,
    /// How patient the service is.
    pub timing: Timing,
    /// How long nothing happens before a watch gets a bookmark, and another one.
    pub bookmark_interval: Duration,
    /// How long a stop may wait for what is under way.
    pub drain_timeout: Duration,
    /// How browsers may call; `None` where they may not.
    pub web: Option<WebOptions>,
    /// What callers may ask at most.
    pub limits: Limits,
    /// How long the hub may fail to answer before the service is not ready.
    pub hub_unreachable_limit: Duration,
    /// Where to send traces by OTLP over gRPC, if anywhere.
    pub traces: Option<String>,
    /// Where to serve metrics and health over HTTP, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// What is logged, and how.
    pub log: LogSettings,
}

impl Config {
    /// Makes sense of the settings, and says which are in force.
    pub fn read(sources: Sources) -> Result<(Self, InForce), Mistakes> {
        sources.read(read)
    }

    /// What counts and measures a service of these settings.
    pub fn instruments(&self) -> Instruments {
        let reads = (Asked::Twin, self.cadence.reads_per_second);
        let limits: Vec<_> = self.quota.limits().into_iter().chain([reads]).collect();
        Instruments::new(self.hub_unreachable_limit, &limits)
    }

    /// Reads settings that are all in one text. Relative paths are relative to `folder`; `listen`
    /// wins over the text.
    pub fn parse(text: &str, folder: &Path, listen: Option<SocketAddr>) -> Result<Self, Mistakes> {
        let mut sources = Sources::of_text(text, folder)?;
        if let Some(listen) = listen {
            sources.argument("--listen", "listen", &listen.to_string());
        }
        Ok(Self::read(sources)?.0)
    }
}

fn read(root: &mut Section) -> Option<Config> {
    let listen = root.address("listen").or(DEFAULT_LISTEN);
    let open = root.flag("allow_insecure_listen").or(false);
    let reload_interval = root
        .duration("reload_interval", Duration::from_millis(10), DAY)
        .or(DEFAULT_RELOAD_INTERVAL);
    let has_tls = root.has("tls");
    let tls_section = root.section("tls");
    let certificates = tls_section.has("client_ca_file");
    let tls = has_tls.then(|| tls::read(tls_section)).flatten();
    let access = access::read(root.section("access"), certificates);
    if !listen.ip().is_loopback() {
        check_open_listen(root, listen, open, has_tls, &access);
    }
    let hub = hub::read(root.section("hub"));
    let (store, retention) = read_store(root.section("store"));
    let (tier, quota) = read_quota(root.section("quota"));
    let cadence = read_polling(root.section("polling"), tier);
    let (timing, bookmark_interval, drain_timeout, hub_unreachable_limit) =
        read_timing(root.section("timing"), retention);
    let web = web::read(root.section("web"));
    let limits = Limits::read(root.section("limits"));
    let metrics_listen = root.section("metrics").address("listen").optional();
    let endpoint = root.section("traces").take(
        "endpoint",
        "the address of a collector, as \"http://127.0.0.1:4317\"",
        |value| {
            let text = value.as_str()?;
            let uri: ::http::Uri = text.parse().ok()?;
            let plain = uri.scheme_str() == Some("http") && uri.authority().is_some();
            plain.then(|| text.to_owned())
        },
    );
    let traces = endpoint.optional();
    let log = LogSettings::read(root.section("log"));
    Some(Config {
        listen,
        tls,
        access: access.options,
        reload_interval,
        hub: hub?,
        store,
        cadence,
        quota,
        timing,
        bookmark_interval,
        drain_timeout,
        web,
        limits,
        hub_unreachable_limit,
        traces,
        metrics_listen,
        log,
    })
}

/// Checks what it takes to be reached from elsewhere.
fn check_open_listen(
    root: &Section,
    listen: SocketAddr,
    open: bool,
    has_tls: bool,
    access: &access::Read,
) {
    let listen = listen.to_string();
    let lacks = match (has_tls, access.options.policy.open) {
        (true, false) => None,
        (false, false) => Some("connections are not secured, for which see [tls]"),
        (true, true) => Some("callers are not authenticated, for which see [access]"),
        (false, true) => Some(
            "connections are not secured and callers not authenticated, for which see [tls] and [access]",
        ),
    };
    if let Some(lacks) = lacks.filter(|_| !open) {
        let expected =
            format!("a loopback address: {lacks}; allow_insecure_listen = true lifts this");
        root.mistake("listen", &listen, &expected);
    }
    if !access.options.tokens.is_empty() && !access.allow_static_tokens {
        let expected = "a loopback address: static tokens are for development; access.allow_static_tokens = true lifts this";
        root.mistake("listen", &listen, expected);
    }
}

fn read_store(mut section: Section) -> (SqliteOptions, Duration) {
    let default = section.folder().join("mgmt-service.db");
    let options = SqliteOptions {
        path: section.path("path").or(default),
        events_per_attempt: section.count("events_per_attempt", 10, 100_000).or(1000),
    };
    let retention = section.duration("retention", HOUR, 3650 * DAY).or(90 * DAY);
    (options, retention)
}

fn read_quota(mut section: Section) -> (Tier, HubQuota) {
    let edition = section.take("tier", "\"S1\", \"S2\" or \"S3\"", |value| {
        let name = value.as_str()?;
        name.parse::<Edition>().ok().map(|_| name.to_owned())
    });
    let tier = Tier {
        edition: edition
            .or("S1".to_owned())
            .parse()
            .unwrap_or(Tier::SMALLEST.edition),
        units: section.count("units", 1, 200).or(Tier::SMALLEST.units),
    };
    let second = Duration::from_secs(1);
    let quota = HubQuota {
        methods_per_second: section
            .number("methods_per_second", 0.01, 1e6)
            .or(tier.methods_per_second()),
        updates_per_second: tier.updates_per_second(),
        queries_per_minute: section
            .number("queries_per_minute", 0.01, 1e6)
            .or(tier.queries_per_minute()),
        // Less than callers wait for a reboot to begin.
        longest_wait: section
            .duration("longest_wait", Duration::ZERO, 25 * second)
            .or(10 * second),
        // Each holds a connection to the hub.
        hanging_calls: section.count("hanging_calls", 0, 10_000).or(500) as usize,
    };
    (tier, quota)
}

fn read_polling(mut section: Section, tier: Tier) -> Cadence {
    let default = Cadence::default();
    let ms = Duration::from_millis(1);
    let cadence = Cadence {
        reads_per_second: section
            .number("reads_per_second", 0.01, 1e6)
            .or(tier.reads_per_second()),
        min: section
            .duration("min_interval", 10 * ms, DAY)
            .or(default.min),
        max: section
            .duration("max_interval", 10 * ms, DAY)
            .or(default.max),
    };
    if cadence.min > cadence.max {
        let value = format!("{:?}", cadence.min);
        section.mistake("min_interval", &value, "no more than max_interval");
    }
    cadence
}

fn read_timing(
    mut section: Section,
    retention: Duration,
) -> (Timing, Duration, Duration, Duration) {
    let rules = Rules::default();
    let ms = Duration::from_millis(1);
    let second = Duration::from_secs(1);
    let retry_min = section
        .duration("retry_min", 10 * ms, HOUR)
        .or(rules.retry_min);
    let retry_max = section
        .duration("retry_max", 10 * ms, DAY)
        .or(rules.retry_max);
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
            .or(rules.cancel_pause),
        last_look: section
            .duration("last_look", second, HOUR)
            .or(rules.last_look),
    };
    let recovery_limit = section
        .duration("recovery_limit", second, 30 * DAY)
        .or(DAY.min(retention));
    if recovery_limit > retention {
        let value = format!("{recovery_limit:?}");
        section.mistake("recovery_limit", &value, "no more than store.retention");
    }
    let timing = Timing {
        // The hub's own limits.
        answer_timeout: section
            .duration("dispatch_answer_timeout", 5 * second, 300 * second)
            .or(30 * second),
        default_deadline: section
            .duration("default_deadline", second, 7 * DAY)
            .or(1800 * second),
        recovery_pause: section
            .duration("recovery_interval", 10 * ms, DAY)
            .or(300 * second),
        recovery_limit,
        retention,
        rules,
    };
    let bookmark = section
        .duration("bookmark_interval", 10 * ms, HOUR)
        .or(15 * second);
    let drain = section
        .duration("drain_timeout", Duration::ZERO, HOUR)
        .or(10 * second);
    let hub_unreachable_limit = section
        .duration("hub_unreachable_limit", 100 * ms, HOUR)
        .or(30 * second);
    (timing, bookmark, drain, hub_unreachable_limit)
}

#[cfg(test)]
mod tests;
