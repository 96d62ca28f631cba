//! The hub as a value: an input, and the exact effects that come of it.

use std::collections::BTreeSet;

use iot_hub::sas::SharedKey;
use iot_hub::topic::{Filter, PropertyBag, RequestId};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn now() -> jiff::Timestamp {
    "2026-11-23T03:30:00Z".parse().unwrap()
}

fn entity(id: &str) -> EntityId {
    EntityId::from(id.parse::<DeviceId>().unwrap())
}

fn hub_with(ids: &[&str]) -> Hub {
    let mut hub = Hub::default();
    for id in ids {
        let key = || SharedKey::from_bytes(vec![1; 32]).unwrap();
        let identity = Identity::new(IdentityRequest::default(), key);
        hub.create(entity(id), identity, now()).unwrap();
    }
    hub
}

/// Connects and subscribes to everything that a device can.
fn connect(hub: &mut Hub, id: &str) -> LinkId {
    let link = hub.connect(&entity(id), false, now()).unwrap().link;
    for filter in [Filter::Methods, Filter::TwinResponses, Filter::Desired] {
        assert_eq!(
            hub.subscribe(link, &filter.to_string(), Qos::AtLeastOnce),
            Grant::Granted
        );
    }
    link
}

fn change(body: serde_json::Value) -> TwinChange {
    TwinChange::merge(body.as_object().unwrap()).unwrap()
}

fn rid(effect: &Effect) -> RequestId {
    let Effect::Publish {
        topic: HubTopic::Method { rid, .. },
        ..
    } = effect
    else {
        panic!("expected a method, got {effect:?}");
    };
    rid.clone()
}

