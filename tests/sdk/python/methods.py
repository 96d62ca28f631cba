"""Direct methods: every kind of payload and of answer, and every way in which a call fails."""

import json

import paho.mqtt.client as mqtt
from azure.iot.device import MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod
from azure.iot.hub.sastoken import SasToken
from msrest.exceptions import DeserializationError, HttpOperationError

from checks import ask, check, device, equal, refused, registry, run

PAYLOADS = [
    ("an object", {"a": {"b": [1, 2.5, "c"]}}),
    ("an empty object", {}),
    ("a list", [1, None, {"x": True}]),
    ("a string", "plain"),
    ("letters of other scripts", "żółć ☂ 日本"),
    ("JSON in a string", '{"method_number":"42"}'),
    ("an integer", 10),
    ("a fraction", -0.5),
    ("a truth", True),
    ("a long text", "x" * 20_000),
]


def code(status, number, name):
    """Judges the hub's refusal: status, header and the number in the body."""

    def judge(error):
        message = json.loads(error.response.json()["Message"])
        header = error.response.headers["iothub-errorcode"]
        return (error.response.status_code, message["errorCode"], header) == (status, number, name)

    return judge


def plain_device(device_id, text):
    """Connects a device that answers methods with a text that is no JSON, which this SDK cannot do."""
    key = ask("register", device=device_id).split("SharedAccessKey=", 1)[1]
    client = mqtt.Client(device_id)
    client.tls_set()
    token = SasToken(f"localhost/devices/{device_id}", key)
    client.username_pw_set(f"localhost/{device_id}/?api-version=2021-04-12", str(token))

    def answer(client, _, message):
        request = message.topic.rsplit("=", 1)[1]
        client.publish(f"$iothub/methods/res/200/?$rid={request}", text)

    client.on_connect = lambda client, *_: client.subscribe("$iothub/methods/POST/#")
    client.on_message = answer
    client.connect("localhost", 8883)
    client.loop_start()
    ask("callable", device=device_id)


def methods():
    hub = registry()
    client = device("d1")

    def handle(request):
        # What the device was asked to do is its name; how to answer is in the payload.
        if request.name == "echo":
            answer = MethodResponse.create_from_method_request(request, 200, request.payload)
        elif request.name == "nothing":
            answer = MethodResponse.create_from_method_request(request, 204)
        elif request.name == "status":
            answer = MethodResponse.create_from_method_request(request, request.payload, {"why": "asked"})
        elif request.name == "silence":
            return
        else:
            answer = MethodResponse.create_from_method_request(request, 404, {"Response": "Unknown method"})
        client.send_method_response(answer)

    client.on_method_request_received = handle

    def call(name, device_id="d1", **options):
        return hub.invoke_device_method(device_id, CloudToDeviceMethod(method_name=name, **options))

    ask("callable", device="d1")
    for what, payload in PAYLOADS:
        answer = call("echo", payload=payload)
        equal(f"{what} goes there and back", (answer.status, answer.payload), (200, payload))
    equal("this SDK sends no payload as an empty text", call("echo").payload, "")
    answer = call("nothing")
    equal("a device may answer nothing", (answer.status, answer.payload), (204, None))
    for status in (200, 400, 404, 500, 501, -1, 12345):
        answer = call("status", payload=status)
        equal(f"status {status} is the device's own", (answer.status, answer.payload), (status, {"why": "asked"}))
    equal("a device knows what it does not know", call("strange*name").status, 404)

    plain_device("plain", "'FirmwareUpdate started.'")
    refused(
        "an answer that is no JSON comes as it is, which this SDK cannot read",
        DeserializationError,
        lambda: call("firmwareUpdate", "plain"),
    )

    refused(
        "a silent device is a timeout",
        HttpOperationError,
        lambda: call("silence", response_timeout_in_seconds=5),
        code(504, 504101, "GatewayTimeout"),
    )
    ask("loseAnswer", device="d1")
    refused(
        "a lost answer is the same timeout",
        HttpOperationError,
        lambda: call("echo", payload="lost", response_timeout_in_seconds=5),
        code(504, 504101, "GatewayTimeout"),
    )
    lost = [method for method in ask("methods") if method["payload"] == "lost"]
    equal("and the device was called once", [method["deliveries"] for method in lost], [1])

    ask("register", device="offline")
    refused(
        "a device that is not there is not online",
        HttpOperationError,
        lambda: call("echo", "offline"),
        code(404, 404103, "DeviceNotOnline"),
    )
    refused(
        "an unknown device is not found",
        HttpOperationError,
        lambda: call("echo", "nobody"),
        lambda error: error.response.status_code == 404 and "404001" in error.response.text,
    )
    for seconds in (4, 301):
        refused(
            f"{seconds} s are no response timeout",
            HttpOperationError,
            lambda: call("echo", response_timeout_in_seconds=seconds),
            lambda error: error.response.status_code == 400,
        )
    refused(
        "a payload of more than 128 KB is refused",
        HttpOperationError,
        lambda: call("echo", payload="x" * 131_072),
        lambda error: 400 <= error.response.status_code < 500,
    )
    refused(
        "a caller that waits for a device hears in the end that it did not come",
        HttpOperationError,
        lambda: call("echo", "offline", connect_timeout_in_seconds=1),
        code(404, 404103, "DeviceNotOnline"),
    )
    ask("fail", operation="methodCall", status=429, times=1)
    refused(
        "a throttled caller is told so at once",
        HttpOperationError,
        lambda: call("echo", payload="throttled"),
        lambda error: error.response.status_code == 429,
    )
    check("and the device never heard of it", all(m["payload"] != "throttled" for m in ask("methods")))

    client.on_method_request_received = None
    client.shutdown()
    ask("disconnected", device="d1")
    refused(
        "a device that left is not online",
        HttpOperationError,
        lambda: call("echo"),
        code(404, 404103, "DeviceNotOnline"),
    )


run(methods)
