//! Jobs as values.

use iot_hub::sas::SharedKey;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::hub::{Identity, IdentityRequest};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn hub_with(ids: &[&str]) -> Hub {
    let mut hub = Hub::default();
    for id in ids {
        let key = || SharedKey::from_bytes(vec![1; 32]).unwrap();
        let identity = Identity::new(IdentityRequest::default(), key);
        hub.create(entity(id), identity, at(0)).unwrap();
    }
    hub
}

fn entity(id: &str) -> EntityId {
    EntityId {
        device: id.parse().unwrap(),
        module: None,
    }
}

fn job(id: &str) -> JobId {
    id.parse().unwrap()
}

fn body(condition: &str, start: i64) -> Value {
    json!({
        "type": "scheduleUpdateTwin",
        "updateTwin": {"etag": "*", "properties": {"desired": {"a": 1}}},
        "queryCondition": condition,
        "startTime": at(start).to_string(),
    })
}

fn read(body: &Value) -> Result<JobRequest, ErrorCode> {
    JobRequest::read(&job("j"), body.to_string().as_bytes()).map_err(|error| error.code.unwrap())
}

fn create(hub: &mut Hub, id: &str, condition: &str, start: i64, now: i64) {
    let request = read(&body(condition, start)).unwrap();
    hub.create_job(job(id), request, None, at(now)).unwrap();
}

fn counts(hub: &Hub, id: &str) -> [u64; 5] {
    let statistics = &hub.job(&job(id)).unwrap()["deviceJobStatistics"];
    ["device", "pending", "running", "succeeded", "failed"]
        .map(|name| statistics[format!("{name}Count")].as_u64().unwrap())
}

