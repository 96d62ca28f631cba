"""Connections that end: by renewal, by accident, by another client, and what is kept over them.

This SDK never subscribes again, so all of it stands on the hub's kept sessions. With the argument
`websockets` the device side goes over WebSockets.
"""

import sys

from azure.iot.device import IoTHubDeviceClient, MethodResponse
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

import checks
from checks import Inbox, ask, check, equal, refused, registry, run


OVER = {"websockets": "websockets" in sys.argv}


def device(device_id, **options):
    return checks.device(device_id, **OVER, **options)


def connections():
    hub = registry()
    echo_calls = 0

    def serve(client):
        """Makes a client answer methods; returns its desired patches."""
        patches = Inbox()
        client.on_twin_desired_properties_patch_received = patches.put
        client.on_method_request_received = lambda request: client.send_method_response(
            MethodResponse.create_from_method_request(request, 200, request.payload)
        )
        client.get_twin()
        return patches

    def works(what, client, patches):
        """Checks that methods, desired patches, twins and messages go through."""
        nonlocal echo_calls
        echo_calls += 1
        name = client_ids[client]
        # A connection may be between two lives just now.
        call = CloudToDeviceMethod(method_name="echo", payload=echo_calls, connect_timeout_in_seconds=30)
        equal(f"{what}: a method is answered", hub.invoke_device_method(name, call).payload, echo_calls)
        hub.update_twin(name, Twin(properties=TwinProperties(desired={"round": echo_calls})))
        # After a reconnect this SDK first tells the whole desired section, by design.
        while patches.next(f"{what}: a desired patch").get("round") != echo_calls:
            pass
        check(f"{what}: a desired patch arrives", True)
        client.patch_twin_reported_properties({"round": echo_calls})
        equal(f"{what}: a reported patch arrives", hub.get_twin(name).properties.reported["round"], echo_calls)
        equal(f"{what}: the device reads its twin", client.get_twin()["desired"]["round"], echo_calls)

    client_ids = {}

    # The token is renewed 120 s before its end, so this one every second.
    renewing = device("renewing", sastoken_ttl=121)
    client_ids[renewing] = "renewing"
    patches = serve(renewing)
    works("before a renewal", renewing, patches)
    connects = ask("connects")
    check("the token is renewed by a new connection", ask("connects", atLeast=connects + 2) >= connects + 2)
    works("after two renewals", renewing, patches)
    renewing.shutdown()
    ask("disconnected", device="renewing")

    cut = device("cut", connection_retry_interval=1)
    client_ids[cut] = "cut"
    patches = serve(cut)
    works("before the cut", cut, patches)
    for round in ("first", "second"):
        connects = ask("connects")
        check(f"the connection is cut a {round} time", ask("cut", device="cut"))
        ask("connects", atLeast=connects + 1)
        works(f"after the {round} cut", cut, patches)

    connects = ask("connects")
    ask("refuse", device="cut")
    ask("cut", device="cut")
    ask("connects", atLeast=connects + 1)
    works("after a refusal and another try", cut, patches)

    connects = ask("connects")
    ask("pause")
    ask("disconnected", device="cut")
    ask("resume")
    ask("connects", atLeast=connects + 1)
    works("after the hub was out of reach", cut, patches)

    cut.disconnect()
    ask("disconnected", device="cut")
    cut.connect()
    works("after leaving and coming back", cut, patches)
    cut.shutdown()

    # A second client of the same device. The first one must not fight for it.
    first = device("twice", connection_retry=False)
    states = Inbox()
    first.on_connection_state_change = lambda: states.put(first.connected)
    second = device("twice", connection_retry=False)
    client_ids[second] = "twice"
    equal("a second client takes the device over", states.next("a lost connection"), False)
    works("after the take-over", second, serve(second))

    wrong = ask("register", device="locked").rsplit("SharedAccessKey=", 1)[0]
    stranger = IoTHubDeviceClient.create_from_connection_string(
        wrong + "SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", connection_retry=False, **OVER
    )
    refused("a wrong key is no credential", CredentialError, stranger.connect)


run(connections)
