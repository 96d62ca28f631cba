//! What the program tells a person once it is ready: how to connect, and the exact lines that make
//! Microsoft's SDKs find it without a changed line of code.

use std::io::{self, Write};
use std::path::Path;

use crate::ready::Ready;

/// The ports that every SDK has built in.
const HTTPS_PORT: u16 = 443;
const MQTT_PORT: u16 = 8883;

impl Ready {
    /// Tells a person how to connect.
    pub fn greet(&self, out: &mut impl Write) -> io::Result<()> {
        let Self {
            host_name,
            https_port,
            mqtt_port,
            ..
        } = self;
        writeln!(out, "IoT Hub emulator {host_name} is ready.\n")?;
        writeln!(
            out,
            "  REST   https://{host_name}:{https_port}, MQTT over WebSockets too"
        )?;
        writeln!(out, "  MQTT   mqtts://{host_name}:{mqtt_port}")?;
        if let Some(ca_file) = &self.ca_file {
            writeln!(out, "  trust  {}", ca_file.display())?;
        }
        if let Some(url) = &self.admin_url {
            writeln!(out, "  admin  {url} (page), {url}api (API)")?;
        }
        writeln!(
            out,
            "\nOwner (everything):\n  {}",
            self.owner_connection_string
        )?;
        writeln!(
            out,
            "Service (twins, methods, queries):\n  {}",
            self.service_connection_string
        )?;
        for (device, connection) in &self.devices {
            writeln!(out, "Device {device}:\n  {connection}")?;
        }
        if let Some(ca_file) = &self.ca_file {
            self.greet_sdks(ca_file, out)?;
        }
        writeln!(out, "\nStop it with Ctrl-C.")?;
        out.flush()
    }

    fn greet_sdks(&self, ca_file: &Path, out: &mut impl Write) -> io::Result<()> {
        let ca_file = quoted(&ca_file.display().to_string());
        writeln!(
            out,
            "\nMicrosoft's SDKs trust it, unchanged, when their process is started with"
        )?;
        for (sdk, variable) in [
            ("Python device  (azure-iot-device)", "SSL_CERT_FILE"),
            ("Python service (azure-iot-hub)", "REQUESTS_CA_BUNDLE"),
            ("Node device    (azure-iot-device)", "NODE_EXTRA_CA_CERTS"),
            ("Node service   (azure-iothub)", "NODE_EXTRA_CA_CERTS"),
        ] {
            writeln!(out, "  {sdk:<34} export {variable}={ca_file}")?;
        }
        if !leads_here(&self.host_name) {
            let line = quoted(&format!("127.0.0.1 {}", self.host_name));
            writeln!(out, "The name must lead to this machine:")?;
            writeln!(out, "  echo {line} | sudo tee -a /etc/hosts")?;
        }
        self.greet_ports(out)
    }

    /// The ways to other ports than the ones that the SDKs know.
    fn greet_ports(&self, out: &mut impl Write) -> io::Result<()> {
        let ports = [(HTTPS_PORT, self.https_port), (MQTT_PORT, self.mqtt_port)];
        let moved: Vec<_> = ports
            .into_iter()
            .filter(|(known, port)| known != port)
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "They know the ports {HTTPS_PORT} and {MQTT_PORT} alone. To lead these here (Linux, until the next boot):"
        )?;
        for (known, port) in moved {
            writeln!(
                out,
                "  sudo iptables -t nat -A OUTPUT -o lo -p tcp --dport {known} -j REDIRECT --to-ports {port}"
            )?;
        }
        let (host, https_port, mqtt_port) = (&self.host_name, self.https_port, self.mqtt_port);
        writeln!(
            out,
            "Two of them can be told another port in the connection string:"
        )?;
        writeln!(
            out,
            "  Python service        HostName={host}:{https_port};…"
        )?;
        writeln!(
            out,
            "  Node device over MQTT …;GatewayHostName={host}:{mqtt_port}"
        )?;
        writeln!(out, "The Python device and the Node service cannot.")
    }
}

fn leads_here(host_name: &str) -> bool {
    host_name == "localhost" || host_name.parse::<std::net::IpAddr>().is_ok()
}

/// As a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte);
    if text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn greeting(host_name: &str, https_port: u16, mqtt_port: u16) -> String {
        let ready = Ready {
            host_name: host_name.to_owned(),
            https_port,
            mqtt_port,
            ca_file: Some("/tmp/my files/ca.pem".into()),
            owner_connection_string: "owner's".to_owned(),
            service_connection_string: "service's".to_owned(),
            devices: BTreeMap::from([("d1".to_owned(), "d1's".to_owned())]),
            admin_port: None,
            admin_url: None,
        };
        let mut text = Vec::new();
        ready.greet(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn each_sdk_has_its_line() {
        let text = greeting("localhost", 443, 8883);
        for line in [
            "  Python device  (azure-iot-device)  export SSL_CERT_FILE='/tmp/my files/ca.pem'\n",
            "  Python service (azure-iot-hub)     export REQUESTS_CA_BUNDLE='/tmp/my files/ca.pem'\n",
            "  Node device    (azure-iot-device)  export NODE_EXTRA_CA_CERTS='/tmp/my files/ca.pem'\n",
            "  Node service   (azure-iothub)      export NODE_EXTRA_CA_CERTS='/tmp/my files/ca.pem'\n",
            "Device d1:\n  d1's\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(
            !text.contains("/etc/hosts") && !text.contains("iptables"),
            "{text}"
        );
    }

    #[test]
    fn other_names_and_ports_have_a_way_here() {
        let text = greeting("hub.example", 1443, 8883);
        for line in [
            "  echo '127.0.0.1 hub.example' | sudo tee -a /etc/hosts\n",
            "--dport 443 -j REDIRECT --to-ports 1443\n",
            "HostName=hub.example:1443;…\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("--dport 8883"), "{text}");
    }

    #[test]
    fn a_path_is_quoted_for_a_shell() {
        assert_eq!(quoted("/tmp/ca-1.pem"), "/tmp/ca-1.pem");
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
    }
}
