"""Automatic device configurations: made, applied to the twins that they fit, changed, removed."""

import os

from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import Configuration, ConfigurationContent, Twin
from msrest.exceptions import HttpOperationError

from checks import Inbox, ask, check, device, equal, refused, registry, run


def configurations():
    manager = IoTHubConfigurationManager.from_connection_string(os.environ["HUB_OWNER"])
    hub = registry()
    client = device("d1")
    patches = Inbox()
    client.on_twin_desired_properties_patch_received = patches.put
    ask("register", device="d2")
    hub.update_twin("d1", Twin(tags={"chiller": True}))

    wanted = {"version": "2.8.5"}
    content = ConfigurationContent(device_content={"properties.desired.firmware": wanted})
    made = manager.create_configuration(
        Configuration(id="firmware285", content=content, priority=10, target_condition="tags.chiller = true", labels={"a": "b"})
    )
    equal("a configuration is made", (made.id, made.priority, made.labels), ("firmware285", 10, {"a": "b"}))
    equal("the device that it fits is told", patches.next("a desired patch")["firmware"], wanted)
    equal("and has it in its twin", hub.get_twin("d1").properties.desired["firmware"], wanted)
    check("the other one has not", "firmware" not in hub.get_twin("d2").properties.desired)
    read = manager.get_configuration("firmware285")
    check("its metrics can be read", read.system_metrics.results is not None and read.metrics.results is not None, read)
    equal("configurations are listed", [c.id for c in manager.get_configurations()], ["firmware285"])
    manager.delete_configuration("firmware285")
    refused(
        "a removed one is gone",
        HttpOperationError,
        lambda: manager.get_configuration("firmware285"),
        lambda error: error.response.status_code == 404,
    )

    content = ConfigurationContent(
        device_content={"properties.desired.firmware": wanted},
        modules_content={"filter": {"properties.desired": {"rate": 5}}},
    )
    manager.apply_configuration_on_edge_device("d2", content)
    equal("a content is applied to one device", hub.get_twin("d2").properties.desired["firmware"], wanted)
    module = hub.get_module_twin("d2", "filter")
    equal("and to its modules, which are made", module.properties.desired["rate"], 5)


run(configurations)
