"""Messages to the cloud, with their properties."""

from azure.iot.device import Message

from checks import ask, check, device, equal, run


def telemetry():
    client = device("d1")

    client.send_message("plain")
    (message,) = ask("telemetry")
    equal("a plain text arrives", (message["device"], message["module"], message["body"]), ("d1", None, "plain"))

    rich = Message('{"temperature": 21.5}', message_id="id 1&2", content_encoding="utf-8", content_type="application/json")
    rich.correlation_id = "cause=1"
    rich.custom_properties["alert/level"] = "a&b=c + d"
    rich.custom_properties["größe"] = "☂"
    client.send_message(rich)
    properties = ask("telemetry")[-1]["properties"]
    equal("names and values survive their encoding", properties.get("alert/level"), "a&b=c + d")
    equal("in every script", properties.get("größe"), "☂")
    system = {name: properties.get(name) for name in ("$.mid", "$.cid", "$.ct", "$.ce")}
    equal(
        "system properties stand beside them",
        system,
        {"$.mid": "id 1&2", "$.cid": "cause=1", "$.ct": "application/json", "$.ce": "utf-8"},
    )

    for number in range(50):
        client.send_message(str(number))
    arrived = [message["body"] for message in ask("telemetry")[2:]]
    equal("many arrive once each, in order", arrived, [str(number) for number in range(50)])

    large = "x" * (255 * 1024)
    client.send_message(large)
    check("a large one arrives whole", ask("telemetry")[-1]["body"] == large)


run(telemetry)
