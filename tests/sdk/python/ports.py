"""The ports: which client finds a hub on another one, told so in its connection string."""

import os

from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.exceptions import ConnectionFailedError
from azure.iot.hub import IoTHubRegistryManager

from checks import ask, equal, refused, run


def at(connection, port):
    return connection.replace("HostName=localhost", f"HostName=localhost:{port}")


def ports():
    device = ask("register", device="d1")
    hub = IoTHubRegistryManager.from_connection_string(at(os.environ["HUB_OWNER"], os.environ["HUB_HTTPS_PORT"]))
    equal("a service finds it", hub.get_twin("d1").device_id, "d1")

    port = os.environ["HUB_MQTT_PORT"]
    for where, connection in [
        ("in HostName", at(device, port)),
        ("in GatewayHostName", f"{device};GatewayHostName=localhost:{port}"),
    ]:
        client = IoTHubDeviceClient.create_from_connection_string(connection, connection_retry=False)
        refused(f"a device does not, {where}", ConnectionFailedError, client.connect)


run(ports)
