"""Modules: their identities, twins, methods and messages."""

import base64

from azure.iot.device import Message, MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod, QuerySpecification, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from checks import Inbox, ask, check, equal, module, refused, registry, run

KEY_1 = base64.b64encode(b"1" * 32).decode()
KEY_2 = base64.b64encode(b"2" * 32).decode()


def modules():
    hub = registry()
    ask("register", device="d1")

    made = hub.create_module_with_sas("d1", "m1", "someone", KEY_1, KEY_2)
    equal("a module is made", (made.device_id, made.module_id, made.managed_by), ("d1", "m1", "someone"))
    hub.create_module_with_sas("d1", "m2", "", KEY_1, KEY_2)
    equal("modules are listed", sorted(m.module_id for m in hub.get_modules("d1")), ["m1", "m2"])
    refused(
        "a module cannot be made twice",
        HttpOperationError,
        lambda: hub.create_module_with_sas("d1", "m1", "someone", KEY_1, KEY_2),
        lambda error: error.response.status_code == 409,
    )
    changed = hub.update_module_with_sas("d1", "m1", "else", made.etag, KEY_2, KEY_1)
    equal("a module is changed by its etag", changed.managed_by, "else")
    hub.delete_module("d1", "m2")
    refused(
        "a removed module is gone",
        HttpOperationError,
        lambda: hub.get_module("d1", "m2"),
        lambda error: error.response.status_code == 404,
    )

    client = module("d1", "m1")
    patches = Inbox()
    client.on_twin_desired_properties_patch_received = patches.put
    hub.update_module_twin("d1", "m1", Twin(properties=TwinProperties(desired={"interval": 5})))
    equal("a module hears of its own twin", patches.next("a desired patch"), {"interval": 5, "$version": 2})
    client.patch_twin_reported_properties({"ready": True})
    check("the service reads what it reported", hub.get_module_twin("d1", "m1").properties.reported["ready"] is True)
    check("the device's twin is another", "ready" not in hub.get_twin("d1").properties.reported)
    found = hub.query_iot_hub(QuerySpecification(query="SELECT * FROM devices.modules WHERE properties.reported.ready = true"))
    equal("a query finds it", [(twin.device_id, twin.module_id) for twin in found.items], [("d1", "m1")])

    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 200, {"module": request.payload})
    )
    call = CloudToDeviceMethod(method_name="who", payload="m1", connect_timeout_in_seconds=30)
    answer = hub.invoke_device_module_method("d1", "m1", call)
    equal("a module answers its own methods", (answer.status, answer.payload), (200, {"module": "m1"}))
    refused(
        "the device does not answer for it",
        HttpOperationError,
        lambda: hub.invoke_device_method("d1", CloudToDeviceMethod(method_name="who")),
        lambda error: "404103" in error.response.text,
    )

    client.send_message(Message("hello"))
    (message,) = ask("telemetry")
    equal("a module's message is its own", (message["device"], message["module"], message["body"]), ("d1", "m1", "hello"))


run(modules)
