//! The settings of `[device.host]`.

use std::path::PathBuf;

use daemon::settings::{Section, Show};
use toml::Value;

/// Where Linux shows the identity of the present boot.
pub const DEFAULT_BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Where Linux shows how long it has been up.
pub const DEFAULT_UPTIME_FILE: &str = "/proc/uptime";

/// The machine that the gateway runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Rehearse every reboot.
    pub dry_run: bool,
    /// How to ask the system.
    pub method: HostMethod,
    /// Where systemd-logind is not there, reboot by `systemctl`, or by a signal to the first process.
    pub fallback: bool,
    /// The message bus of the system; absent, the system's own.
    pub bus_address: Option<String>,
    /// Where to read the identity of the present boot.
    pub boot_id_file: PathBuf,
    /// Where to read how long the system has been up.
    pub uptime_file: PathBuf,
}

/// How to ask the system for a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HostMethod {
    /// By a scheduled shutdown, which can be called off.
    #[default]
    Schedule,
    /// At once.
    Reboot,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            dry_run: false,
            method: HostMethod::default(),
            fallback: true,
            bus_address: None,
            boot_id_file: DEFAULT_BOOT_ID_FILE.into(),
            uptime_file: DEFAULT_UPTIME_FILE.into(),
        }
    }
}

impl HostMethod {
    const ALL: [Self; 2] = [Self::Schedule, Self::Reboot];

    fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Reboot => "reboot",
        }
    }
}

impl Show for HostMethod {
    fn show(&self) -> Value {
        self.name().to_owned().show()
    }
}

impl HostConfig {
    pub(super) fn read(mut section: Section) -> Self {
        let default = Self::default();
        Self {
            dry_run: section.flag("dry_run").or(default.dry_run),
            method: section
                .choice(
                    "method",
                    &HostMethod::ALL.map(|method| (method.name(), method)),
                )
                .or(default.method),
            fallback: section.flag("fallback").or(default.fallback),
            bus_address: section.filled("bus_address").optional(),
            boot_id_file: section.path("boot_id_file").or(default.boot_id_file),
            uptime_file: section.path("uptime_file").or(default.uptime_file),
        }
    }
}
