"""Jobs: a method and a twin update for many devices, what became of each, and cancelling."""

import os
import time
from datetime import datetime, timedelta, timezone

from azure.iot.device import MethodResponse
from azure.iot.hub import IoTHubJobManager
from azure.iot.hub.models import CloudToDeviceMethod, JobRequest, QuerySpecification, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from checks import PATIENCE, Inbox, ask, check, device, equal, fail, refused, registry, run


def jobs():
    hub = registry()
    manager = IoTHubJobManager.from_connection_string(os.environ["HUB_OWNER"])

    def start(job_id, when, **what):
        request = JobRequest(job_id=job_id, start_time=when.isoformat(), max_execution_time_in_seconds=60, **what)
        return manager.create_scheduled_job(job_id, request)

    def ended(job_id):
        """Reads the job until it has ended, as the samples do."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            job = manager.get_scheduled_job(job_id)
            if job.status in ("completed", "failed", "cancelled"):
                return job
        fail(f"job {job_id}", "it did not end")

    client = device("d1")
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 200, {"got": request.payload})
    )
    patches = Inbox()
    client.on_twin_desired_properties_patch_received = patches.put
    ask("register", device="offline")
    ask("register", device="elsewhere")
    for device_id in ("d1", "offline"):
        hub.update_twin(device_id, Twin(tags={"building": "43"}))
    ask("callable", device="d1")
    now = datetime.now(timezone.utc)

    update = Twin(etag="*", properties=TwinProperties(desired={"temperature": 21}))
    made = start("update", now, type="scheduleUpdateTwin", update_twin=update, query_condition="tags.building = '43'")
    equal("a job is made", (made.job_id, made.type), ("update", "scheduleUpdateTwin"))
    job = ended("update")
    counts = job.device_job_statistics
    equal("it is done for each device it finds", (job.status, counts.device_count, counts.succeeded_count), ("completed", 2, 2))
    equal("the connected one is told", patches.next("a desired patch"), {"temperature": 21, "$version": 2})
    equal("the other one's twin is changed", hub.get_twin("offline").properties.desired["temperature"], 21)
    check("the third one's is not", "temperature" not in hub.get_twin("elsewhere").properties.desired)

    method = CloudToDeviceMethod(method_name="reboot", payload="now", response_timeout_in_seconds=30)
    start("call", now, type="scheduleDeviceMethod", cloud_to_device_method=method, query_condition="DeviceId in ['d1','offline']")
    job = ended("call")
    counts = job.device_job_statistics
    equal("a method reaches who is there", (counts.device_count, counts.succeeded_count, counts.failed_count), (2, 1, 1))
    (called,) = ask("methods")
    equal("once, with its payload", (called["device"], called["name"], called["payload"], called["deliveries"]), ("d1", "reboot", "now", 1))
    failed = hub.query_iot_hub(
        QuerySpecification(query="SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'call' AND devices.jobs.status = 'failed'")
    )
    equal("who was not there is found by a query", ([row.device_id for row in failed.items], failed.type), (["offline"], "DeviceJob"))

    start("late", now + timedelta(hours=1), type="scheduleDeviceMethod", cloud_to_device_method=method, query_condition="*")
    check("a job can wait", manager.get_scheduled_job("late").status in ("queued", "scheduled"))
    manager.cancel_scheduled_job("late")
    equal("and be cancelled", manager.get_scheduled_job("late").status, "cancelled")
    refused(
        "a job cannot be made twice",
        HttpOperationError,
        lambda: start("late", now, type="scheduleDeviceMethod", cloud_to_device_method=method, query_condition="*"),
        lambda error: error.response.status_code == 409,
    )
    refused(
        "an unknown job is not found",
        HttpOperationError,
        lambda: manager.get_scheduled_job("nothing"),
        lambda error: error.response.status_code == 404,
    )


run(jobs)
