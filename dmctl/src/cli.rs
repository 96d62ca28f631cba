//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use iothubdm_proto::v1::{EvidenceGrade, RebootMode};
use jiff::SignedDuration;
use uuid::Uuid;

use crate::{
    exit::Exit,
    name::{AttemptName, DeviceName, request_id},
};

/// Reboots devices over IoT Hub and follows them to a verdict.
#[derive(Debug, Parser)]
#[command(name = "dmctl", version, after_help = Exit::TABLE, max_term_width = 100)]
pub(crate) struct Cli {
    /// The management service.
    #[arg(
        long,
        global = true,
        env = "DMCTL_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:50051"
    )]
    pub(crate) server: String,

    /// Who signs the service's certificate, as PEM, instead of those that the platform trusts.
    #[arg(long, global = true, env = "DMCTL_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// The caller's certificate, as PEM.
    #[arg(
        long,
        global = true,
        env = "DMCTL_CERT_FILE",
        value_name = "FILE",
        requires = "key_file"
    )]
    pub(crate) cert_file: Option<PathBuf>,

    /// The key of the caller's certificate, as PEM.
    #[arg(
        long,
        global = true,
        env = "DMCTL_KEY_FILE",
        value_name = "FILE",
        requires = "cert_file"
    )]
    pub(crate) key_file: Option<PathBuf>,

    /// The caller's token, in a file with nothing else in it.
    #[arg(long, global = true, env = "DMCTL_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Print JSON, one object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Reboot a device. Returns when the attempt is accepted; --wait follows it to its verdict.
    Reboot(Reboot),
    /// Follow an attempt to its verdict.
    Watch(Watch),
    /// Show an attempt.
    Get {
        /// DEVICE/ID or devices/DEVICE/reboots/ID.
        name: AttemptName,
    },
    /// List attempts, newest first.
    List(List),
    /// Cancel an attempt that has not reached its point of no return.
    Cancel(Cancel),
    /// Show one device, or list all.
    Devices(Devices),
    /// List who was allowed or refused what, newest first.
    Audit(Audit),
    /// Start everything on this machine and watch one device reboot and another one lie.
    Demo(Demo),
}

/// `dmctl reboot`.
#[derive(Debug, Args)]
pub(crate) struct Reboot {
    /// The device's id.
    pub(crate) device: DeviceName,

    /// Follow the attempt to its verdict.
    #[arg(long, overrides_with = "no_wait")]
    pub(crate) wait: bool,

    /// Return when the attempt is accepted; the default.
    #[arg(long, overrides_with = "wait")]
    pub(crate) no_wait: bool,

    /// How to reboot.
    #[arg(long, value_enum, default_value = "graceful")]
    pub(crate) mode: Mode,

    /// How far the device may go when that was not enough, as far as its own policy allows.
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) escalate_to: Option<Mode>,

    /// Why, for the audit and for the device's log.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,

    /// Start this long from now, such as 10s or 1h30m.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) delay: Option<Duration>,

    /// Have ended this long after the start. The service's default is 30 minutes.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) deadline: Option<Duration>,

    /// The request's id, a UUID. The same id never reboots a device twice.
    #[arg(long, value_parser = request_id, value_name = "ID")]
    pub(crate) request_id: Option<Uuid>,

    /// The least evidence that counts as success.
    #[arg(long, value_enum, value_name = "GRADE")]
    pub(crate) require: Option<Grade>,

    /// When the device is not connected, keep the request until it is.
    #[arg(long)]
    pub(crate) queue: bool,

    /// When something forbids the reboot for now, fail instead of waiting.
    #[arg(long)]
    pub(crate) fail_if_blocked: bool,

    /// Begin only if the device's boot identity is this one.
    #[arg(long, value_name = "ID")]
    pub(crate) if_boot_id: Option<String>,

    /// Begin only if the device has been up this long.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) if_up_for: Option<Duration>,

    /// Check the request and begin nothing.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) validate_only: bool,

    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// `dmctl watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// DEVICE/ID or devices/DEVICE/reboots/ID.
    pub(crate) name: AttemptName,

    /// Continue after the event that carried this token.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) resume_token: Option<String>,

    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// How long to put up with a service that is away.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Patience {
    /// While following, give up after the service has been away for this long.
    #[arg(long, value_parser = duration, value_name = "DURATION", default_value = "5m")]
    pub(crate) patience: Duration,
}

