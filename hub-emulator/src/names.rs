//! The names that a hub goes by.

use iot_hub::identity::HubHost;

use crate::config::EmulatorConfig;

/// The names under which tokens may address the hub: some clients write the port too.
pub(crate) fn accepted_names(config: &EmulatorConfig, ports: [u16; 2]) -> Vec<HubHost> {
    let mut names = vec![config.host_name.clone()];
    for name in certificate_names(config) {
        names.extend(name.parse().ok());
        names.extend(
            ports
                .iter()
                .filter_map(|port| format!("{name}:{port}").parse().ok()),
        );
    }
    names
}

/// The names that the certificate is for.
pub(crate) fn certificate_names(config: &EmulatorConfig) -> Vec<String> {
    let mut names = vec![config.host_name.address().to_owned()];
    let listen = config.listen.to_string();
    for name in ["localhost", "127.0.0.1", "::1", listen.as_str()] {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}
