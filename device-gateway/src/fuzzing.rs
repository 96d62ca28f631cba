//! Parsers that nobody outside needs, for fuzz targets: any bytes may be given to them.

/// What a device on the local endpoint sends about itself.
pub fn messages(data: &[u8]) {
    crate::driver::mqtt::fuzz(data);
}

/// What a device with the Tasmota firmware sends.
pub fn tasmota(data: &[u8]) {
    crate::driver::mqtt::tasmota::fuzz(data);
}

/// What a Zigbee2MQTT sends.
pub fn zigbee2mqtt(data: &[u8]) {
    crate::driver::mqtt::zigbee2mqtt::fuzz(data);
}

/// What a configured command prints.
pub fn printed(data: &[u8]) {
    crate::driver::command::fuzz(data);
}

/// What a BMC says.
pub fn redfish(data: &[u8]) {
    crate::driver::redfish::fuzz(data);
}

/// What a device says that speaks ONVIF.
pub fn onvif(data: &[u8]) {
    crate::driver::onvif::fuzz(data);
}

/// What a client of the local endpoint sends, as MQTT packets.
pub fn local_mqtt(data: &[u8]) {
    crate::local_mqtt::fuzz(data);
}
