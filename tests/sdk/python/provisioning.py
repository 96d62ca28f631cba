"""Devices that ask the provisioning service for their hub."""

import base64
import hashlib
import hmac
import os
import ssl
import sys
import tempfile

from azure.iot.device import X509, IoTHubDeviceClient, ProvisioningDeviceClient
from azure.iot.device.exceptions import ClientError, CredentialError

from checks import ask, check, equal, refused, registry, run

OVER = {"websockets": "websockets" in sys.argv}
KEY = base64.b64encode(b"a key of an enrolment, 32 bytes!").decode()


def by_key(registration, key, scope):
    return ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host="localhost", registration_id=registration, id_scope=scope, symmetric_key=key, **OVER
    )


def connects(result, key):
    """The hub knows a device by the key that it registered with."""
    state = result.registration_state
    client = IoTHubDeviceClient.create_from_connection_string(
        f"HostName={state.assigned_hub};DeviceId={state.device_id};SharedAccessKey={key}", **OVER
    )
    client.connect()
    client.patch_twin_reported_properties({"here": True})
    client.shutdown()
    return registry().get_twin(state.device_id).properties.reported["here"]


def provisioning():
    scope = ask("enroll", device="prov-1", key=KEY, deviceId="pump-1", payload={"floor": 2})
    client = by_key("prov-1", KEY, scope)
    client.provisioning_payload = {"model": "x"}
    first = client.register()
    equal("a device is assigned", first.status, "assigned")
    equal("to this hub", first.registration_state.assigned_hub, "localhost")
    equal("under its name there", first.registration_state.device_id, "pump-1")
    equal("for the first time", first.registration_state.sub_status, "initialAssignment")
    equal("with a word from the service", first.registration_state.response_payload, '{"floor": 2}')
    check("the hub knows its key", connects(first, KEY))
    again = by_key("prov-1", KEY, scope).register()
    equal("it may ask again", again.registration_state.device_id, "pump-1")
    equal("and was there before", again.registration_state.created_date_time, first.registration_state.created_date_time)

    ask("enroll", group="site", key=KEY)
    derived = base64.b64encode(hmac.new(base64.b64decode(KEY), b"prov-2", hashlib.sha256).digest()).decode()
    check("a group's device has a key of its own", connects(by_key("prov-2", derived, scope).register(), derived))
    refused("the group's own key opens nothing", CredentialError, by_key("prov-3", KEY, scope).register)
    refused("nor does another scope", CredentialError, by_key("prov-1", KEY, "0ne99999999").register)

    ask("fail", operation="registration", status=429, times=1)
    equal("a busy service is asked again", by_key("prov-1", KEY, scope).register().status, "assigned")
    ask("fail", operation="registration", status=401, times=1)
    refused("a refusal is an error", ClientError, by_key("prov-1", KEY, scope).register)
    ask("enroll", device="prov-1", key=KEY, enabled=False)
    refused("a disabled device gets no hub", ClientError, by_key("prov-1", KEY, scope).register)
    ask("enroll", device="prov-1", key=KEY, hub="another.hub")
    moved = by_key("prov-1", KEY, scope).register().registration_state
    equal("a device is sent to another hub", moved.assigned_hub, "another.hub")

    pem = ask("certificate", device="whatever")
    folder = tempfile.mkdtemp()
    paths = [os.path.join(folder, part) for part in ("certificate", "key")]
    for path in paths:
        with open(path, "w") as out:
            out.write(pem[os.path.basename(path)])
    x509 = X509(*paths)
    thumbprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem["certificate"])).hexdigest()
    ask("enroll", device="prov-x", thumbprint=thumbprint)
    result = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host="localhost", registration_id="prov-x", id_scope=scope, x509=x509, **OVER
    ).register()
    equal("a certificate registers its device", result.registration_state.device_id, "prov-x")
    device = IoTHubDeviceClient.create_from_x509_certificate(x509, "localhost", "prov-x", **OVER)
    device.connect()
    check("and opens the hub's door", device.connected)
    device.shutdown()


run(provisioning)
