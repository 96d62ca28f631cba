//! What local devices send and configured commands print, as the gateway reads it.

pub(crate) fn run(data: &[u8]) {
    device_gateway::fuzzing::messages(data);
    device_gateway::fuzzing::tasmota(data);
    device_gateway::fuzzing::zigbee2mqtt(data);
    device_gateway::fuzzing::printed(data);
    device_gateway::fuzzing::redfish(data);
    device_gateway::fuzzing::onvif(data);
}

pub(crate) fn local_mqtt(data: &[u8]) {
    device_gateway::fuzzing::local_mqtt(data);
}
