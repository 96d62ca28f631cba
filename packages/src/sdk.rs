//! Scripts that use Microsoft's SDKs, unmodified, with a hub on this machine.
//!
//! The SDKs have the hub's ports built in. A hook in the script's process sends their TCP
//! connections to the hub's real ports; names, TLS and everything above it stay as they are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::Language;

/// Where a hub is, and how to be let in.
#[derive(Debug, Clone)]
pub struct LocalHub {
    /// The port of its REST API.
    pub https_port: u16,
    /// The port of MQTT over TLS.
    pub mqtt_port: u16,
    /// Who vouches for its certificate, as PEM.
    pub ca_file: PathBuf,
    /// The connection string of whoever may do everything.
    pub owner: String,
}

/// The beginning of a command that runs a script in which `import`, or `require`, finds the SDKs,
/// which are installed below `target` if they are not yet.
pub fn command(language: Language, hub: &LocalHub, target: &Path) -> Result<Command> {
    let scripts = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/sdk"));
    let scripts = scripts.join(language.name());
    let mut command = language.command(&scripts, target)?;
    match language {
        // Python runs the `sitecustomize` that it finds here before the script.
        Language::Python => command.env("PYTHONPATH", scripts.join("redirect")),
        Language::Node => command.arg("--require").arg(scripts.join("redirect.js")),
    };
    command
        .env("HUB_HTTPS_PORT", hub.https_port.to_string())
        .env("HUB_MQTT_PORT", hub.mqtt_port.to_string())
        .env("HUB_OWNER", &hub.owner)
        // Each SDK reads one of these.
        .env("SSL_CERT_FILE", &hub.ca_file)
        .env("REQUESTS_CA_BUNDLE", &hub.ca_file)
        .env("NODE_EXTRA_CA_CERTS", &hub.ca_file);
    Ok(command)
}
