//! What is in the file at any moment, and what a hub makes of it.

use iot_hub::sas::SharedKey;
use iot_hub::twin::Twin;
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::hub::{Identity, IdentityRequest, TwinChange};

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

#[test]
fn a_file_cut_anywhere_holds_all_that_was_kept_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let (mut file, mut hub) = open(&path).unwrap();
    // After each change: how long the file was, and what it then held.
    let mut history = vec![(std::fs::metadata(&path).unwrap().len(), tags(&hub))];
    for step in 0..6 {
        match step {
            0 | 1 => create(&mut hub, &format!("d{step}")),
            4 => {
                let any = iot_hub::etag::IfMatch::Any;
                hub.delete(&device("d0"), &any, now()).unwrap();
            }
            _ => set_tag(&mut hub, "d1", &json!(step)),
        }
        file.keep(&mut hub);
        history.push((std::fs::metadata(&path).unwrap().len(), tags(&hub)));
    }
    drop(file);

    let bytes = std::fs::read(&path).unwrap();
    let first = usize::try_from(history[0].0).unwrap();
    for cut in first..=bytes.len() {
        let (mut policies, mut hub) = (Policies::new(|| key(1)), Hub::default());
        read(&bytes[..cut], &mut policies, &mut hub).unwrap();
        let whole = history.iter().rev().find(|(size, _)| *size <= cut as u64);
        assert_eq!(tags(&hub), whole.unwrap().1, "cut at {cut}");
    }
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
