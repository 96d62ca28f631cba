//! Jobs over REST, with devices that answer.

use hub_emulator::{Emulator, EmulatorConfig};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::device::{DEADLINE, DESIRED, Device, METHODS, TWIN_ANSWERS};
use crate::service::{Answer, Service};

async fn emulator() -> Emulator {
    Emulator::start(EmulatorConfig::default()).await.unwrap()
}

fn method_job(condition: &str, start: Timestamp) -> Value {
    json!({
        "type": "scheduleDeviceMethod",
        "cloudToDeviceMethod":
            {"methodName": "reboot", "payload": {"at": 5}, "responseTimeoutInSeconds": 5},
        "queryCondition": condition,
        "startTime": start.to_string(),
        "maxExecutionTimeInSeconds": 3600,
    })
}

fn twin_job(condition: &str, start: Timestamp) -> Value {
    json!({
        "type": "scheduleUpdateTwin",
        "updateTwin": {"etag": "*", "tags": {"floor": 3},
            "properties": {"desired": {"building": "43"}, "reported": {}}},
        "queryCondition": condition,
        "startTime": start.to_string(),
        "maxExecutionTimeInSeconds": 3600,
    })
}

/// Waits until the job has ended.
async fn ended(emulator: &Emulator, id: &str) -> Value {
    let ended = emulator.watch_job(id, |job| !job["endTime"].is_null());
    tokio::time::timeout(DEADLINE, ended).await.unwrap()
}

async fn results(service: &Service, condition: &str) -> Vec<Value> {
    let query = json!({"query": format!("SELECT * FROM devices.jobs WHERE {condition}")});
    let answer = service.post("/devices/query", &query).await;
    assert_eq!(answer.header("x-ms-item-type"), Some("DeviceJob"));
    answer.json().as_array().unwrap().clone()
}

#[track_caller]
fn check_refused(answer: &Answer, status: u16, code: &str) {
    let (found, name, _) = answer.named_error();
    assert_eq!((found, name.as_str()), (status, code));
}

#[tokio::test]
async fn a_method_job_calls_each_device_and_keeps_what_it_answered() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("asleep");
    let mut device = Device::connect(&emulator, "awake").await;
    device.subscribe(METHODS).await;

    let made = service
        .put("/jobs/v2/job%201", &method_job("*", Timestamp::now()))
        .await;
    assert_eq!(made.status, 200);
    let made = made.json();
    assert_eq!(
        (&made["jobId"], &made["status"], &made["type"]),
        (
            &json!("job 1"),
            &json!("queued"),
            &json!("scheduleDeviceMethod")
        )
    );
    assert_eq!(made["cloudToDeviceMethod"]["methodName"], "reboot");

    let (name, rid, payload) = device.method().await;
    assert_eq!((name.as_str(), payload), ("reboot", json!({"at": 5})));
    device.answer(&rid, 200, r#"{"done":true}"#).await;

    let job = ended(&emulator, "job 1").await;
    assert_eq!(job["status"], "completed");
    let statistics = json!({"deviceCount": 2, "failedCount": 1, "succeededCount": 1,
        "runningCount": 0, "pendingCount": 0});
    assert_eq!(job["deviceJobStatistics"], statistics);

    let failed = "devices.jobs.jobId = 'job 1' AND devices.jobs.status = 'failed'";
    let failed = results(&service, failed).await;
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["deviceId"], "asleep");
    assert_eq!(failed[0]["error"]["code"], "404103");
    let completed = results(&service, "devices.jobs.status = 'completed'").await;
    assert_eq!(
        (&completed[0]["deviceId"], &completed[0]["outcome"]),
        (
            &json!("awake"),
            &json!({"deviceMethodResponse":
            {"status": 200, "payload": {"done": true}}})
        )
    );
}

#[tokio::test]
async fn a_twin_job_changes_the_devices_that_its_condition_finds_and_tells_them() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(DESIRED).await;
    let _ = emulator.device("d2");
    let long_ago = Timestamp::now() - SignedDuration::from_hours(1);
    let mut job = twin_job("deviceId IN ['d1','nobody']", long_ago);
    job["jobId"] = json!("j");
    assert_eq!(service.put("/jobs/v2/j", &job).await.status, 200);

    let (_, patch) = device.message().await;
    let patch: Value = serde_json::from_slice(&patch).unwrap();
    assert_eq!(patch, json!({"building": "43", "$version": 2}));
    let job = ended(&emulator, "j").await;
    assert_eq!(
        (
            &job["status"],
            &job["deviceJobStatistics"]["succeededCount"]
        ),
        (&json!("completed"), &json!(1))
    );
    assert_eq!(emulator.twin("d1")["tags"], json!({"floor": 3}));
    assert_eq!(emulator.twin("d2")["tags"], json!({}));
}

