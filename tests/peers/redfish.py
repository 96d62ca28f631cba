"""OpenStack's Redfish emulator, with one system that has power and restarts within two seconds.

Prints its port, and the SHA-256 fingerprint of its certificate.
"""

import hashlib
import logging
import ssl
import sys

import bcrypt
from sushy_tools.emulator import main
from sushy_tools.emulator.resources.systems import fakedriver
from werkzeug.serving import make_server

FOLDER, CERTIFICATE, KEY, PASSWORD = sys.argv[1:]

# It draws how long the hardware takes, up to eleven seconds.
fakedriver.random.randint = lambda _least, _most: 2

accounts = f"{FOLDER}/accounts"
with open(accounts, "wb") as file:
    file.write(b"operator:" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)))

main.app.configure(
    extra_config={
        "SUSHY_EMULATOR_FAKE_DRIVER": True,
        "SUSHY_EMULATOR_STATE_DIR": FOLDER,
        "SUSHY_EMULATOR_AUTH_FILE": accounts,
        "SUSHY_EMULATOR_FAKE_SYSTEMS": [
            {"uuid": fakedriver.DEFAULT_UUID, "name": "fake", "power_state": "On", "nics": []}
        ],
    }
)
with open(CERTIFICATE) as file:
    print_of_it = hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(CERTIFICATE, KEY)
server = make_server("127.0.0.1", 0, main.app, ssl_context=tls)
logging.getLogger("werkzeug").setLevel(logging.ERROR)
print(f"serves {server.port} {print_of_it}", flush=True)
server.serve_forever()