/// `dmctl list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this device's attempts.
    pub(crate) device: Option<DeviceName>,

    /// Such as: state = FAILED AND create_time > "2026-01-01T00:00:00Z".
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) filter: String,

    /// All of them, not only the newest page.
    #[arg(long)]
    pub(crate) all_pages: bool,
}

/// `dmctl cancel`.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// DEVICE/ID or devices/DEVICE/reboots/ID.
    pub(crate) name: AttemptName,

    /// Why, for the audit.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,

    /// End it even when the device cannot be asked; it may still reboot.
    #[arg(long)]
    pub(crate) abandon: bool,
}

/// `dmctl devices`.
#[derive(Debug, Args)]
pub(crate) struct Devices {
    /// Only this one, read from its twin and not from the hub's index.
    #[arg(conflicts_with_all = ["filter", "all_pages"])]
    pub(crate) id: Option<DeviceName>,

    /// What follows WHERE in the hub's query language, such as: tags.site = 'north'.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) filter: String,

    /// All of them, not only the first page.
    #[arg(long)]
    pub(crate) all_pages: bool,
}

/// `dmctl audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Only what is about this device.
    pub(crate) device: Option<DeviceName>,

    /// Such as: decision = DENIED AND caller = "subject:alice".
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) filter: String,

    /// All of it, not only the newest page.
    #[arg(long)]
    pub(crate) all_pages: bool,
}

/// `dmctl demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave everything running afterwards, and say how to use it.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// How to reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Let the device stop its work first.
    Graceful,
    /// Do not wait for inhibitors or hooks.
    Forced,
    /// Take its power away and give it back.
    PowerCycle,
}

impl From<Mode> for RebootMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Graceful => Self::Graceful,
            Mode::Forced => Self::Forced,
            Mode::PowerCycle => Self::PowerCycle,
        }
    }
}

/// How strong a proof has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grade {
    /// The device says so.
    Claimed,
    /// It went away and came back.
    Returned,
    /// Its uptime or boot time went back.
    UptimeReset,
    /// Its boot identity changed.
    BootChanged,
    /// Its boot identity changed, and this request is the cause.
    Caused,
    /// As caused, and it is healthy and stayed so.
    Healthy,
}

impl From<Grade> for EvidenceGrade {
    fn from(grade: Grade) -> Self {
        match grade {
            Grade::Claimed => Self::Claimed,
            Grade::Returned => Self::Returned,
            Grade::UptimeReset => Self::UptimeReset,
            Grade::BootChanged => Self::BootChanged,
            Grade::Caused => Self::Caused,
            Grade::Healthy => Self::Healthy,
        }
    }
}

fn duration(s: &str) -> Result<Duration, String> {
    let rule = || "a duration is a number with its unit, such as 10s, 20m or 1h30m".to_owned();
    let duration: SignedDuration = s.parse().map_err(|_| rule())?;
    Duration::try_from(duration).map_err(|_| rule())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(
                duration(text).ok(),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        };
        check("10s", Some(10));
        check("20m", Some(1200));
        check("1h30m", Some(5400));
        check("-10s", None);
        check("10", None);
        check("soon", None);
    }

    #[test]
    fn the_last_of_wait_and_no_wait_wins() {
        let wait = |flags: &[&str]| {
            let line = ["dmctl", "reboot", "pump-1"].iter().chain(flags);
            match Cli::try_parse_from(line).unwrap().command {
                Command::Reboot(reboot) => reboot.wait,
                Command::Watch(_)
                | Command::Get { .. }
                | Command::List(_)
                | Command::Cancel(_)
                | Command::Devices(_)
                | Command::Audit(_)
                | Command::Demo(_) => unreachable!("the line says reboot"),
            }
        };
        assert!(!wait(&[]));
        assert!(wait(&["--wait"]));
        assert!(!wait(&["--wait", "--no-wait"]));
        assert!(wait(&["--no-wait", "--wait"]));
    }
}
