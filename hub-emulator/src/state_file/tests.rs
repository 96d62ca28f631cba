//! What is in the file at any moment, and what a hub makes of it.

use iot_hub::sas::SharedKey;
use iot_hub::twin::Twin;
use jiff::Timestamp;
use serde_json::json;

use std::collections::BTreeMap;

use iot_hub::identity::DeviceId;
use iot_hub::query::Source;

use super::*;
use crate::hub::{
    ConfigurationId, ConfigurationRequest, EntityId, Identity, IdentityRequest, JobId, JobRequest,
    Record, TwinChange,
};

fn now() -> Timestamp {
    "2026-11-23T03:30:00Z".parse().unwrap()
}

fn key(byte: u8) -> SharedKey {
    SharedKey::from_bytes(vec![byte; 32]).unwrap()
}

fn device(id: &str) -> EntityId {
    EntityId::from(id.parse::<DeviceId>().unwrap())
}

fn open(path: &Path) -> Result<(StateFile, Hub), StateError> {
    let (mut policies, mut hub) = (Policies::new(|| key(1)), Hub::default());
    StateFile::open(path, &mut policies, &mut hub).map(|file| (file, hub))
}

fn create(hub: &mut Hub, id: &str) {
    let identity = Identity::new(IdentityRequest::default(), || key(2));
    hub.create(device(id), identity, now()).unwrap();
}

fn set_tag(hub: &mut Hub, id: &str, value: &serde_json::Value) {
    let body = json!({"tags": {"t": value}});
    let change = TwinChange::merge(body.as_object().unwrap()).unwrap();
    hub.change_twin(&device(id), change, None, now()).unwrap();
}

/// The tag of every device, by id.
fn tags(hub: &Hub) -> BTreeMap<String, serde_json::Value> {
    let tag = |(id, _): (&EntityId, Record)| {
        let tag = hub.twin(id).unwrap().tags.get("t").cloned();
        (id.to_string(), tag.unwrap_or_default())
    };
    hub.records().map(tag).collect()
}

/// Makes a job that sets a property of every device, and starts it.
fn start_job(hub: &mut Hub, id: &JobId) {
    let body = json!({
        "type": "scheduleUpdateTwin",
        "updateTwin": {"etag": "*", "properties": {"desired": {"a": 1}}},
        "queryCondition": "*",
        "startTime": now().to_string(),
        "maxExecutionTimeInSeconds": 60,
    });
    let request = JobRequest::read(id, body.to_string().as_bytes()).unwrap();
    hub.create_job(id.clone(), request, None, now()).unwrap();
    hub.start_job(id, now()).unwrap();
}

fn put_configuration(hub: &mut Hub, id: &str, priority: u32) {
    let id: ConfigurationId = id.parse().unwrap();
    let body = json!({
        "priority": priority,
        "targetCondition": "tags.t > 0",
        "content": {"deviceContent": {"properties.desired.c": 1}},
        "metrics": {"queries": {"m": "SELECT deviceId FROM devices"}},
        "labels": {"l": "1"},
    });
    let request = ConfigurationRequest::read(&id, body.to_string().as_bytes()).unwrap();
    let any = iot_hub::etag::IfMatch::Any;
    let condition = hub.configuration(&id).ok().map(|_| &any);
    hub.put_configuration(id, request, condition, now())
        .unwrap();
}

/// What a hub that ends now is after a restart, as far as a client can see it.
fn restarted(lines: impl Iterator<Item = Line>) -> serde_json::Value {
    let mut newest = Newest::default();
    for (number, line) in lines.enumerate() {
        newest.take(number, line).unwrap();
    }
    let mut hub = Hub::default();
    newest.restore(&mut hub).unwrap();
    seen(&hub)
}

fn seen(hub: &Hub) -> serde_json::Value {
    json!({
        "twins": hub.rows(Source::Devices),
        "jobs": hub.list_jobs(None, None),
        "outcomes": hub.rows(Source::Jobs),
        "configurations": hub.list_configurations(100),
    })
}

