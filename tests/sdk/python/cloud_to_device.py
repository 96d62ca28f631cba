"""Messages from the cloud to a device. The service SDK sends them by AMQP, so the hub's side does."""

from checks import Inbox, ask, check, device, equal, run


def cloud_to_device():
    client = device("d1")
    messages = Inbox()
    client.on_message_received = messages.put

    ask("sendToDevice", device="d1", body="hello", id="id 1&2", properties={"alert/level": "a&b=c + d", "größe": "☂"})
    message = messages.next("a message")
    equal("a message arrives", (message.data, message.message_id), (b"hello", "id 1&2"))
    equal("with its properties", message.custom_properties, {"alert/level": "a&b=c + d", "größe": "☂"})

    ask("acknowledged", device="d1")
    ask("cut", device="d1")
    ask("sendToDevice", device="d1", body="after the cut")
    equal("one finds its way after a cut, and none comes twice", messages.next("a message").data, b"after the cut")

    client.disconnect()
    ask("disconnected", device="d1")
    for number in range(3):
        ask("sendToDevice", device="d1", body=str(number))
    client.connect()
    waited = [messages.next("a message that waited").data for _ in range(3)]
    equal("those that it missed wait for it, in order", waited, [b"0", b"1", b"2"])
    ask("acknowledged", device="d1")
    check("nothing else came", messages.is_empty())


run(cloud_to_device)
