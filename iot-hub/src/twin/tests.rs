//! Merge laws, limits, versions and metadata, and the document as captured.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> Properties {
    serde_json::from_value(value).unwrap()
}

#[test]
fn merges_as_documented() {
    #[track_caller]
    fn check(stored: Value, patch: Value, expected: Value) {
        let mut target = object(stored);
        merge(&mut target, &object(patch));
        assert_eq!(Value::Object(target), expected);
    }
    check(
        json!({"a": {"b": 1, "c": 2}}),
        json!({"a": {"b": null}}),
        json!({"a": {"c": 2}}),
    );
    check(
        json!({"a": 1}),
        json!({"a": {"x": 1}}),
        json!({"a": {"x": 1}}),
    );
    check(json!({"l": [1, 2]}), json!({"l": [3]}), json!({"l": [3]}));
    check(json!({"a": 1}), json!({"b": null}), json!({"a": 1}));
    check(json!({"a": {"b": 1}}), json!({}), json!({"a": {"b": 1}}));
    check(
        json!({}),
        json!({"a": {"b": null, "c": {"d": null}}}),
        json!({"a": {"c": {}}}),
    );
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[track_caller]
fn check_valid(patch: Value) {
    assert_eq!(validate(SectionKind::Reported, &object(patch)), Ok(()));
}

#[track_caller]
fn check_refused(patch: Value, message: &str) {
    let error = validate(SectionKind::Reported, &object(patch)).unwrap_err();
    assert_eq!(error.to_string(), message);
}

/// An object that holds so many further objects, one in the other, and a number at the end.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({"leaf": 1}), |inner, _| json!({ "a": inner }))
}

#[test]
fn names_are_limited() {
    check_valid(json!({"a-b_c#/é": 1, "": 2}));
    check_valid(json!({ "x".repeat(1024): 1 }));
    check_refused(
        json!({ "x".repeat(1025): 1 }),
        &format!(
            "length 1025 of property name {} exceeds the maximum of 1024 bytes",
            "x".repeat(40)
        ),
    );
    for bad in ['.', '$', ' ', '\n', '\u{85}'] {
        let message = format!(
            "property name \"a{}\" contains the invalid character {bad:?}",
            bad.escape_debug()
        );
        check_refused(json!({"ok": {"deep": {format!("a{bad}"): 1}}}), &message);
    }
    check_refused(
        json!({"$version": 1}),
        "property name \"$version\" contains the invalid character '$'",
    );
}

#[test]
fn values_are_limited() {
    check_valid(json!({"s": "x".repeat(4096)}));
    check_refused(
        json!({"s": "x".repeat(4097)}),
        "value of property s has 4097 bytes, more than the maximum of 4096",
    );
    check_refused(
        json!({"s": ["é".repeat(2049)]}),
        "value of property s has 4098 bytes, more than the maximum of 4096",
    );

    check_valid(
        json!({"a": -4_503_599_627_370_496_i64, "b": 4_503_599_627_370_495_i64, "c": 1e300}),
    );
    let bounds = "value of property n is out of bounds: integers are between -4503599627370496 and 4503599627370495";
    check_refused(json!({"n": 4_503_599_627_370_496_i64}), bounds);
    check_refused(json!({"n": -4_503_599_627_370_497_i64}), bounds);
    check_refused(json!({"n": u64::MAX}), bounds);

    check_valid(json!({"gone": null, "deep": {"gone": null}, "list": [1, "a", {"b": [true]}]}));
    let nulls = "arrays cannot contain null, nor can objects in them";
    check_refused(json!({"l": [1, null]}), nulls);
    check_refused(json!({"l": [{"a": null}]}), nulls);
    check_refused(json!({"l": [{"a": {"b": null}}]}), nulls);
    check_refused(json!({"l": [[null]]}), nulls);
}

#[test]
fn depth_is_limited_to_ten_below_the_section() {
    check_valid(nested(10));
    check_refused(nested(11), "nested depth at property a exceeds 10");
    let list = (0..9).fold(json!([]), |inner, _| json!([inner]));
    check_valid(json!({ "l": list }));
    check_refused(
        json!({"l": [list]}),
        "nested depth at property l exceeds 10",
    );
}

