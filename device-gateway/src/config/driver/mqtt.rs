//! The settings of `[device.mqtt]`.

use daemon::settings::Section;
use secrecy::SecretString;

/// A device on the local endpoint.
#[derive(Debug, Clone)]
pub struct MqttDeviceConfig {
    /// What it signs in with; its user name is its device id.
    pub password: SecretString,
}

impl MqttDeviceConfig {
    pub(super) fn read(mut section: Section) -> Option<Self> {
        let password = section.secret("password")?.text;
        Some(Self { password })
    }
}