fn status(hub: &Hub, id: &str) -> String {
    hub.job(&job(id)).unwrap()["status"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_job_waits_for_its_time_and_ends_with_its_last_device() {
    let mut hub = hub_with(&["d1", "d2"]);
    create(&mut hub, "j", "*", 100, 0);
    assert_eq!(
        (hub.due_job(at(99)), hub.next_job_start()),
        (None, Some(at(100)))
    );
    assert_eq!(status(&hub, "j"), "queued");
    assert_eq!(hub.due_job(at(100)), Some(job("j")));

    let started = hub.start_job(&job("j"), at(100)).unwrap();
    assert_eq!(started.devices, [entity("d1"), entity("d2")]);
    assert_eq!(
        (status(&hub, "j").as_str(), counts(&hub, "j")),
        ("running", [2, 2, 0, 0, 0])
    );
    assert_eq!((hub.due_job(at(100)), hub.next_job_start()), (None, None));

    hub.job_begins(&job("j"), &entity("d1"), at(101));
    assert_eq!(counts(&hub, "j"), [2, 1, 1, 0, 0]);
    hub.job_ends(&job("j"), &entity("d1"), Ok(json!(null)), at(102));
    hub.job_begins(&job("j"), &entity("d2"), at(102));
    hub.job_ends(
        &job("j"),
        &entity("d2"),
        Err(HubError::no_answer()),
        at(103),
    );
    assert_eq!(
        (status(&hub, "j").as_str(), counts(&hub, "j")),
        ("completed", [2, 0, 0, 1, 1])
    );
    let value = hub.job(&job("j")).unwrap();
    assert_eq!(value["endTime"], json!(print(at(103))));
    assert_eq!(hub.job_rows()[1]["error"]["code"], "504101");
}

#[test]
fn jobs_start_in_the_order_of_their_times() {
    let mut hub = hub_with(&[]);
    create(&mut hub, "b", "*", 5, 0);
    create(&mut hub, "a", "*", 9, 0);
    create(&mut hub, "c", "*", 5, 0);
    for expected in ["b", "c", "a"] {
        assert_eq!(hub.due_job(at(9)), Some(job(expected)));
        assert_eq!(hub.start_job(&job(expected), at(9)).unwrap().devices, []);
        assert_eq!(status(&hub, expected), "completed");
    }
}

#[test]
fn only_a_condition_can_be_a_target() {
    for (condition, devices) in [
        ("*", 2),
        ("deviceId IN ['d1','x']", 1),
        ("DeviceId in ['d1']", 1),
        ("from devices where deviceId != 'd1'", 1),
        ("FROM devices.modules", 0),
    ] {
        let mut hub = hub_with(&["d1", "d2"]);
        create(&mut hub, "j", condition, 0, 0);
        let started = hub.start_job(&job("j"), at(0)).unwrap();
        assert_eq!(started.devices.len(), devices, "{condition}");
    }
    for condition in [
        "SELECT * FROM devices",
        "deviceId =",
        "FROM devices.jobs",
        "'ü",
    ] {
        let mut hub = hub_with(&["d1"]);
        create(&mut hub, "j", condition, 0, 0);
        assert!(hub.start_job(&job("j"), at(0)).is_none());
        assert_eq!(status(&hub, "j"), "failed", "{condition}");
        assert!(hub.job(&job("j")).unwrap()["failureReason"].is_string());
    }
}

#[test]
fn a_request_that_breaks_a_rule_gets_the_code_that_the_hub_has_for_it() {
    use ErrorCode::{ArgumentInvalid, GenericBadRequest, PreconditionFailed};
    let with = |field: &str, value: Value| {
        let mut body = body("*", 0);
        body[field] = value;
        read(&body).map(|_| ())
    };
    assert_eq!(
        with("updateTwin", json!({"tags": {}})),
        Err(PreconditionFailed)
    );
    assert_eq!(
        with("queryCondition", json!("x".repeat(8193))),
        Err(PreconditionFailed)
    );
    assert_eq!(with("queryCondition", json!("")), Err(ArgumentInvalid));
    assert_eq!(with("startTime", json!(null)), Err(ArgumentInvalid));
    assert_eq!(with("startTime", json!("soon")), Err(ArgumentInvalid));
    assert_eq!(with("jobId", json!("other")), Err(ArgumentInvalid));
    assert_eq!(with("type", json!("export")), Err(GenericBadRequest));
    assert_eq!(
        with("type", json!("scheduleDeviceMethod")),
        Err(ArgumentInvalid)
    );
    assert_eq!(
        with("startTime", json!("2026-11-23T00:54:38.770873")),
        Ok(())
    );
    assert_eq!(with("type", json!("ScheduleUpdateTwin")), Ok(()));
}

#[test]
fn a_tier_bounds_the_active_jobs_and_not_those_that_wait_for_their_time() {
    let mut hub = hub_with(&["d1"]);
    let mut create = |id: &str, start| {
        let request = read(&body("*", start)).unwrap();
        let created = hub.create_job(job(id), request, Some(1), at(0));
        created.map_err(|error| error.code.unwrap())
    };
    assert!(create("later", 100).is_ok());
    assert!(create("first", 0).is_ok());
    assert_eq!(
        create("second", 0).unwrap_err(),
        ErrorCode::ThrottlingMaxActiveJobCountExceeded
    );
    assert_eq!(create("first", 0).unwrap_err(), ErrorCode::JobAlreadyExists);
}

#[test]
fn an_ended_job_is_forgotten_after_thirty_days() {
    let mut hub = hub_with(&[]);
    create(&mut hub, "old", "*", 0, 0);
    hub.cancel_job(&job("old"), at(0)).unwrap();
    create(&mut hub, "new", "*", 0, HISTORY.as_secs());
    assert_eq!(
        hub.job(&job("old")).unwrap_err().code,
        Some(ErrorCode::JobNotFound)
    );
}

proptest! {
    /// Whatever happens to a running job in whatever order, it ends once and nothing changes then.
    #[test]
    fn an_ended_job_stays_as_it_is(steps in proptest::collection::vec(0..5, 1..30)) {
        let mut hub = hub_with(&["d1", "d2"]);
        create(&mut hub, "j", "*", 0, 0);
        let mut end = None;
        for (now, step) in (1..).zip(steps) {
            let device = entity(if now % 2 == 0 { "d1" } else { "d2" });
            match step {
                0 => drop(hub.start_job(&job("j"), at(now))),
                1 => hub.job_begins(&job("j"), &device, at(now)),
                2 => hub.job_ends(&job("j"), &device, Ok(Value::Null), at(now)),
                3 => hub.job_times_out(&job("j"), at(now)),
                _ => drop(hub.cancel_job(&job("j"), at(now))),
            }
            let value = (hub.job(&job("j")).unwrap(), hub.job_rows());
            if let Some(end) = &end {
                prop_assert_eq!(&value, end);
            } else if !value.0["endTime"].is_null() {
                let counts = counts(&hub, "j");
                prop_assert_eq!((counts[1], counts[2]), (0, 0));
                end = Some(value);
            }
        }
    }
}