#[test]
fn a_file_cut_anywhere_holds_all_that_was_kept_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let (mut file, mut hub) = open(&path).unwrap();
    let length = || std::fs::metadata(&path).unwrap().len();
    // After each change: how long the file was, and what a hub was then to be after a restart.
    let mut history = vec![(length(), restarted(hub.lines()))];
    let any = iot_hub::etag::IfMatch::Any;
    let job: JobId = "a job".parse().unwrap();
    for step in 0..11 {
        match step {
            0 | 1 => create(&mut hub, &format!("d{step}")),
            2 => put_configuration(&mut hub, "c1", 1),
            3 => start_job(&mut hub, &job),
            4 => put_configuration(&mut hub, "c1", 2),
            5 => hub.job_begins(&job, &device("d0"), now()),
            6 => hub.job_ends(&job, &device("d0"), Ok(json!({"status": 200})), now()),
            7 => hub
                .delete_configuration(&"c1".parse().unwrap(), &any)
                .unwrap(),
            8 => drop(hub.delete(&device("d0"), &any, now()).unwrap()),
            9 => drop(hub.cancel_job(&job, now()).unwrap()),
            _ => set_tag(&mut hub, "d1", &json!(step)),
        }
        file.keep(&mut hub);
        history.push((length(), restarted(hub.lines())));
    }
    drop(file);

    let bytes = std::fs::read(&path).unwrap();
    let first = usize::try_from(history[0].0).unwrap();
    for cut in first..=bytes.len() {
        let (mut policies, mut hub) = (Policies::new(|| key(1)), Hub::default());
        read(&bytes[..cut], &mut policies, &mut hub).unwrap();
        let whole = history.iter().rev().find(|(size, _)| *size <= cut as u64);
        assert_eq!(seen(&hub), whole.unwrap().1, "cut at {cut}");
    }
}

#[test]
fn a_job_that_was_running_goes_on_with_the_devices_that_it_had_not_begun_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let job: JobId = "a job".parse().unwrap();
    {
        let (mut file, mut hub) = open(&path).unwrap();
        for id in ["done", "lost", "waiting"] {
            create(&mut hub, id);
        }
        start_job(&mut hub, &job);
        for id in ["done", "lost"] {
            hub.job_begins(&job, &device(id), now());
        }
        hub.job_ends(&job, &device("done"), Ok(json!({"status": 200})), now());
        file.keep(&mut hub);
    }
    let (file, mut hub) = open(&path).unwrap();
    let due = hub.due_job(now());
    assert_eq!(due.as_ref(), Some(&job));
    let started = hub.start_job(&job, now()).unwrap();
    assert_eq!(started.devices, [device("waiting")]);
    hub.job_begins(&job, &device("waiting"), now());
    hub.job_ends(&job, &device("waiting"), Ok(serde_json::Value::Null), now());
    let value = hub.job(&job).unwrap();
    assert_eq!(value["status"], "completed");
    let counts = &value["deviceJobStatistics"];
    assert_eq!(
        (&counts["succeededCount"], &counts["failedCount"]),
        (&json!(2), &json!(1))
    );
    drop(file);
}

#[test]
fn configurations_are_applied_again_to_whoever_they_had_not_reached() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    {
        let (mut file, mut hub) = open(&path).unwrap();
        create(&mut hub, "d1");
        set_tag(&mut hub, "d1", &json!(1));
        put_configuration(&mut hub, "c1", 1);
        put_configuration(&mut hub, "c1", 2);
        file.keep(&mut hub);
    }
    let (file, mut hub) = open(&path).unwrap();
    let id: ConfigurationId = "c1".parse().unwrap();
    let before = hub.configuration(&id).unwrap();
    assert_eq!(
        (&before["priority"], &before["labels"]["l"]),
        (&json!(2), &json!("1"))
    );
    assert_eq!(before["metrics"]["results"]["m"], 1);
    assert!(hub.has_stale_twins());
    hub.apply_configurations(now());
    assert_eq!(
        hub.twin(&device("d1")).unwrap().desired.properties()["c"],
        1
    );
    // What is changed later has an etag of its own.
    put_configuration(&mut hub, "c1", 3);
    assert_ne!(hub.configuration(&id).unwrap()["etag"], before["etag"]);
    drop(file);
}

#[test]
fn keys_twins_and_generations_are_those_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let before: Twin;
    {
        let (mut file, mut hub) = open(&path).unwrap();
        create(&mut hub, "d1");
        set_tag(&mut hub, "d1", &json!({"a": [1, {"b": "c"}]}));
        file.keep(&mut hub);
        before = hub.twin(&device("d1")).unwrap().clone();
    }
    let (mut policies, mut hub) = (Policies::new(|| key(9)), Hub::default());
    let file = StateFile::open(&path, &mut policies, &mut hub).unwrap();
    let owner = policies.find(Policies::OWNER).unwrap();
    assert_eq!(owner.keys.primary.to_base64(), key(1).to_base64());
    let identity = hub.identity(&device("d1")).unwrap();
    let keys = identity.keys().unwrap();
    assert_eq!(keys.secondary.to_base64(), key(2).to_base64());
    assert_eq!(hub.twin(&device("d1")).unwrap(), &before);
    // A device of the same name made later must be told apart.
    create(&mut hub, "d2");
    let generation = |id| hub.identity_value(&device(id)).unwrap()["generationId"].clone();
    assert_ne!(generation("d1"), generation("d2"));
    drop(file);
}

