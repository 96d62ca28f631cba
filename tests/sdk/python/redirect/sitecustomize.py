"""Sends TCP connections for the hub's fixed ports on this machine to the emulator's free ports.

Python imports this module by itself, before the script, because its folder is on PYTHONPATH. It
changes the port of a TCP connect and nothing else: the SDKs still believe in 443 and 8883, ask for
the same host name, and check the certificate for it.
"""

import os
import socket

PORTS = {443: int(os.environ["HUB_HTTPS_PORT"]), 8883: int(os.environ["HUB_MQTT_PORT"])}
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def redirected(address):
    if isinstance(address, tuple) and address[0] in LOOPBACK and address[1] in PORTS:
        return (address[0], PORTS[address[1]], *address[2:])
    return address


class RedirectedSocket(socket.socket):
    """A socket whose connects are redirected."""

    __slots__ = ()

    def connect(self, address):
        return super().connect(redirected(address))

    def connect_ex(self, address):
        return super().connect_ex(redirected(address))


# `ssl.SSLSocket`, which is made later, derives from this one.
socket.socket = RedirectedSocket
