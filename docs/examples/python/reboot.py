"""Reboots a device and follows it to the verdict, over a service that may go away in between.

    reboot.py ADDRESS DEVICE [REQUEST_ID]

Ends with 0 when the reboot is proved, with 1 when it is not, with 4 when the service refused.
"""

import random
import sys
import time
import uuid
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# Generated in memory, from the definition. A larger program generates files when it is built.
sys.path.append(str(Path(__file__).resolve().parents[3] / "proto"))
dm, dm_grpc = grpc.protos_and_services("iothubdm/v1/device_management.proto")

# The connection broke, or the service is stopping: the same call may be made again.
AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


def explanation(error):
    """What the service calls the cause; None where something else answered in its place."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == "iothubdm":
            return info.reason
    return None


def reboot(service, request):
    """Asks until it is answered. The id makes this safe: it reboots once, however often it is asked."""
    for attempt in range(8):
        try:
            return service.Reboot(request, timeout=90)
        except grpc.RpcError as error:
            broke = error.code() in AGAIN and explanation(error) in (None, "STOPPING")
            if not broke or attempt == 7:
                raise
            time.sleep(random.uniform(0.5, 1) * min(5, 0.25 * 2**attempt))


def follow(service, name):
    """Follows an attempt to its end, over streams that break."""
    token, pause, latest = "", 0.25, None
    while True:
        try:
            for event in service.WatchReboot(dm.WatchRebootRequest(name=name, resume_token=token)):
                token, pause = event.resume_token, 0.25
                kind = event.WhichOneof("event")
                if kind == "snapshot":
                    latest = event.snapshot
                elif kind == "progress":
                    latest = event.progress.attempt
                    print(dm.AttemptState.Name(latest.state), event.progress.message, flush=True)
                    if event.progress.terminal:
                        return latest
            if latest and latest.HasField("end_time"):  # the token was after the terminal event
                return latest
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.OUT_OF_RANGE and token:
                token = ""  # too old: begin anew
            elif error.code() not in AGAIN:
                raise
            print("interrupted:", error.details(), flush=True)
        time.sleep(random.uniform(0.5, 1) * pause)
        pause = min(2 * pause, 5)


def main(address, device, request_id=None):
    options = [("grpc.keepalive_time_ms", 20_000), ("grpc.max_reconnect_backoff_ms", 5_000)]
    with grpc.insecure_channel(address, options) as channel:
        service = dm_grpc.DeviceManagementStub(channel)
        request_id = request_id or str(uuid.uuid4())  # to outlive this process, store it first
        try:
            request = dm.RebootRequest(device=f"devices/{device}", request_id=request_id, reason="example")
            verdict = follow(service, reboot(service, request).name)
        except grpc.RpcError as error:
            print("refused:", error.code().name, explanation(error), error.details())
            return 4
    if verdict.state == dm.ATTEMPT_STATE_SUCCEEDED:
        print("proved:", dm.EvidenceGrade.Name(verdict.evidence.grade), verdict.evidence.after)
        return 0
    print("not proved:", verdict.error.code, verdict.error.message)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
