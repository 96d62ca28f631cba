"""Twins in both directions: desired to the device, reported to the service, and etags."""

from azure.iot.device.exceptions import ClientError
from azure.iot.hub.models import Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from checks import Inbox, ask, check, device, equal, refused, registry, run


def desired(properties):
    return Twin(properties=TwinProperties(desired=properties))


def twins():
    hub = registry()
    client = device("d1")

    twin = client.get_twin()
    equal("a new twin is at its first version", (twin["desired"], twin["reported"]), ({"$version": 1}, {"$version": 1}))

    patches = Inbox()
    client.on_twin_desired_properties_patch_received = patches.put
    before = hub.get_twin("d1")
    after = hub.update_twin("d1", desired({"interval": 10, "limits": {"low": 1, "high": 9}}), before.etag)
    equal("the service reads what it wrote", after.properties.desired["limits"], {"low": 1, "high": 9})
    equal(
        "the device is told of it",
        patches.next("a desired patch"),
        {"interval": 10, "limits": {"low": 1, "high": 9}, "$version": 2},
    )

    hub.update_twin("d1", desired({"limits": {"low": None}}))
    equal(
        "a removal reaches the device as null",
        patches.next("a desired patch"),
        {"limits": {"low": None}, "$version": 3},
    )
    equal(
        "what is left is what the device reads",
        client.get_twin()["desired"],
        {"interval": 10, "limits": {"high": 9}, "$version": 3},
    )

    refused(
        "an old etag is refused",
        HttpOperationError,
        lambda: hub.update_twin("d1", desired({"interval": 99}), before.etag),
        lambda error: error.response.status_code == 412,
    )
    equal("and changes nothing", hub.get_twin("d1").properties.desired["interval"], 10)

    tagged = hub.update_twin("d1", Twin(tags={"site": {"plant": "Redmond43"}}), hub.get_twin("d1").etag)
    equal("tags are kept", tagged.tags, {"site": {"plant": "Redmond43"}})
    replaced = hub.replace_twin("d1", desired({"only": True}), tagged.etag)
    check("a replaced twin has the new properties", replaced.properties.desired["only"] is True, replaced)
    check("and not the old ones", "interval" not in replaced.properties.desired and not replaced.tags, replaced)
    equal("the device hears of that, and never heard of the tags", patches.next("a desired patch")["$version"], 4)

    client.patch_twin_reported_properties({"firmware": {"version": "1.0", "size": 1.5}, "name": "Zürich ☂"})
    reported = hub.get_twin("d1").properties.reported
    equal("the service reads what the device reported", reported["firmware"], {"version": "1.0", "size": 1.5})
    equal("every letter of it", reported["name"], "Zürich ☂")
    check("and when", "$lastUpdated" in reported["$metadata"]["firmware"]["version"], reported["$metadata"])

    client.patch_twin_reported_properties({"firmware": {"size": None}, "list": [1, {"a": "b"}]})
    reported = hub.get_twin("d1").properties.reported
    equal("the device removes with null", reported["firmware"], {"version": "1.0"})
    equal("lists are kept", reported["list"], [1, {"a": "b"}])
    equal("each patch is a version", reported["$version"], 3)

    refused(
        "a name that twins cannot have is refused",
        ClientError,
        lambda: client.patch_twin_reported_properties({"a.b": 1}),
    )
    ask("fail", operation="deviceTwinUpdate", status=429, times=1)
    refused(
        "a throttled device is told so", ClientError, lambda: client.patch_twin_reported_properties({"late": True})
    )
    equal("neither left a trace", client.get_twin()["reported"]["$version"], 3)

    refused(
        "an unknown device has no twin",
        HttpOperationError,
        lambda: hub.get_twin("nobody"),
        lambda error: error.response.status_code == 404,
    )


run(twins)
