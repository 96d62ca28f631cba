//! The command line, which both processes read.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::Parser;
use humantime_serde::re::humantime;

use crate::behavior::Behavior;

/// A small real device that speaks the native MQTT contract and really restarts when told to.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The device's id: its MQTT client id and user name.
    #[arg(long, value_parser = device_id)]
    pub(crate) id: String,
    /// Its MQTT password.
    #[arg(long, env = "LOCAL_DEVICE_PASSWORD", hide_env_values = true)]
    pub(crate) password: String,
    /// The broker it connects to, over plain TCP.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) broker: Broker,
    /// What it does when it is told to reboot.
    #[arg(long, value_enum, default_value_t = Behavior::WellBehaved)]
    pub(crate) behavior: Behavior,
    /// How long it stays dark between two boots.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = humantime::parse_duration)]
    pub(crate) boot_time: Duration,
    /// Keeps the flash in a file of this directory, so that it outlives the supervisor too.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Runs the device itself; the supervisor passes this to its child.
    #[arg(long, hide = true)]
    pub(crate) child: bool,
}

/// Where the broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broker {
    /// A host name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for Broker {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "expected HOST:PORT";
        let (host, port) = s.rsplit_once(':').ok_or(RULE)?;
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.strip_suffix(']').ok_or(RULE)?,
            None => host,
        };
        let port = port.parse().map_err(|_| RULE)?;
        if host.is_empty() || port == 0 {
            return Err(RULE);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// An id becomes a part of topics and of a file name.
fn device_id(s: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if s.is_empty() || s.len() > 128 || !s.chars().all(plain) {
        return Err("expected 1 to 128 letters, digits, '-', '_' or '.'");
    }
    Ok(s.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_broker_is_a_host_and_a_port() {
        #[track_caller]
        fn check(text: &str, expected: Option<(&str, u16)>) {
            let parsed = text.parse::<Broker>().ok();
            let expected = expected.map(|(host, port)| Broker {
                host: host.to_owned(),
                port,
            });
            assert_eq!(parsed, expected, "{text}");
        }
        check("127.0.0.1:1883", Some(("127.0.0.1", 1883)));
        check("edge.local:1", Some(("edge.local", 1)));
        check("[::1]:1883", Some(("::1", 1883)));
        check("[::1:1883", None);
        check("edge.local", None);
        check(":1883", None);
        check("edge.local:0", None);
        check("edge.local:65536", None);
    }

    #[test]
    fn an_id_fits_into_a_topic_and_a_file_name() {
        assert!(device_id("pump-1.a_b").is_ok());
        for bad in ["", "a/b", "+", "#", "ä", &"x".repeat(129)] {
            assert!(device_id(bad).is_err(), "{bad}");
        }
    }
}
