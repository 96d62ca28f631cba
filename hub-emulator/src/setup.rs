//! What a hub has from the start.

use iot_hub::identity::{DeviceId, ModuleId};
use iot_hub::sas::SharedKey;
use iot_hub::twin::Properties;

/// A device, or a module of a device, that is registered when the emulator starts. One that the
/// state of an earlier run knows already is left as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSetup {
    /// The device.
    pub device: DeviceId,
    /// Its module, if it is one. Its device must be set up before it.
    pub module: Option<ModuleId>,
    /// It may connect.
    pub enabled: bool,
    /// How it proves who it is.
    pub credentials: SetupCredentials,
    /// The tags of its twin.
    pub tags: Properties,
    /// The desired properties of its twin.
    pub desired: Properties,
    /// What it seems to have reported.
    pub reported: Properties,
}

/// How a device that is there from the start proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupCredentials {
    /// By keys; the hub makes those that are not given.
    Keys {
        /// One of the two.
        primary: Option<SharedKey>,
        /// The other.
        secondary: Option<SharedKey>,
    },
    /// By a certificate of which this is the hash: 40 (SHA-1) or 64 (SHA-256) hexadecimal digits.
    Thumbprints {
        /// One of the two.
        primary: String,
        /// The other.
        secondary: Option<String>,
    },
    /// By a certificate of an authority that the hub trusts.
    CertificateAuthority,
}

impl DeviceSetup {
    /// A device as it is registered when nothing else is said.
    #[must_use]
    pub fn new(device: DeviceId) -> Self {
        Self {
            device,
            module: None,
            enabled: true,
            credentials: SetupCredentials::Keys {
                primary: None,
                secondary: None,
            },
            tags: Properties::new(),
            desired: Properties::new(),
            reported: Properties::new(),
        }
    }
}
