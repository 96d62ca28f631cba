"""A hub that ends and starts again: this SDK never subscribes again, so the hub has to remember."""

from azure.iot.device import MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from checks import Inbox, ask, device, equal, registry, run


def restart():
    hub = registry()
    client = device("d1", connection_retry_interval=1)
    patches = Inbox()
    client.on_twin_desired_properties_patch_received = patches.put
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 200, request.payload)
    )
    client.get_twin()
    ask("callable", device="d1")
    client.patch_twin_reported_properties({"before": True})

    for round in (1, 2):
        ask("restart")
        ask("connected", device="d1")
        call = CloudToDeviceMethod(method_name="echo", payload=round, connect_timeout_in_seconds=30)
        equal(f"after restart {round} a method is answered", hub.invoke_device_method("d1", call).payload, round)
        hub.update_twin("d1", Twin(properties=TwinProperties(desired={"round": round})))
        # After a reconnect this SDK first tells the whole desired section, by design.
        while patches.next("a desired patch").get("round") != round:
            pass
        client.patch_twin_reported_properties({"round": round})
        reported = hub.get_twin("d1").properties.reported
        equal("the twin goes on", (reported["before"], reported["round"]), (True, round))
        equal("the device reads it", client.get_twin()["desired"]["round"], round)


run(restart)
