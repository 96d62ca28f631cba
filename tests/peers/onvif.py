"""The ONVIF service of IPyCam, a virtual camera, behind its own HTTP handler.

Its pictures come from OpenCV, which is large and is not asked for any here. Prints its port.
"""

import sys
from http.server import ThreadingHTTPServer
from types import ModuleType, SimpleNamespace

for name in ("cv2", "numpy"):
    sys.modules[name] = ModuleType(name)
sys.modules["numpy"].ndarray = object

from ipycam import CameraConfig, IPCameraHTTPHandler, ONVIFService

USER, PASSWORD = sys.argv[1:]


class Handler(IPCameraHTTPHandler):
    config = CameraConfig(local_ip="127.0.0.1", username=USER, password=PASSWORD)
    camera = SimpleNamespace(config=config, onvif=ONVIFService(config))


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"serves {server.server_address[1]}", flush=True)
server.serve_forever()
