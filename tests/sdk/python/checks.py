"""What every script stands on: checks, the hub's side of the story, and the SDKs' clients.

A check prints one line. The first that fails ends the script with its reason and status 1.
"""

import json
import os
import queue
import sys
import traceback

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient
from azure.iot.hub import IoTHubRegistryManager

# How long anything may take that has to happen; nothing asserts it.
PATIENCE = 60

_passed = 0


def check(what, holds, found=None):
    """One check: `holds` must be true. `found` is shown when it is not."""
    global _passed
    if not holds:
        fail(what, f"found {found!r}")
    _passed += 1
    print(f"ok {what}", flush=True)


def equal(what, found, expected):
    """One check: `found` must equal `expected`."""
    check(what, found == expected, f"{found!r} instead of {expected!r}")


def refused(what, error, act, judge=lambda error: True):
    """One check: `act` must raise `error`, of which `judge` must approve. Returns the error."""
    try:
        result = act()
    except error as raised:
        check(what, judge(raised), raised)
        return raised
    fail(what, f"it succeeded with {result!r}")


def fail(what, reason):
    """Ends the script, whatever its threads do."""
    print(f"FAILED {what}: {reason}", flush=True)
    traceback.print_stack()
    sys.stderr.flush()
    os._exit(1)


def finish():
    """Ends the script well: what is left of a client's threads must not keep it."""
    print(f"passed {_passed} checks", flush=True)
    os._exit(0)


def run(script):
    """Runs a script's function and ends with its verdict."""
    try:
        script()
    except BaseException:
        traceback.print_exc()
        fail("the script", "it raised an error that nothing expected")
    finish()


def ask(do, **more):
    """Asks the process that runs the hub; see `control.rs`."""
    print("ask " + json.dumps({"do": do, **more}), flush=True)
    return json.loads(sys.stdin.readline())


def registry():
    """A service client of the policy that may do everything."""
    return IoTHubRegistryManager.from_connection_string(os.environ["HUB_OWNER"])


def back_end():
    """A service client of the policy that the tutorials tell back ends to use."""
    return IoTHubRegistryManager.from_connection_string(os.environ["HUB_SERVICE"])


def device(device_id, **options):
    """A connected device client."""
    connection = ask("register", device=device_id)
    client = IoTHubDeviceClient.create_from_connection_string(connection, **options)
    client.connect()
    return client


def module(device_id, module_id, **options):
    """A connected client of a module that the registry knows."""
    identity = registry().get_module(device_id, module_id)
    key = identity.authentication.symmetric_key.primary_key
    connection = f"HostName=localhost;DeviceId={device_id};ModuleId={module_id};SharedAccessKey={key}"
    client = IoTHubModuleClient.create_from_connection_string(connection, **options)
    client.connect()
    return client


class Inbox:
    """What a handler received, for the main thread to await. Give its `put` to the SDK."""

    def __init__(self):
        self._queue = queue.Queue()

    def put(self, item):
        self._queue.put(item)

    def next(self, what):
        """The next item, which has to come."""
        try:
            return self._queue.get(timeout=PATIENCE)
        except queue.Empty:
            fail(what, f"nothing came within {PATIENCE} s")

    def is_empty(self):
        return self._queue.empty()
