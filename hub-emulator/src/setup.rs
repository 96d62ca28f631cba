//! What a hub, and the provisioning service beside it, have from the start.

use std::time::Duration;

use iot_hub::identity::{DeviceId, HubHost, ModuleId};
use iot_hub::provisioning::{IdScope, RegistrationId};
use iot_hub::sas::SharedKey;
use iot_hub::twin::Properties;
use serde_json::Value;

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

impl SetupCredentials {
    /// What these are called.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Keys { .. } => "symmetricKey",
            Self::Thumbprints { .. } => "thumbprint",
            Self::CertificateAuthority => "certificateAuthority",
        }
    }
}

/// The provisioning service beside the hub, on the same ports.
#[derive(Clone, Debug, PartialEq)]
pub struct ProvisioningSetup {
    /// What devices call it by.
    pub id_scope: IdScope,
    /// How long it tells devices to wait before they ask what became of their request.
    pub retry_after: Duration,
    /// Who may register from the start.
    pub enrollments: Vec<Enrollment>,
}

impl ProvisioningSetup {
    /// The id scope when nothing else is said.
    pub const DEFAULT_ID_SCOPE: &'static str = "0ne00000000";
    /// What SDKs were seen to be told.
    pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(3);
}

impl Default for ProvisioningSetup {
    fn default() -> Self {
        Self {
            id_scope: Self::DEFAULT_ID_SCOPE
                .parse()
                .expect("the default id scope is valid"),
            retry_after: Self::DEFAULT_RETRY_AFTER,
            enrollments: Vec::new(),
        }
    }
}

/// A device, or a group of them, that may register.
#[derive(Clone, Debug, PartialEq)]
pub struct Enrollment {
    /// Who.
    pub enrollee: Enrollee,
    /// How they prove it. The keys of a group's devices are derived from the group's; a group's
    /// certificates are signed by an authority and have the registration id as common name.
    pub credentials: SetupCredentials,
    /// They may; otherwise they are told that they may not.
    pub enabled: bool,
    /// The hub they get; this one when there is none. Another hub has to know them.
    pub hub: Option<HubHost>,
    /// What the device is called there, if not by its registration id.
    pub device: Option<DeviceId>,
    /// What a device is told with its hub.
    pub payload: Option<Value>,
}

impl Enrollment {
    /// An enrolment as it is when nothing else is said.
    #[must_use]
    pub fn new(enrollee: Enrollee, credentials: SetupCredentials) -> Self {
        Self {
            enrollee,
            credentials,
            enabled: true,
            hub: None,
            device: None,
            payload: None,
        }
    }
}

/// Who an enrolment is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrollee {
    /// One device.
    Device(RegistrationId),
    /// Every device that has the group's credentials. The name is for people.
    Group(String),
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
