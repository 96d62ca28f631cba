//! Who is who: hubs, devices, modules, and the texts that name them.

mod connection;
mod host;
mod id;
mod mqtt_user;

pub(crate) use self::mqtt_user::{parse_query, print_query};
pub use self::{
    connection::{
        ConnectionString, ConnectionStringError, DeviceAuth, DeviceConnection, ServiceConnection,
    },
    host::{HostError, HubHost},
    id::{DeviceId, IdError, ModuleId},
    mqtt_user::{MqttUser, MqttUserError},
};

/// The path of a device's or module's SAS scope, `{host}/devices/{device}[/modules/{module}]`, not
/// encoded.
pub fn scope(host: &HubHost, device: &DeviceId, module: Option<&ModuleId>) -> String {
    match module {
        None => format!("{host}/devices/{device}"),
        Some(module) => format!("{host}/devices/{device}/modules/{module}"),
    }
}

/// An MQTT client id: `{device}` or `{device}/{module}`.
fn client_id(device: &DeviceId, module: Option<&ModuleId>) -> String {
    match module {
        None => device.to_string(),
        Some(module) => format!("{device}/{module}"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
