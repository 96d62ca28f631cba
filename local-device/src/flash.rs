//! What survives a reboot of the device: the boot it is in, why it came to be, and the commands it
//! has carried out.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How many commands a device remembers. A gateway sends one command once, so any small number
/// does; it is bounded because flash is.
const HANDLED_LIMIT: usize = 32;

/// The reset reason of a boot that nobody asked for.
pub(crate) const POWER_ON: &str = "power-on";

/// What survives a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Flash {
    /// The boot identity. A real device has one from its kernel; here the supervisor makes it.
    pub(crate) boot_id: Uuid,
    /// When that boot began.
    pub(crate) booted_at: SystemTime,
    /// The command that caused it.
    pub(crate) cause_id: Option<String>,
    /// Why it came to be.
    pub(crate) reset_reason: String,
    /// The commands that were carried out, oldest first.
    pub(crate) handled: Vec<String>,
    /// A command was carried out at some time, so what it broke is broken.
    pub(crate) rebooted_by_command: bool,
    /// Why the device is about to go down; absent when it does so unawares.
    pub(crate) pending: Option<Reset>,
}

/// Why the device goes down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reset {
    pub(crate) cause_id: Option<String>,
    pub(crate) reason: String,
}

impl Flash {
    /// The flash of a device that leaves the factory.
    pub(crate) fn new() -> Self {
        Self {
            boot_id: Uuid::new_v4(),
            booted_at: SystemTime::now(),
            cause_id: None,
            reset_reason: POWER_ON.to_owned(),
            handled: Vec::new(),
            rebooted_by_command: false,
            pending: None,
        }
    }

    /// Begins the next boot: in a new identity, or in the old one when only the agent restarted.
    pub(crate) fn boot(&mut self, keeps_boot: bool) {
        let reset = self.pending.take().unwrap_or_else(|| Reset {
            cause_id: None,
            reason: POWER_ON.to_owned(),
        });
        if !keeps_boot {
            self.boot_id = Uuid::new_v4();
            self.booted_at = SystemTime::now();
        }
        self.cause_id = reset.cause_id;
        self.reset_reason = reset.reason;
    }

    /// Remembers a command; the oldest gives way.
    pub(crate) fn remember(&mut self, id: &str) {
        self.handled.push(id.to_owned());
        let excess = self.handled.len().saturating_sub(HANDLED_LIMIT);
        self.handled.drain(..excess);
    }

    /// How long the boot has lasted.
    pub(crate) fn uptime(&self) -> Duration {
        self.booted_at.elapsed().unwrap_or_default()
    }
}

/// The file that keeps the flash while not even the supervisor runs.
#[derive(Debug)]
pub(crate) struct FlashFile(Option<PathBuf>);

impl FlashFile {
    /// The file of that device, or none: the flash is then lost with the supervisor.
    pub(crate) fn new(dir: Option<&Path>, device: &str) -> Self {
        Self(dir.map(|dir| dir.join(format!("{device}.json"))))
    }

    /// Reads what an earlier supervisor left.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Flash>> {
        let Some(path) = &self.0 else {
            return Ok(None);
        };
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("read the flash file {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("open the flash file {}", path.display()))
            }
        }
    }

    /// Writes the flash; a reader sees the old one or the new one.
    pub(crate) fn save(&self, flash: &Flash) -> anyhow::Result<()> {
        let Some(path) = &self.0 else {
            return Ok(());
        };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        }
        let new = path.with_extension("json.new");
        fs::write(&new, serde_json::to_vec(flash)?)
            .and_then(|()| fs::rename(&new, path))
            .with_context(|| format!("write the flash file {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_has_a_new_identity_and_the_cause_of_its_reset() {
        let mut flash = Flash::new();
        let first = flash.boot_id;
        flash.pending = Some(Reset {
            cause_id: Some("c1".into()),
            reason: "software".into(),
        });
        flash.boot(false);
        assert_ne!(flash.boot_id, first);
        assert_eq!(flash.cause_id.as_deref(), Some("c1"));
        assert_eq!(flash.reset_reason, "software");

        flash.boot(false);
        assert_eq!(flash.cause_id, None);
        assert_eq!(flash.reset_reason, POWER_ON);
    }

    #[test]
    fn an_agent_restart_stays_in_its_boot() {
        let mut flash = Flash::new();
        let before = flash.clone();
        flash.boot(true);
        assert_eq!(flash.boot_id, before.boot_id);
        assert_eq!(flash.booted_at, before.booted_at);
    }

    #[test]
    fn the_memory_of_commands_is_bounded() {
        let mut flash = Flash::new();
        for n in 0..100 {
            flash.remember(&n.to_string());
        }
        assert_eq!(flash.handled.len(), HANDLED_LIMIT);
        assert_eq!(flash.handled.last().map(String::as_str), Some("99"));
    }
}