#[test]
fn size_counts_names_and_values() {
    // Nine bytes of name and number each.
    let section = |properties: usize| {
        object(
            (0..properties)
                .map(|n| (format!("{n:04}"), json!(1)))
                .collect(),
        )
    };
    assert_eq!(validate(SectionKind::Tags, &section(682)), Ok(()));
    assert_eq!(
        validate(SectionKind::Tags, &section(683)),
        Err(TwinError::TooLarge {
            kind: SectionKind::Tags,
            bytes: 8196
        })
    );
    assert_eq!(validate(SectionKind::Desired, &section(2730)), Ok(()));
    assert!(validate(SectionKind::Reported, &section(2731)).is_err());

    // 8 + 4 + 0 + 3 bytes of values, the control character not counted, and 5 of names.
    let mixed = object(json!({"n": 1.5, "b": true, "z": null, "s": "a\né", "o": {"": []}}));
    let filler = "x".repeat(4096);
    let padded = |rest: usize| {
        let mut padded = mixed.clone();
        padded.extend(object(
            json!({"1": filler, "2": filler[..4096 - 20 - 2 + rest]}),
        ));
        validate(SectionKind::Tags, &padded)
    };
    assert_eq!(padded(0), Ok(()));
    assert_eq!(
        padded(1),
        Err(TwinError::TooLarge {
            kind: SectionKind::Tags,
            bytes: 8193
        })
    );
}

#[test]
fn what_does_not_count_is_bounded_all_the_same() {
    let empty = json!([[], {}]);
    let lists = |count: usize| json!({"l": vec![&empty; count]});
    check_valid(lists(1_000));
    let told = "reported properties hold too many empty values or control characters";
    check_refused(lists(30_000), told);
    let controls: serde_json::Map<_, _> = (0..300)
        .map(|number| (number.to_string(), json!("\u{1}".repeat(4096))))
        .collect();
    check_refused(controls.into(), told);

    // Neither does it grow by and by.
    let mut reported = object(lists(10_000));
    for name in ["a", "b", "c"] {
        let more = object(json!({ name: vec![&empty; 10_000] }));
        let grown = patch(SectionKind::Reported, &mut reported, &more);
        assert_eq!(grown.is_ok(), name == "a", "{name}");
    }
    // All that counts may be there: as many names as there can be.
    let names: serde_json::Map<_, _> = (0..8_000).map(|n| (format!("{n:04}"), json!(""))).collect();
    check_valid(names.into());
}

