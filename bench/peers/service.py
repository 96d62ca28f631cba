"""A service that reboots devices, as it is written with grpcio and Microsoft's SDK.

`/bench.Peer/Reboot` calls the method `reboot` of the device that the request names. Prints its port as
one line of JSON. Messages are bytes, without protobuf, which flatters it.
"""

import asyncio
import os

import grpc
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod
from serving import serve

hub = IoTHubRegistryManager.from_connection_string(os.environ["HUB_OWNER"])


async def reboot(request, context):
    method = CloudToDeviceMethod(method_name="reboot", payload={})
    # A string, whose tag and length are a byte each.
    device = request[2:].decode()
    # The SDK keeps its thread until the device has answered.
    await asyncio.to_thread(hub.invoke_device_method, device, method)
    return b""


async def main():
    await serve({"Reboot": grpc.unary_unary_rpc_method_handler(reboot)})


asyncio.run(main())
