"""Connects devices with Microsoft's SDK, each subscribed to methods, twin answers and desired properties.

Arguments: a JSON list of connection strings, and how many seconds they are left idle. Prints what
they cost as one line of JSON.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from azure.iot.device import IoTHubDeviceClient, MethodResponse

strings, idle = json.loads(sys.argv[1]), float(sys.argv[2])


def status(field):
    with open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1])


def connected(string):
    client = IoTHubDeviceClient.create_from_connection_string(string, keep_alive=60)
    client.connect()
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 200, request.payload)
    )
    client.on_twin_desired_properties_patch_received = lambda patch: None
    return client


clients = [connected(strings[0])]
first = time.time() * 1e3 - float(os.environ["BENCH_BEGUN_MS"])
base = status("VmRSS:")
before, begin = time.process_time(), time.perf_counter()
with ThreadPoolExecutor(8) as pool:
    clients += pool.map(connected, strings[1:])
more = len(strings) - 1
took, cpu = time.perf_counter() - begin, time.process_time() - before
total = status("VmRSS:")
before, begin = time.process_time(), time.perf_counter()
time.sleep(idle)
used = (time.process_time() - before) / (time.perf_counter() - begin)
print(
    json.dumps(
        {
            "first": first,
            "base": base,
            "each": (total - base) / more,
            "total": total,
            "count": len(strings),
            "threads": status("Threads:"),
            "rate": more / took,
            "cpu": cpu * 1e3 / more,
            "idle": used * 100 / len(strings),
        }
    ),
    flush=True,
)
# Leaving well would take as long as coming did.
os._exit(0)
