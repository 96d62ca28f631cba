//! How to use what the demo leaves running.

use crate::demo::world::{METER, SDK_PORTS, SPARE, World};

/// What to type, in lines.
pub(crate) fn usage(world: &World) -> Vec<String> {
    let service = &world.service;
    let device = METER.id;
    let hub = &world.hub;
    let ca = hub.ca_file.display();
    let api = "iothubdm.v1.DeviceManagement";
    let spare = hub.devices.get(SPARE).map_or("", String::as_str);
    let (device_string, service_string, limits) = sdk_strings(world, spare);

    let text = format!(
        "\
Everything runs on. Ctrl-C ends it.

dmctl, or `cargo run -p dmctl --` in its place:
  export DMCTL_SERVER=http://{service}
  dmctl devices
  dmctl reboot {device} --wait
  dmctl list

Any gRPC client; the service answers reflection:
  grpcurl -plaintext {service} describe {api}
  grpcurl -plaintext -d '{{\"device\": \"devices/{device}\"}}' {service} {api}/Reboot
  grpcurl -plaintext -d '{{\"parent\": \"devices/-\"}}' {service} {api}/ListReboots

Microsoft's SDKs, against the hub at {host}. They have to trust its certificate:
  export SSL_CERT_FILE={ca}         # Python, azure-iot-device
  export REQUESTS_CA_BUNDLE={ca}    # Python, azure-iot-hub
  export NODE_EXTRA_CA_CERTS={ca}   # Node
a back end, such as the reboot tutorial's:
  {service_string}
a device of your own, which nothing here plays:
  {device_string}
{limits}",
        host = hub.host_name,
    );
    text.lines().map(str::to_owned).collect()
}

/// A device's and a service's connection string as the SDKs can use them, and which ones can.
fn sdk_strings(world: &World, spare: &str) -> (String, String, String) {
    let hub = &world.hub;
    if (hub.https_port, hub.mqtt_port) == SDK_PORTS {
        let limits = "(ports 443 and 8883, so every SDK that speaks MQTT or HTTPS works as it is)";
        return (
            spare.to_owned(),
            hub.service_connection_string.clone(),
            limits.to_owned(),
        );
    }
    let host = format!("HostName={}", hub.host_name);
    let service =
        hub.service_connection_string
            .replacen(&host, &format!("{host}:{}", hub.https_port), 1);
    let device = format!(
        "{spare};GatewayHostName={}:{}",
        hub.host_name, hub.mqtt_port
    );
    let limits = "\
(ports 443 and 8883 could not be had: these strings carry others, which the Python service SDK and
the Node device SDK take; for the Python device SDK and the Node service SDK free those two ports)";
    (device, service, limits.to_owned())
}