#[test]
fn a_patch_may_not_make_a_section_too_large() {
    let mut tags = object(json!({"a": "x".repeat(4000), "b": "x".repeat(4000)}));
    let before = tags.clone();
    let refused = patch(
        SectionKind::Tags,
        &mut tags,
        &object(json!({"a": null, "c": "x".repeat(4096), "d": "x".repeat(100)})),
    );
    assert_eq!(
        refused,
        Err(TwinError::TooLarge {
            kind: SectionKind::Tags,
            bytes: 8199
        })
    );
    assert_eq!(tags, before);
    assert_eq!(
        patch(
            SectionKind::Tags,
            &mut tags,
            &object(json!({"a": null, "c": "x".repeat(4096)}))
        ),
        Ok(())
    );
    assert_eq!(tags.keys().collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn every_update_raises_the_version_by_one() {
    let mut section = Section::new(SectionKind::Reported, at(0));
    assert_eq!(section.version(), 1);
    assert_eq!(
        section.patch(&object(json!({"a": {"b": 1, "c": 2}})), at(1)),
        Ok(2)
    );
    assert_eq!(section.patch(&object(json!({})), at(2)), Ok(3));
    assert_eq!(section.patch(&object(json!({"none": null})), at(3)), Ok(4));
    let before = section.clone();
    assert!(
        section
            .patch(&object(json!({"$version": 9})), at(4))
            .is_err()
    );
    assert!(section.replace(&object(json!({"a b": 9})), at(4)).is_err());
    assert_eq!(section, before);
    assert_eq!(section.replace(&object(json!({"d": 1})), at(5)), Ok(5));
    assert_eq!(section.to_value(false), json!({"d": 1, "$version": 5}));
}

#[test]
fn metadata_tells_when_each_property_was_written() {
    let mut section = Section::new(SectionKind::Desired, at(0));
    section
        .patch(&object(json!({"a": {"b": 1, "c": 2}, "l": [1]})), at(10))
        .unwrap();
    section
        .patch(
            &object(json!({"a": {"b": 3}})),
            at(20) + SignedDuration::from_nanos(1_234_567_899),
        )
        .unwrap();
    assert_eq!(
        section.to_value(true),
        json!({
            "a": {"b": 3, "c": 2},
            "l": [1],
            "$metadata": {
                "$lastUpdated": "1970-01-01T00:00:21.2345678Z",
                "$lastUpdatedVersion": 3,
                "a": {
                    "$lastUpdated": "1970-01-01T00:00:21.2345678Z",
                    "$lastUpdatedVersion": 3,
                    "b": {"$lastUpdated": "1970-01-01T00:00:21.2345678Z", "$lastUpdatedVersion": 3},
                    "c": {"$lastUpdated": "1970-01-01T00:00:10.0000000Z", "$lastUpdatedVersion": 2},
                },
                "l": {"$lastUpdated": "1970-01-01T00:00:10.0000000Z", "$lastUpdatedVersion": 2},
            },
            "$version": 3,
        })
    );
    assert_eq!(section.last_updated(&["a", "c"]), Some(at(10)));
    assert_eq!(section.last_updated_version(&["a", "c"]), Some(2));
    assert_eq!(section.get(&["a", "c"]), Some(&json!(2)));
    assert_eq!(section.last_updated(&["a", "x"]), None);
    assert_eq!(section.get(&["l", "x"]), None);

    section
        .patch(
            &object(json!({"a": null, "l": {"new": {"gone": null}}})),
            at(30),
        )
        .unwrap();
    assert_eq!(section.last_updated(&["a"]), None);
    assert_eq!(section.last_updated(&["l", "new"]), Some(at(30)));
    assert_eq!(section.last_updated(&["l", "new", "gone"]), None);
    section.patch(&object(json!({"l": 1})), at(40)).unwrap();
    assert_eq!(section.last_updated(&["l", "new"]), None);
}

#[test]
fn reported_metadata_has_no_versions() {
    let mut section = Section::new(SectionKind::Reported, at(0));
    section.patch(&object(json!({"a": 1})), at(1)).unwrap();
    assert_eq!(
        section.to_value(true)["$metadata"],
        json!({"$lastUpdated": "1970-01-01T00:00:01.0000000Z", "a": {"$lastUpdated": "1970-01-01T00:00:01.0000000Z"}})
    );
}

#[test]
fn services_may_send_back_what_they_read() {
    let mut section = Section::new(SectionKind::Desired, at(0));
    section.patch(&object(json!({"a": 1})), at(1)).unwrap();
    let read = object(section.to_value(true));
    assert_eq!(section.patch(&read, at(2)), Ok(3));
    assert_eq!(section.to_value(false), json!({"a": 1, "$version": 3}));
}

#[test]
fn the_document_is_as_the_service_writes_it() {
    let twin = Twin::new("d1".parse().unwrap(), None, at(0));
    let section = |metadata: Value| json!({"$metadata": metadata, "$version": 1});
    assert_eq!(
        twin.to_value(),
        json!({
            "deviceId": "d1",
            "etag": "AAAAAAAAAAE=",
            "deviceEtag": "AAAAAAAAAAE=",
            "status": "enabled",
            "statusUpdateTime": "0001-01-01T00:00:00Z",
            "connectionState": "Disconnected",
            "lastActivityTime": "0001-01-01T00:00:00Z",
            "cloudToDeviceMessageCount": 0,
            "authenticationType": "sas",
            "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
            "modelId": "",
            "version": 2,
            "tags": {},
            "properties": {
                "desired": section(json!({"$lastUpdated": "1970-01-01T00:00:00.0000000Z", "$lastUpdatedVersion": 1})),
                "reported": section(json!({"$lastUpdated": "1970-01-01T00:00:00.0000000Z"})),
            },
            "capabilities": {"iotEdge": false},
        })
    );
    assert_eq!(
        twin.to_device_value(),
        json!({"desired": {"$version": 1}, "reported": {"$version": 1}})
    );
}

#[test]
fn a_twin_is_read_as_it_was_written() {
    let mut twin = Twin::new("d1".parse().unwrap(), Some("m1".parse().unwrap()), at(0));
    twin.enabled = false;
    twin.connected = true;
    twin.status_reason = Some("lost".to_owned());
    twin.status_updated = Some(at(7));
    twin.last_activity = Some(at(8));
    twin.model_id = Some("dtmi:x;1".to_owned());
    twin.iot_edge = true;
    twin.x509_thumbprints = [Some("A1".to_owned()), None];
    twin.tags = object(json!({"a": {"b": 1}}));
    twin.desired
        .patch(&object(json!({"x": {"y": [1]}})), at(9))
        .unwrap();
    twin.reported
        .patch(&object(json!({"x": {"y": 2}})), at(10))
        .unwrap();
    assert_eq!(Twin::from_value(&twin.to_value()), Ok(twin));
}

#[test]
fn a_client_tolerates_what_is_missing_or_unknown() {
    let twin = Twin::from_value(&json!({
        "deviceId": "d",
        "surprise": [1],
        "lastActivityTime": "0001-01-01T00:00:00",
        "statusUpdateTime": "2021-05-27T18:32:11.1234567",
        "properties": {"reported": {"a": 1, "$metadata": {"$lastUpdated": "2021-05-27T18:32:11+02:00", "a": 5}}},
    }))
    .unwrap();
    assert!(twin.enabled && !twin.connected);
    assert_eq!(twin.last_activity, None);
    assert_eq!(
        twin.status_updated,
        "2021-05-27T18:32:11.1234567Z".parse().ok()
    );
    assert_eq!(twin.reported.properties(), &object(json!({"a": 1})));
    assert_eq!(
        twin.reported.last_updated(&[]),
        "2021-05-27T16:32:11Z".parse().ok()
    );
    assert_eq!(twin.reported.last_updated(&["a"]), None);
    assert_eq!((twin.reported.version(), twin.desired.version()), (0, 0));
}

#[test]
fn refuses_what_is_no_twin() {
    #[track_caller]
    fn check(document: Value, message: &str) {
        assert_eq!(
            Twin::from_value(&document).unwrap_err().to_string(),
            message
        );
    }
    check(json!(null), "twin has no `deviceId`");
    check(json!({"deviceId": 1}), "twin has no `deviceId`");
    check(json!({"deviceId": ""}), "twin's id is empty");
    check(
        json!({"deviceId": "d", "tags": []}),
        "twin's tags is not an object",
    );
    check(
        json!({"deviceId": "d", "properties": {"desired": 1}}),
        "twin's desired is not an object",
    );
}

/// JSON with few names, so that patches meet what is there; `nulls` allows `null` in objects.
fn properties(nulls: bool) -> impl Strategy<Value = Properties> {
    let leaf = prop_oneof![
        3 => any::<i8>().prop_map(Value::from),
        1 => "[a-z]{0,3}".prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => proptest::collection::vec(any::<i8>().prop_map(Value::from), 0..3).prop_map(Value::Array),
        u32::from(nulls) * 2 => Just(Value::Null),
    ];
    let value = leaf.prop_recursive(3, 20, 4, |inner| {
        proptest::collection::btree_map("[abc]", inner, 0..4)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    });
    proptest::collection::btree_map("[abc]", value, 0..4)
        .prop_map(|fields| fields.into_iter().collect())
}

fn merged(target: &Properties, patch: &Properties) -> Properties {
    let mut result = target.clone();
    merge(&mut result, patch);
    result
}

/// A merge patch by its definition, on any values: slower, and simple enough to be believed.
fn rfc_7396(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut target = if let Value::Object(target) = target {
        target
    } else {
        Properties::new()
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let old = target.remove(name).unwrap_or_default();
            target.insert(name.clone(), rfc_7396(old, value));
        }
    }
    Value::Object(target)
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    }
}

