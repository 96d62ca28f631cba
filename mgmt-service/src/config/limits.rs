//! What callers may ask of the service at most, so that none of them harms the others.

use std::time::Duration;

use daemon::settings::Section;

/// What callers may ask of the service at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The largest message taken, in bytes. The largest meaningful one is a few kilobytes.
    pub message: usize,
    /// The largest header of a call, in bytes, tokens included.
    pub headers: u32,
    /// How many connections may be open, in all.
    pub connections: usize,
    /// How many of them may come from one address.
    pub connections_per_address: usize,
    /// How many calls one connection may have open; a watch is one.
    pub calls_per_connection: u32,
    /// How many calls may be open, in all.
    pub calls: usize,
    /// How many calls one connection may begin in a second; twice as many at once.
    pub calls_per_second: f64,
    /// How long a connection may take to begin, and a call to send its request.
    pub patience: Duration,
    /// How long a connection without a call is kept.
    pub idle: Duration,
    /// How long a connection takes new calls: callers come back through the balancer, to every replica.
    pub connection_age: Duration,
    /// How often a quiet connection is asked whether it lives: a watcher's peer may be gone.
    pub keepalive: Duration,
    /// How long it may take to answer.
    pub keepalive_timeout: Duration,
    /// How long a watch lasts, up to a tenth less, before its caller has to make a new one.
    pub watch_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            message: 64 * 1024,
            headers: 16 * 1024,
            // Of the usual 20,000 file descriptors some are the hub's and the store's.
            connections: 10_000,
            connections_per_address: 2_000,
            calls_per_connection: 10_000,
            calls: 200_000,
            calls_per_second: 1_000.0,
            patience: seconds(10),
            idle: seconds(15 * 60),
            connection_age: seconds(12 * 3600),
            keepalive: seconds(60),
            keepalive_timeout: seconds(20),
            watch_age: seconds(3600),
        }
    }
}

impl Limits {
    pub(super) fn read(mut section: Section) -> Self {
        let default = Self::default();
        let ms = Duration::from_millis(1);
        let day = Duration::from_secs(24 * 3600);
        let mut count = |key: &str, least: u32, most: u32, default: usize| {
            let default = u32::try_from(default).unwrap_or(u32::MAX);
            section.count(key, least, most).or(default)
        };
        let message = count("message_bytes", 4096, 4 * 1024 * 1024, default.message);
        let headers = count("header_bytes", 4096, 1024 * 1024, 16 * 1024);
        let connections = count("connections", 1, 1_000_000, default.connections);
        let per_address = default.connections_per_address;
        let per_address = count("connections_per_address", 1, 1_000_000, per_address);
        let calls_per_connection = count("calls_per_connection", 1, 1_000_000, 10_000);
        let calls = count("calls", 1, 10_000_000, default.calls);
        let calls_per_second = section
            .number("calls_per_second", 0.1, 1e6)
            .or(default.calls_per_second);
        let mut time = |key: &str, least: Duration, default: Duration| {
            section.duration(key, least, 30 * day).or(default)
        };
        Self {
            message: message as usize,
            headers,
            connections: connections as usize,
            connections_per_address: per_address as usize,
            calls_per_connection,
            calls: calls as usize,
            calls_per_second,
            patience: time("patience", 10 * ms, default.patience),
            idle: time("idle_timeout", 100 * ms, default.idle),
            connection_age: time("connection_age", 100 * ms, default.connection_age),
            keepalive: time("keepalive_interval", 100 * ms, default.keepalive),
            keepalive_timeout: time("keepalive_timeout", 100 * ms, default.keepalive_timeout),
            watch_age: time("watch_age", 100 * ms, default.watch_age),
        }
    }
}
