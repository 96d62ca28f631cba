"""Calls a method of a device, and reads its twin, over and over with Microsoft's SDK.

Arguments: the device, and how often. Prints the times in microseconds as one line of JSON.
"""

import json
import os
import sys
import time

from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod

WARM_UP = 5

device, count = sys.argv[1], int(sys.argv[2])
hub = IoTHubRegistryManager.from_connection_string(os.environ["HUB_OWNER"])
method = CloudToDeviceMethod(method_name="echo", payload={"n": 1})


def measured(call):
    for _ in range(WARM_UP):
        call()
    times = []
    before = time.process_time()
    for _ in range(count):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    cpu = (time.process_time() - before) / count
    times.sort()
    p50, p99 = (times[round((count - 1) * share)] for share in (0.5, 0.99))
    return {"p50": p50 * 1e6, "p99": p99 * 1e6, "cpu": cpu * 1e6}


print(
    json.dumps(
        {
            "method": measured(lambda: hub.invoke_device_method(device, method)),
            "twin": measured(lambda: hub.get_twin(device)),
            "calls": 2 * (WARM_UP + count),
        }
    ),
    flush=True,
)
# What the SDK left running must not keep it.
os._exit(0)
