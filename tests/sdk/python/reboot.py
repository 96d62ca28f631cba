"""The reboot tutorial's Python article: a device that only says that it rebooted, and its back end."""

import threading
from datetime import datetime

from azure.iot.device import MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod

from checks import PATIENCE, ask, back_end, check, device, equal, run


def reboot():
    # The device. Its work, which the article plays with a sleep, ends when the test says so.
    client = device("d1")
    working, worked = threading.Event(), threading.Event()

    def handle(request):
        if request.name == "rebootDevice":
            working.set()
            worked.wait(PATIENCE)
            client.patch_twin_reported_properties({"rebootTime": str(datetime.now())})
            status, payload = 200, {"Response": "This is the response from the device"}
        else:
            status, payload = 404, {"Response": "Unknown method"}
        client.send_method_response(MethodResponse.create_from_method_request(request, status, payload))

    client.on_method_request_received = handle
    ask("callable", device="d1")

    # The back end.
    hub = back_end()
    answers = []

    def call():
        method = CloudToDeviceMethod(method_name="rebootDevice", payload='{"method_number":"42"}')
        answers.append(hub.invoke_device_method("d1", method))

    caller = threading.Thread(target=call)
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


run(reboot)
