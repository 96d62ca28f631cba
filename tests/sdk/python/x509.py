"""Devices that identify themselves by a certificate instead of a key."""

import hashlib
import os
import ssl
import sys
import tempfile

from azure.iot.device import X509, IoTHubDeviceClient, MethodResponse
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from checks import Inbox, ask, check, equal, refused, registry, run

OVER = {"websockets": "websockets" in sys.argv}


def certificates():
    hub = registry()
    folder = tempfile.mkdtemp()

    def made(name, file):
        """A new certificate in files, and its thumbprints."""
        pem = ask("certificate", device=name)
        paths = [os.path.join(folder, f"{file}.{part}") for part in ("certificate", "key")]
        for path, part in zip(paths, ("certificate", "key")):
            with open(path, "w") as out:
                out.write(pem[part])
        der = ssl.PEM_cert_to_DER_cert(pem["certificate"])
        return X509(*paths), hashlib.sha1(der).hexdigest().upper(), hashlib.sha256(der).hexdigest()

    def client(device_id, x509):
        return IoTHubDeviceClient.create_from_x509_certificate(
            x509, "localhost", device_id, connection_retry=False, **OVER
        )

    first, sha1, _ = made("whatever", "first")
    second, _, sha256 = made("d1", "second")
    stranger, _, _ = made("d1", "stranger")
    identity = hub.create_device_with_x509("d1", sha1, sha256, "enabled")
    equal("a device is made with thumbprints", identity.authentication.type, "selfSigned")

    for what, x509 in (("the first certificate, by SHA-1", first), ("the second, by SHA-256", second)):
        device = client("d1", x509)
        device.connect()
        check(f"{what}, opens the door", device.connected)
        patches = Inbox()
        device.on_twin_desired_properties_patch_received = patches.put
        device.on_method_request_received = lambda request: device.send_method_response(
            MethodResponse.create_from_method_request(request, 200, request.payload)
        )
        ask("callable", device="d1")
        call = CloudToDeviceMethod(method_name="echo", payload={"a": 1})
        equal("methods reach it", hub.invoke_device_method("d1", call).payload, {"a": 1})
        hub.update_twin("d1", Twin(properties=TwinProperties(desired={"who": what})))
        equal("desired patches do", patches.next("a desired patch")["who"], what)
        device.patch_twin_reported_properties({"who": what})
        equal("it reports", hub.get_twin("d1").properties.reported["who"], what)
        device.shutdown()
        ask("disconnected", device="d1")

    refused("another certificate of the same name does not", CredentialError, client("d1", stranger).connect)
    hub.create_device_with_sas("d2", "", "", "enabled")
    refused("nor does one that is registered open another device's", CredentialError, client("d2", first).connect)
    identity = hub.get_device("d1")
    hub.update_device_with_x509("d1", identity.etag, sha256, sha256, "enabled")
    refused("nor one that was registered before", CredentialError, client("d1", first).connect)


run(certificates)
