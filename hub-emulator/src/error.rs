//! Why an emulator does not start.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use iot_hub::error::HubError;

use crate::certificate::DeviceCaError;
use crate::state_file::StateError;
use crate::tls::TlsError;

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port could not be had.
    #[error("listen on {address} for {what}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Which front door.
        what: FrontDoor,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An authority for devices' certificates cannot be used.
    #[error(transparent)]
    DeviceCa(#[from] DeviceCaError),
    /// The state of an earlier run cannot be taken up, or this one's not be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// A device that was to be there from the start breaks a rule.
    #[error("set up the device {id}")]
    Device {
        /// Which one; a module has its own after a slash.
        id: String,
        /// Which rule.
        #[source]
        source: HubError,
    },
    /// The authority's certificate could not be handed out.
    #[error("write the certificate authority to {}", path.display())]
    CaFile {
        /// Where to.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// What a person who started `program` can do about it.
    #[must_use]
    pub fn advice(&self, program: &Path) -> Option<String> {
        let Self::Listen { what, source, .. } = self else {
            return None;
        };
        let flag = match what {
            FrontDoor::Https => "--https-port",
            FrontDoor::Mqtt => "--mqtt-port",
            FrontDoor::Admin => "--admin-port",
        };
        let another = format!("try another port with {flag}, or 0 for any free one");
        if source.kind() != io::ErrorKind::PermissionDenied {
            return Some(another);
        }
        Some(format!(
            "ports below 1024 need rights that this process has not: \
             `sudo sysctl net.ipv4.ip_unprivileged_port_start=443` gives them to everybody until the \
             next boot, `sudo setcap cap_net_bind_service=+ep {}` to this program; or {another}",
            program.display()
        ))
    }
}

/// Where clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontDoor {
    /// The service's REST API.
    Https,
    /// Devices over MQTT.
    Mqtt,
    /// The admin API and page.
    Admin,
}

impl std::fmt::Display for FrontDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Https => "HTTPS",
            Self::Mqtt => "MQTT",
            Self::Admin => "the admin API",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(what: FrontDoor, kind: io::ErrorKind, expected: &[&str]) {
        let error = StartError::Listen {
            address: SocketAddr::from(([127, 0, 0, 1], 443)),
            what,
            source: kind.into(),
        };
        let advice = error.advice(Path::new("/bin/hub-emulator")).unwrap();
        for part in expected {
            assert!(advice.contains(part), "{part}: {advice}");
        }
    }

    #[test]
    fn a_port_that_cannot_be_had_comes_with_a_remedy() {
        let denied = io::ErrorKind::PermissionDenied;
        let remedies = [
            "`sudo sysctl net.ipv4.ip_unprivileged_port_start=443`",
            "`sudo setcap cap_net_bind_service=+ep /bin/hub-emulator`",
            "--https-port",
        ];
        check(FrontDoor::Https, denied, &remedies);
        check(
            FrontDoor::Mqtt,
            io::ErrorKind::AddrInUse,
            &["try another port with --mqtt-port"],
        );
        check(
            FrontDoor::Admin,
            io::ErrorKind::AddrInUse,
            &["--admin-port"],
        );
    }
}
