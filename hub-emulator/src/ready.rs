//! What a waiting program is told once the emulator accepts connections: how to reach it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

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
    /// The port of the admin API and page; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_port: Option<u16>,
    /// The address of the admin page; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_url: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_names_are_in_camel_case() {
        let ready = Ready {
            host_name: "localhost".to_owned(),
            https_port: 443,
            mqtt_port: 8883,
            ca_file: None,
            owner_connection_string: "HostName=localhost".to_owned(),
            service_connection_string: "HostName=localhost".to_owned(),
            devices: BTreeMap::from([("d1".to_owned(), "HostName=localhost".to_owned())]),
            admin_port: None,
            admin_url: None,
        };
        let read = serde_json::to_value(&ready).unwrap();
        assert_eq!(read["httpsPort"], 443);
        assert_eq!(read["devices"]["d1"], "HostName=localhost");
        assert_eq!(read.get("adminPort"), None);
    }
}
