//! The file that tells a waiting program that the emulator accepts connections, and how to reach it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::files::write_atomically;

/// What a program needs to use the emulator, as JSON with these names in camel case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// The hub's name.
    pub host_name: String,
    /// The port of the REST API.
    pub https_port: u16,
    /// The port of MQTT over TLS.
    pub mqtt_port: u16,
    /// The certificate authority to trust, when it was written to a file.
    pub ca_file: Option<PathBuf>,
    /// May do everything.
    pub owner_connection_string: String,
    /// May use twins, methods and queries.
    pub service_connection_string: String,
    /// Device id → connection string.
    pub devices: BTreeMap<String, String>,
}

impl Ready {
    /// Writes the file in one step: whoever sees it sees all of it.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomically(path, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_appears_whole_under_its_name_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready.json");
        let ready = Ready {
            host_name: "localhost".to_owned(),
            https_port: 443,
            mqtt_port: 8883,
            ca_file: None,
            owner_connection_string: "HostName=localhost".to_owned(),
            service_connection_string: "HostName=localhost".to_owned(),
            devices: BTreeMap::from([("d1".to_owned(), "HostName=localhost".to_owned())]),
        };
        ready.write(&path).unwrap();

        let read: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read["httpsPort"], 443);
        assert_eq!(read["devices"]["d1"], "HostName=localhost");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