proptest! {
    #[test]
    fn merging_follows_the_rfc(target in properties(false), patch in properties(true)) {
        let expected = rfc_7396(Value::Object(target.clone()), &Value::Object(patch.clone()));
        prop_assert_eq!(Value::Object(merged(&target, &patch)), expected);
    }

    #[test]
    fn merging_twice_is_merging_once(target in properties(false), patch in properties(true)) {
        let once = merged(&target, &patch);
        prop_assert_eq!(merged(&once, &patch), once);
    }

    #[test]
    fn merging_leaves_no_null(target in properties(false), patch in properties(true)) {
        prop_assert!(!has_null(&Value::Object(merged(&target, &patch))));
    }

    #[test]
    fn nulls_remove_everything(target in properties(false)) {
        let nulls = target.keys().map(|name| (name.clone(), Value::Null)).collect();
        prop_assert!(merged(&target, &nulls).is_empty());
    }

    #[test]
    fn a_section_is_read_as_it_was_written(patches in proptest::collection::vec(properties(true), 0..4), desired in any::<bool>()) {
        let kind = if desired { SectionKind::Desired } else { SectionKind::Reported };
        let mut section = Section::new(kind, at(0));
        for (second, patch) in (1..).zip(&patches) {
            prop_assert_eq!(section.patch(patch, at(second)), Ok(second as u64 + 1));
        }
        prop_assert_eq!(Section::from_value(kind, &section.to_value(true)), Some(section));
    }

    #[test]
    fn every_property_has_metadata_and_nothing_else_does(patches in proptest::collection::vec(properties(true), 0..4)) {
        let mut section = Section::new(SectionKind::Reported, at(0));
        for patch in &patches {
            section.patch(patch, at(1)).unwrap();
        }
        fn mirror(metadata: &Value, value: &Value) -> bool {
            let names = |value: &Value| -> Vec<String> {
                let fields = value.as_object().into_iter().flatten();
                fields.map(|(name, _)| name.clone()).filter(|name| !name.starts_with('$')).collect()
            };
            names(metadata) == names(value) && names(value).iter().all(|name| mirror(&metadata[name], &value[name]))
        }
        let value = section.to_value(true);
        prop_assert!(mirror(&value["$metadata"], &value), "{}", value);
    }
}