#[test]
fn whatever_is_kept_can_be_read_again_however_deeply_it_is_nested() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let (mut file, mut hub) = open(&path).unwrap();
    create(&mut hub, "d1");
    file.keep(&mut hub);
    let lists = |depth| (1..depth).fold(json!([]), |inner, _| json!([inner]));
    let id: JobId = "deep".parse().unwrap();
    let job = |depth| {
        let body = json!({
            "type": "scheduleDeviceMethod", "queryCondition": "*",
            "cloudToDeviceMethod": {"methodName": "m", "payload": lists(depth)},
            "startTime": "2026-01-01T00:00:00Z",
        });
        JobRequest::read(&id, body.to_string().as_bytes())
    };
    let configuration: ConfigurationId = "deep".parse().unwrap();
    let labelled = |depth| {
        let body = json!({"labels": {"l": lists(depth)}}).to_string();
        ConfigurationRequest::read(&configuration, body.as_bytes())
    };
    assert!(job(99).is_err() && labelled(99).is_err());
    hub.create_job(id.clone(), job(98).unwrap(), None, now())
        .unwrap();
    hub.start_job(&id, now()).unwrap();
    let outcome = json!({"deviceMethodResponse": {"status": 200, "payload": lists(100)}});
    hub.job_ends(&id, &device("d1"), Ok(outcome), now());
    hub.put_configuration(configuration.clone(), labelled(98).unwrap(), None, now())
        .unwrap();
    // All of it in one line, which is the deepest.
    file.keep(&mut hub);
    let before = hub.job(&id).unwrap();
    file.close();
    let (_, hub) = open(&path).unwrap();
    assert_eq!(hub.job(&id).unwrap(), before);
    assert_eq!(hub.rows(Source::Jobs).len(), 1);
}

#[cfg(unix)]
#[test]
fn a_file_that_was_replaced_is_not_the_one_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let (file, _) = open(&path).unwrap();
    assert!(is_at(&file.file, &path).unwrap());
    // What another emulator finds that opened the file before this one was there.
    let (_, _) = rewrite(&path, &BTreeMap::new(), &Hub::default()).unwrap();
    assert!(!is_at(&file.file, &path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert!(!is_at(&file.file, &path).unwrap());
}

#[test]
fn a_device_is_told_apart_from_one_that_was_deleted_before_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut seen = std::collections::BTreeSet::new();
    for run in 0..3 {
        let (mut file, mut hub) = open(&path).unwrap();
        let (id, at) = (device("d1"), now() + jiff::SignedDuration::from_secs(run));
        let identity = Identity::new(IdentityRequest::default(), || key(2));
        hub.create(id.clone(), identity, at).unwrap();
        let shown = hub.identity_value(&id).unwrap();
        assert!(seen.insert(shown["generationId"].to_string()));
        assert!(seen.insert(shown["etag"].to_string()));
        hub.delete(&id, &iot_hub::etag::IfMatch::Any, at).unwrap();
        file.keep(&mut hub);
    }
}

#[test]
fn a_file_does_not_grow_with_the_number_of_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let (mut file, mut hub) = open(&path).unwrap();
    create(&mut hub, "d1");
    let long = "x".repeat(4_000);
    for number in 0..600 {
        set_tag(&mut hub, "d1", &json!(format!("{long}{number}")));
        file.keep(&mut hub);
    }
    assert!(std::fs::metadata(&path).unwrap().len() < SMALL + 10_000);
    drop(file);
    let (_, hub) = open(&path).unwrap();
    assert_eq!(tags(&hub)["d1"], json!(format!("{long}599")));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_none_of_ours_is_left_alone() {
    #[track_caller]
    fn check(text: &str, line: usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::write(&path, text).unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("read line {line} of")),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    check("{}", 1);
    check("hello", 1);
    check("{\"policies\":{}}\nhello\n", 2);
    check("{\"policies\":{}}\n\n", 2);
    check(
        "{\"jobDevice\":{\"job\":\"j\",\"device\":\"d\",\"module\":null,\"state\":{\"created\":\"2026-11-23T03:30:00Z\",\"started\":null,\"ended\":null,\"status\":\"pending\"}}}\n",
        1,
    );
    check(
        "{\"job\":{\"id\":\"j\",\"state\":{\"number\":1,\"request\":{},\"created\":\"2026-11-23T03:30:00Z\",\"ended\":null,\"status\":\"queued\",\"failure\":null}}}\n",
        1,
    );
    check(
        "{\"identity\":{\"device\":\"d/1\",\"module\":null,\"state\":null}}\n",
        1,
    );
}

#[test]
fn an_empty_file_is_a_new_one_and_only_one_hub_may_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    std::fs::write(&path, "").unwrap();
    let first = open(&path).unwrap();
    assert!(matches!(open(&path), Err(StateError::InUse(_))));
    drop(first);
    open(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn keys_are_for_the_files_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    // Also when an earlier version left it to everybody.
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    for _ in 0..2 {
        let (file, _) = open(&path).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        file.close();
    }
}