#[test]
fn configurations_come_to_many_devices_a_part_at_a_time() {
    let ids: Vec<String> = (0..200).map(|number| format!("d{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut hub = hub_with(&ids);
    let id: ConfigurationId = "c".parse().unwrap();
    let body = br#"{"targetCondition":"*","content":{"deviceContent":{"properties.desired.c":1}}}"#;
    let request = ConfigurationRequest::read(&id, body).unwrap();
    hub.put_configuration(id, request, None, now()).unwrap();
    let reached = |hub: &Hub| {
        let twins = hub.twins();
        twins
            .filter(|(_, twin)| twin.desired.properties().contains_key("c"))
            .count()
    };
    let mut turns = Vec::new();
    while hub.has_stale_twins() {
        hub.apply_configurations(now());
        turns.push(reached(&hub));
    }
    assert_eq!(turns, [64, 128, 192, 200]);
}

#[test]
fn a_path_of_a_configuration_cannot_take_the_stack() {
    let id: ConfigurationId = "c".parse().unwrap();
    let read = |names: usize| {
        let path = format!("properties.desired{}", ".a".repeat(names));
        let body = json!({"content": {"deviceContent": {path: 1}}}).to_string();
        ConfigurationRequest::read(&id, body.as_bytes())
    };
    assert!(read(16).is_ok());
    for names in [17, 400_000] {
        assert!(read(names).is_err());
    }
}

#[test]
fn nothing_is_left_of_a_device_that_was_deleted() {
    let mut hub = hub_with(&["d1", "d10"]);
    hub.follow_changes();
    let link = connect(&mut hub, "d1");
    let message = CloudToDeviceMessage::default();
    hub.send_to_device(&entity("d1"), message, now()).unwrap();
    hub.delete(&entity("d1"), &iot_hub::etag::IfMatch::Any, now())
        .unwrap();
    assert_eq!(hub.next_look_at_inboxes(), None);
    assert_eq!(hub.owner(link), None);
    assert!(hub.identity(&entity("d1")).is_none() && hub.identity(&entity("d10")).is_some());
}

#[test]
fn an_acknowledgement_of_nothing_is_not_worth_keeping() {
    let mut hub = hub_with(&["d1"]);
    let link = connect(&mut hub, "d1");
    hub.follow_changes();
    hub.message_acknowledged(link, 7, now());
    assert!(hub.take_changed().is_empty());
}

#[test]
fn an_identitys_times_have_the_decimals_of_dot_net() {
    let mut hub = hub_with(&["d1"]);
    let shown = |hub: &Hub| hub.identity_value(&entity("d1")).unwrap()["lastActivityTime"].clone();
    assert_eq!(shown(&hub), "0001-01-01T00:00:00");
    let at = "2026-11-23T03:30:00.123456789Z".parse().unwrap();
    hub.connect(&entity("d1"), false, at).unwrap();
    assert_eq!(shown(&hub), "2026-11-23T03:30:00.1234567Z");
}

#[test]
fn what_is_kept_of_telemetry_is_bounded_whatever_its_topics_hold() {
    let mut hub = hub_with(&["d1"]);
    // No payload, and as many properties as a topic has room for.
    let properties = "a&".repeat(32_000).parse::<PropertyBag>().unwrap();
    for _ in 0..100 {
        hub.take_telemetry(&entity("d1"), properties.clone(), Bytes::new(), now());
    }
    let kept: usize = hub
        .telemetry()
        .map(|message| message.properties.iter().count())
        .sum();
    assert_eq!(kept, 2 * 32_000);
}

#[test]
fn a_second_connection_closes_the_first_and_ends_its_calls() {
    let mut hub = hub_with(&["d1"]);
    let first = connect(&mut hub, "d1");
    let (call, _) = hub
        .call(&entity("d1"), "m".parse().unwrap(), Bytes::new(), now())
        .unwrap();
    let connected = hub.connect(&entity("d1"), false, now()).unwrap();
    assert!(connected.session_present);
    assert_eq!(
        connected.effects,
        [
            Effect::Close {
                link: first,
                reason: CloseReason::TakenOver
            },
            Effect::Answer {
                call,
                answer: MethodAnswer::DeviceGone
            },
        ]
    );
    assert_eq!(hub.disconnect(first, now()), []);
    assert_eq!(hub.link_of(&entity("d1")), Some(connected.link));
}

#[test]
fn a_desired_change_goes_to_its_device_alone() {
    let mut hub = hub_with(&["d1", "d2"]);
    let link = connect(&mut hub, "d1");
    connect(&mut hub, "d2");
    let body = change(json!({"properties": {"desired": {"a": 1, "$version": 9}}}));
    let effects = hub.change_twin(&entity("d1"), body, None, now()).unwrap();
    let payload = Bytes::from(json!({"a": 1, "$version": 2}).to_string());
    assert_eq!(
        effects,
        [Effect::Publish {
            link,
            topic: HubTopic::Desired { version: 2 },
            payload
        }]
    );
}

#[test]
fn a_redelivered_call_has_one_answer_under_either_request_id() {
    for answered in [0, 1] {
        let mut hub = hub_with(&["d1"]);
        let link = connect(&mut hub, "d1");
        let name = "m".parse().unwrap();
        let (call, first) = hub.call(&entity("d1"), name, Bytes::new(), now()).unwrap();
        let second = hub.redeliver(call).unwrap();
        let rids = [rid(&first), rid(&second)];

        let answer = MethodAnswer::Answered {
            status: 200,
            payload: Bytes::new(),
        };
        let effect = hub.method_answer(link, &rids[answered], 200, Bytes::new(), now());
        assert_eq!(effect, Some(Effect::Answer { call, answer }));
        for rid in &rids {
            assert_eq!(hub.method_answer(link, rid, 200, Bytes::new(), now()), None);
        }
        assert_eq!(hub.redeliver(call), None);
    }
}

#[test]
fn a_device_that_did_not_subscribe_to_answers_gets_none() {
    let mut hub = hub_with(&["d1"]);
    let link = hub.connect(&entity("d1"), true, now()).unwrap().link;
    assert_eq!(hub.device_reads_twin(link, &RequestId::from(1)), None);
    let patch = br#"{"a":1}"#;
    let effect = hub
        .device_patches_twin(link, &RequestId::from(2), None, patch, now())
        .unwrap();
    assert_eq!(effect, None);
    assert_eq!(hub.twin(&entity("d1")).unwrap().reported.version(), 2);
}

#[test]
fn what_a_closed_connection_still_says_reaches_nobody() {
    let mut hub = hub_with(&["d1"]);
    let old = connect(&mut hub, "d1");
    connect(&mut hub, "d1");
    let patch = br#"{"a":1}"#;
    let effect = hub
        .device_patches_twin(old, &RequestId::from(1), None, patch, now())
        .unwrap();
    assert_eq!(effect, None);
    assert_eq!(hub.twin(&entity("d1")).unwrap().reported.version(), 1);
    assert_eq!(
        hub.subscribe(old, &Filter::Methods.to_string(), Qos::AtLeastOnce),
        Grant::Refused
    );
}

#[test]
fn deleting_a_device_takes_its_modules_along() {
    let mut hub = hub_with(&["d1", "d2"]);
    let module = EntityId {
        module: Some("m".parse().unwrap()),
        ..entity("d1")
    };
    let identity = Identity::new(IdentityRequest::default(), || {
        SharedKey::from_bytes(vec![1; 32]).unwrap()
    });
    hub.create(module.clone(), identity, now()).unwrap();
    let link = hub.connect(&module, true, now()).unwrap().link;
    let any = iot_hub::etag::IfMatch::Any;
    let effects = hub.delete(&entity("d1"), &any, now()).unwrap();
    assert_eq!(
        effects,
        [Effect::Close {
            link,
            reason: CloseReason::IdentityChanged
        }]
    );
    assert!(hub.twin(&module).is_err() && hub.twin(&entity("d2")).is_ok());
}

/// Anything that clients can do, on one of two devices.
#[derive(Clone, Debug)]
enum Step {
    Connect { device: usize, clean: bool },
    Disconnect { link: u64 },
    Subscribe { link: u64 },
    Call { device: usize },
    Redeliver { call: usize },
    Answer { link: u64, rid: u64 },
    GiveUp { call: usize },
    Report { link: u64 },
    Desire { device: usize },
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    // Few links, request ids and devices, so that steps meet.
    let (device, link) = (0..2_usize, 0..6_u64);
    prop_oneof![
        3 => (device.clone(), any::<bool>()).prop_map(|(device, clean)| Step::Connect { device, clean }),
        1 => link.clone().prop_map(|link| Step::Disconnect { link }),
        3 => link.clone().prop_map(|link| Step::Subscribe { link }),
        3 => device.clone().prop_map(|device| Step::Call { device }),
        1 => (0..6_usize).prop_map(|call| Step::Redeliver { call }),
        3 => (link.clone(), 0..9_u64).prop_map(|(link, rid)| Step::Answer { link, rid }),
        1 => (0..6_usize).prop_map(|call| Step::GiveUp { call }),
        1 => link.prop_map(|link| Step::Report { link }),
        1 => device.prop_map(|device| Step::Desire { device }),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    /// Whatever clients do, in whatever order: every call ends at most once and none is left on a
    /// dead connection, no message goes to a connection that is not its device's newest, and every
    /// accepted update raises a version by one.
    #[test]
    fn any_sequence_keeps_the_books_straight(steps in prop::collection::vec(step(), 0..60)) {
        let devices = [entity("a"), entity("b")];
        let mut hub = hub_with(&["a", "b"]);
        let mut calls: Vec<CallId> = Vec::new();
        let mut given_up: BTreeSet<CallId> = BTreeSet::new();
        let mut answered: BTreeSet<CallId> = BTreeSet::new();
        for step in steps {
            let versions = devices.clone().map(|id| {
                let twin = hub.twin(&id).unwrap();
                (twin.version, twin.reported.version() + twin.desired.version())
            });
            let mut updates = 0;
            let effects: Vec<Effect> = match step {
                Step::Connect { device, clean } => {
                    hub.connect(&devices[device], clean, now()).unwrap().effects
                }
                Step::Disconnect { link } => hub.disconnect(LinkId(link), now()),
                Step::Subscribe { link } => {
                    for filter in [Filter::Methods, Filter::TwinResponses, Filter::Desired] {
                        hub.subscribe(LinkId(link), &filter.to_string(), Qos::AtLeastOnce);
                    }
                    Vec::new()
                }
                Step::Call { device } => {
                    let name = "m".parse().unwrap();
                    match hub.call(&devices[device], name, Bytes::new(), now()) {
                        Ok((call, effect)) => {
                            calls.push(call);
                            vec![effect]
                        }
                        Err(_) => Vec::new(),
                    }
                }
                Step::Redeliver { call } => {
                    calls.get(call).and_then(|call| hub.redeliver(*call)).into_iter().collect()
                }
                Step::Answer { link, rid } => hub
                    .method_answer(LinkId(link), &RequestId::from(rid), 200, Bytes::new(), now())
                    .into_iter()
                    .collect(),
                Step::GiveUp { call } => {
                    if let Some(call) = calls.get(call) {
                        hub.end_call(*call, now());
                        given_up.insert(*call);
                    }
                    Vec::new()
                }
                Step::Report { link } => {
                    updates = usize::from(hub.owner(LinkId(link)).is_some());
                    let rid = RequestId::from(1);
                    let effect =
                        hub.device_patches_twin(LinkId(link), &rid, None, b"{\"a\":1}", now());
                    effect.unwrap().into_iter().collect()
                }
                Step::Desire { device } => {
                    updates = 1;
                    let body = change(json!({"properties": {"desired": {"a": 1}}}));
                    hub.change_twin(&devices[device], body, None, now()).unwrap()
                }
                Step::Forget => {
                    hub.forget_sessions();
                    Vec::new()
                }
            };

            for effect in effects {
                match effect {
                    Effect::Deliver { .. } => unreachable!("nobody sends messages here"),
                    Effect::Publish { link, .. } => {
                        let owner = hub.owner(link).expect("a live connection").clone();
                        prop_assert_eq!(hub.link_of(&owner), Some(link));
                    }
                    Effect::Close { link, .. } => prop_assert_eq!(hub.owner(link), None),
                    Effect::Answer { call, .. } => {
                        prop_assert!(answered.insert(call), "answered twice");
                        prop_assert!(!given_up.contains(&call), "nobody waits any more");
                    }
                }
            }
            let open = calls
                .iter()
                .filter(|call| !answered.contains(call) && !given_up.contains(call));
            prop_assert_eq!(hub.calls.open_on_live_links(&hub.links), open.count());
            let raised: u64 = devices
                .iter()
                .zip(versions)
                .map(|(id, (version, sections))| {
                    let twin = hub.twin(id).unwrap();
                    assert_eq!(
                        twin.version - version,
                        twin.reported.version() + twin.desired.version() - sections,
                    );
                    twin.version - version
                })
                .sum();
            prop_assert_eq!(raised, updates as u64);
        }
    }
}
