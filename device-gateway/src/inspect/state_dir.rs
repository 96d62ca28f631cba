//! Whether the journal is where a reboot of this machine leaves it.

use std::path::Path;

use rustix::fs::statfs;

use crate::config::Config;

/// What Linux calls the kinds of file system that are in memory: tmpfs and ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Why the journal could not prove a reboot of this machine, if it is a device and that is so.
pub(super) fn trouble(config: &Config) -> Option<String> {
    let is_rebooted = config.devices.iter().any(|device| device.driver.is_host());
    (is_rebooted && is_in_memory(&config.state_dir)).then(|| {
        let folder = config.state_dir.display();
        format!("{folder} is in memory: the journal is lost with the reboot that it has to prove")
    })
}

fn is_in_memory(folder: &Path) -> bool {
    // One that is not there yet is made in one that is.
    let found = folder.ancestors().find_map(|folder| statfs(folder).ok());
    let kind = found.and_then(|found| u64::try_from(found.f_type).ok());
    kind.is_some_and(|kind| IN_MEMORY.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{device, parse};

    #[test]
    fn a_journal_in_memory_is_trouble_for_the_machine_itself_alone() {
        let trouble_of = |folder: &str, driver: &str| {
            let device = device("d1");
            let text = format!("state_dir = \"{folder}\"\n{device}[device.{driver}]\n");
            trouble(&parse(&text).unwrap())
        };
        let container = "container]\nname = \"web\"\n[device.steps";
        assert_eq!(trouble_of("/dev/shm/nowhere/below", container), None);
        assert_eq!(trouble_of("/proc/nowhere/below", "host"), None);
        let told = trouble_of("/dev/shm/nowhere/below", "host").expect("trouble");
        assert!(
            told.starts_with("/dev/shm/nowhere/below is in memory"),
            "{told}"
        );
    }
}
