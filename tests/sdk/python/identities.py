"""Device identities: made, read, changed, listed, counted, removed, and what the hub refuses."""

import base64

from azure.iot.hub.models import AuthenticationMechanism, ExportImportDevice, SymmetricKey
from msrest.exceptions import HttpOperationError

from checks import check, equal, refused, registry, run

KEY_1 = base64.b64encode(b"1" * 32).decode()
KEY_2 = base64.b64encode(b"2" * 32).decode()


def status(code):
    return lambda error: error.response.status_code == code


def identities():
    hub = registry()

    made = hub.create_device_with_sas("d1", KEY_1, KEY_2, "enabled")
    equal("a device is made with the keys it is given", made.authentication.symmetric_key.primary_key, KEY_1)
    equal("it was never connected", made.connection_state, "Disconnected")
    check("it has an etag and a generation", made.etag and made.generation_id, made)

    read = hub.get_device("d1")
    equal("it is read as it was made", (read.device_id, read.etag, read.status), ("d1", made.etag, "enabled"))
    equal("both keys are kept", read.authentication.symmetric_key.secondary_key, KEY_2)

    generated = hub.create_device_with_sas("d2", None, None, "enabled").authentication.symmetric_key
    equal("without keys the hub makes them", len(base64.b64decode(generated.primary_key)), 32)
    check("which differ", generated.primary_key != generated.secondary_key)

    refused(
        "a device cannot be made twice",
        HttpOperationError,
        lambda: hub.create_device_with_sas("d1", KEY_1, KEY_2, "enabled"),
        status(409),
    )
    missing = refused(
        "an unknown device is not found", HttpOperationError, lambda: hub.get_device("nobody"), status(404)
    )
    check("the answer names the code", "DeviceNotFound" in missing.response.text, missing.response.text)

    changed = hub.update_device_with_sas("d1", read.etag, KEY_2, KEY_1, "disabled")
    equal("a device is changed by its etag", (changed.status, changed.authentication.symmetric_key.primary_key), ("disabled", KEY_2))
    check("which moves the etag", changed.etag != read.etag, changed.etag)
    refused(
        "an old etag is refused",
        HttpOperationError,
        lambda: hub.update_device_with_sas("d1", read.etag, KEY_1, KEY_2, "enabled"),
        status(412),
    )
    refused(
        "an old etag removes nothing", HttpOperationError, lambda: hub.delete_device("d1", etag=read.etag), status(412)
    )

    odd = "a-.+%_#*?!(),:=@$'"
    hub.create_device_with_sas(odd, KEY_1, KEY_2, "enabled")
    equal("every allowed character works in an id", hub.get_device(odd).device_id, odd)

    equal("devices are listed", sorted(d.device_id for d in hub.get_devices()), sorted(["d1", "d2", odd]))
    equal("as many as asked for", len(hub.get_devices(2)), 2)
    counts = hub.get_device_registry_statistics()
    equal(
        "devices are counted",
        (counts.total_device_count, counts.enabled_device_count, counts.disabled_device_count),
        (3, 2, 1),
    )
    equal("none is connected", hub.get_service_statistics().connected_device_count, 0)

    def entry(device_id, mode):
        keys = AuthenticationMechanism(type="sas", symmetric_key=SymmetricKey(primary_key=KEY_1, secondary_key=KEY_2))
        return ExportImportDevice(id=device_id, import_mode=mode, status="enabled", authentication=keys)

    result = hub.bulk_create_or_update_devices([entry("b1", "create"), entry("b2", "create")])
    check("many devices are made at once", result.is_successful and not result.errors, result)
    equal("with their keys", hub.get_device("b2").authentication.symmetric_key.secondary_key, KEY_2)
    result = hub.bulk_create_or_update_devices([entry("b2", "create"), entry("b3", "create")])
    equal(
        "one that exists is told apart",
        (result.is_successful, [error.device_id for error in result.errors]),
        (False, ["b2"]),
    )
    result = hub.bulk_create_or_update_devices([entry("b1", "delete"), entry("b2", "delete")])
    check("many are removed at once", result.is_successful, result)
    refused("and gone", HttpOperationError, lambda: hub.get_device("b1"), status(404))

    hub.delete_device("d1")
    refused("a removed device is gone", HttpOperationError, lambda: hub.get_device("d1"), status(404))
    refused("it cannot be removed again", HttpOperationError, lambda: hub.delete_device("d1"), status(404))


run(identities)
