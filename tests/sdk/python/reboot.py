"""The reboot tutorial's Python article: a device that only says that it rebooted, and its back end.

With the arguments `device ID` it is such a device alone, for a back end elsewhere, until it was told to
reboot. With `back-end ID` it is such a back end, for a device elsewhere.
"""

import sys
import threading
import time
from datetime import datetime

from azure.iot.device import MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod

from checks import PATIENCE, Inbox, ask, back_end, check, device, equal, fail, run


def tutorial_device(device_id, work):
    """The device. `work` is what the article plays with a sleep. Returns where reports are announced."""
    client = device(device_id)
    done = Inbox()

    def handle(request):
        if request.name == "rebootDevice":
            work()
            client.patch_twin_reported_properties({"rebootTime": str(datetime.now())})
            status, payload = 200, {"Response": "This is the response from the device"}
        else:
            status, payload = 404, {"Response": "Unknown method"}
        client.send_method_response(MethodResponse.create_from_method_request(request, status, payload))
        done.put(request.name)

    client.on_method_request_received = handle
    ask("callable", device=device_id)
    return done


def call(device_id):
    """The back end's call, with no timeouts in it."""
    method = CloudToDeviceMethod(method_name="rebootDevice", payload='{"method_number":"42"}')
    return back_end().invoke_device_method(device_id, method)


def both():
    working, worked = threading.Event(), threading.Event()

    def work():
        working.set()
        worked.wait(PATIENCE)

    tutorial_device("d1", work)
    hub = back_end()
    answers = []
    caller = threading.Thread(target=lambda: answers.append(call("d1")))
    caller.start()
    check("the device begins to reboot", working.wait(PATIENCE))
    check("the caller waits for it", not answers, answers)
    check("nothing is reported yet", "rebootTime" not in hub.get_twin("d1").properties.reported)
    worked.set()
    caller.join(PATIENCE)
    equal(
        "the caller gets the device's answer",
        [(answer.status, answer.payload) for answer in answers],
        [(200, {"Response": "This is the response from the device"})],
    )
    reported = hub.get_twin("d1").properties.reported
    check("the time of the reboot is in the twin", "rebootTime" in reported, reported)
    check("and when it was written", "$lastUpdated" in reported["$metadata"]["rebootTime"], reported)
    (method,) = ask("methods")
    equal("the device got the text that was sent", method["payload"], '{"method_number":"42"}')

    other = hub.invoke_device_method("d1", CloudToDeviceMethod(method_name="reboot", payload=None))
    equal("another dialect is unknown to it", (other.status, other.payload), (404, {"Response": "Unknown method"}))


def device_alone(device_id):
    done = tutorial_device(device_id, lambda: None)
    # A back end may try the other dialect first.
    while done.next("a call") != "rebootDevice":
        pass
    check("the device was told to reboot, and said so", True)


def back_end_alone(device_id):
    hub = back_end()

    def last_reboot():
        device_management = hub.get_twin(device_id).properties.reported.get("iothubDM", {})
        return device_management.get("reboot", {}).get("lastReboot")

    before = last_reboot()
    equal("the device accepts", call(device_id).status, 200)
    deadline = time.monotonic() + PATIENCE
    while last_reboot() == before:
        if time.monotonic() > deadline:
            fail("the time of the last reboot", "it did not move")
    check("the time of the last reboot moves", datetime.fromisoformat(last_reboot()), last_reboot())


def main():
    roles = {"device": device_alone, "back-end": back_end_alone}
    if len(sys.argv) > 1:
        roles[sys.argv[1]](*sys.argv[2:])
    else:
        both()


run(main)