#[tokio::test]
async fn a_job_for_modules_reaches_modules() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");
    let module = json!({"moduleId": "m", "deviceId": "d1"});
    service.put("/devices/d1/modules/m", &module).await;
    let job = twin_job(
        "FROM devices.modules WHERE moduleId = 'm'",
        Timestamp::now(),
    );
    service.put("/jobs/v2/j", &job).await;
    ended(&emulator, "j").await;
    let twin = service.get("/twins/d1/modules/m").await.json();
    assert_eq!(twin["tags"], json!({"floor": 3}));
    assert_eq!(emulator.twin("d1")["tags"], json!({}));
    assert_eq!(results(&service, "jobId = 'j'").await[0]["moduleId"], "m");
}

#[tokio::test]
async fn a_job_waits_for_its_start_time() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let _ = emulator.device("d1");
    let start = Timestamp::now() + SignedDuration::from_secs(1);
    let made = service
        .put("/jobs/v2/j", &twin_job("*", start))
        .await
        .json();
    assert_eq!(made["status"], "queued");
    let job = ended(&emulator, "j").await;
    let ended: Timestamp = job["endTime"].as_str().unwrap().parse().unwrap();
    assert!(ended >= start, "{ended} is before {start}");
    assert_eq!(emulator.twin("d1")["tags"], json!({"floor": 3}));
}

#[tokio::test]
async fn a_cancelled_job_does_nothing_more() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(METHODS).await;
    device.subscribe(TWIN_ANSWERS).await;
    service
        .put("/jobs/v2/running", &method_job("*", Timestamp::now()))
        .await;
    let (_, rid, _) = device.method().await;
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    service.put("/jobs/v2/waiting", &twin_job("*", later)).await;

    for job in ["running", "waiting"] {
        let cancel = format!("/jobs/v2/{job}/cancel");
        let cancelled = service.call(Method::POST, &cancel, None, &[]).await;
        assert_eq!(
            (cancelled.status, &cancelled.json()["status"]),
            (200, &json!("cancelled"))
        );
    }
    device.answer(&rid, 200, "1").await;
    device.twin().await;
    assert_eq!(
        results(&service, "jobId = 'running'").await[0]["status"],
        "canceled"
    );
    assert_eq!(
        service.get("/jobs/v2/running").await.json()["status"],
        "cancelled"
    );
}

#[tokio::test]
async fn a_job_ends_when_its_time_is_over() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let mut device = Device::connect(&emulator, "d1").await;
    device.subscribe(METHODS).await;
    let mut job = method_job("*", Timestamp::now());
    job["maxExecutionTimeInSeconds"] = json!(1);
    service.put("/jobs/v2/j", &job).await;
    device.method().await;
    let job = ended(&emulator, "j").await;
    assert_eq!(
        (&job["status"], &job["deviceJobStatistics"]["failedCount"]),
        (&json!("failed"), &json!(1))
    );
}

#[tokio::test]
async fn jobs_are_listed_by_type_and_state_page_by_page() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    for id in ["a", "b", "c"] {
        service
            .put(&format!("/jobs/v2/{id}"), &method_job("*", later))
            .await;
    }
    service.put("/jobs/v2/d", &twin_job("*", later)).await;
    service
        .call(Method::POST, "/jobs/v2/b/cancel", None, &[])
        .await;

    let path = "/jobs/v2/query?jobType=ScheduleDeviceMethod&jobStatus=queued";
    let page = [("x-ms-max-item-count", "1")];
    let first = service.call(Method::GET, path, None, &page).await;
    assert_eq!(first.header("x-ms-item-type"), Some("JobResponse"));
    let next = first.header("x-ms-continuation").unwrap();
    let page = [("x-ms-max-item-count", "1"), ("x-ms-continuation", next)];
    let second = service.call(Method::GET, path, None, &page).await;
    assert_eq!(second.header("x-ms-continuation"), None);
    assert_eq!(
        [&first.json()[0]["jobId"], &second.json()[0]["jobId"]],
        ["a", "c"]
    );
    let all = service.get("/jobs/v2/query").await.json();
    assert_eq!(all.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_job_that_cannot_be_is_refused() {
    let emulator = emulator().await;
    let service = Service::owner(&emulator);
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    assert_eq!(
        service
            .put("/jobs/v2/j", &twin_job("*", later))
            .await
            .status,
        200
    );
    let again = service.put("/jobs/v2/j", &twin_job("*", later)).await;
    check_refused(&again, 409, "JobAlreadyExists");
    check_refused(&service.get("/jobs/v2/other").await, 404, "JobNotFound");
    let cancel = service
        .call(Method::POST, "/jobs/v2/other/cancel", None, &[])
        .await;
    check_refused(&cancel, 404, "JobNotFound");
    let mut without_etag = twin_job("*", later);
    without_etag["updateTwin"]
        .as_object_mut()
        .unwrap()
        .remove("etag");
    check_refused(
        &service.put("/jobs/v2/k", &without_etag).await,
        412,
        "PreconditionFailed",
    );
    check_refused(
        &service.put("/jobs/v2/k", &json!("x")).await,
        400,
        "ArgumentInvalid",
    );
    let reader = emulator
        .policy_connection_string("registryReadWrite")
        .unwrap();
    let reader = Service::new(&emulator, &reader);
    assert_eq!(reader.get("/jobs/v2/j").await.status, 401);
}
