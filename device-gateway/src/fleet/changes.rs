//! What changes between the devices that are there and those that are wanted.

use std::{collections::BTreeMap, fmt};

use iot_hub::identity::DeviceId;

use crate::config::{DeviceConfig, Likeness};

/// What a new reading of the settings changes, by device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Those that were not there.
    pub added: Vec<DeviceId>,
    /// Those that are wanted no more.
    pub removed: Vec<DeviceId>,
    /// Those that are wanted otherwise.
    pub changed: Vec<DeviceId>,
    /// Those of them that cannot be held, and why.
    pub refused: Vec<(DeviceId, String)>,
    /// How many notice nothing.
    pub unchanged: usize,
}

impl Changes {
    /// Compares. When what all devices stand on is another, none is unchanged.
    pub(super) fn between(
        mut present: BTreeMap<&DeviceId, Likeness>,
        wanted: &[DeviceConfig],
        moved: bool,
    ) -> Self {
        let mut changes = Self::default();
        for config in wanted {
            match present.remove(&config.id) {
                None => changes.added.push(config.id.clone()),
                Some(former) if moved || former != config.likeness() => {
                    changes.changed.push(config.id.clone());
                }
                Some(_) => changes.unchanged += 1,
            }
        }
        changes.removed = present.into_keys().cloned().collect();
        changes
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            added,
            removed,
            changed,
            refused,
            unchanged,
        } = self;
        write!(
            f,
            "{} device(s) added, {} removed, {} changed, {unchanged} unchanged",
            added.len(),
            removed.len(),
            changed.len(),
        )?;
        refused
            .iter()
            .try_for_each(|(id, why)| write!(f, "; {id} cannot be held: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::config::Config;

    fn device(id: &str, more: &str) -> String {
        format!(
            "[[device]]\nid = \"{id}\"\nconnection_string = \"HostName=h;DeviceId={id};\
             SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n{more}\n"
        )
    }

    fn devices(head: &str, devices: &[String], folder: &Path) -> Vec<DeviceConfig> {
        let text = format!(
            "state_dir = \"s\"\nallow_readable_secrets = true\n[local_mqtt]\nlisten = \"127.0.0.1:0\"\n{head}\n{}",
            devices.concat()
        );
        Config::parse(&text, folder).unwrap().devices
    }

    #[test]
    fn every_device_is_added_removed_changed_or_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mqtt = "[device.mqtt]\npassword_file = \"p\"";
        let host = "[device.host]\ndry_run = true";
        fs::write(folder.join("p"), "one").unwrap();
        let a = device("a", mqtt);
        let b = device("b", "settle = \"1s\"\n[device.mqtt]\npassword = \"p\"");
        let c = device("c", host);
        let before = devices("", &[a.clone(), b.clone(), c.clone()], folder);
        let before: BTreeMap<_, _> = before
            .iter()
            .map(|config| (&config.id, config.likeness()))
            .collect();
        let check = |after: &[DeviceConfig], moved, expected: [&str; 3]| {
            let changes = Changes::between(before.clone(), after, moved);
            let ids = |ids: &[DeviceId]| ids.iter().map(DeviceId::as_str).collect::<String>();
            let told = [&changes.added, &changes.removed, &changes.changed].map(|list| ids(list));
            assert_eq!(told, expected, "{changes}");
            assert_eq!(
                changes.unchanged,
                3 - changes.removed.len() - changes.changed.len()
            );
        };
        let same = [c, a.clone(), b.clone()];
        check(
            &devices("# another order", &same, folder),
            false,
            ["", "", ""],
        );
        check(&devices("", &same, folder), true, ["", "", "cab"]);
        let fewer = [a.clone(), device("d", mqtt)];
        check(&devices("", &fewer, folder), false, ["d", "bc", ""]);
        let otherwise = [
            a,
            b.replace("1s", "2s"),
            device("c", "[device.mqtt]\npassword = \"p\""),
        ];
        check(&devices("", &otherwise, folder), false, ["", "", "bc"]);
        let shared = "[timing]\nobserve_interval = \"2s\"";
        check(&devices(shared, &same, folder), false, ["", "", "cab"]);
        fs::write(folder.join("p"), "two").unwrap();
        check(&devices("", &same, folder), false, ["", "", "a"]);
    }
}
