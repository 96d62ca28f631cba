//! Why an emulator does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

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
