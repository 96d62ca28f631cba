//! Topics as the SDKs write them, what must be refused, and the inverse of printing.

use proptest::prelude::*;

use super::*;
use crate::identity::tests::{device_id, module_id};

fn bag(pairs: &[(&str, Option<&str>)]) -> PropertyBag {
    let mut bag = PropertyBag::default();
    for (name, value) in pairs {
        bag.push(*name, value.map(str::to_owned)).unwrap();
    }
    bag
}

fn telemetry(module: Option<&str>, pairs: &[(&str, Option<&str>)]) -> DeviceTopic {
    DeviceTopic::Telemetry {
        device: "d".parse().unwrap(),
        module: module.map(|module| module.parse().unwrap()),
        properties: bag(pairs),
    }
}

#[test]
fn reads_telemetry_as_every_sdk_writes_it() {
    #[track_caller]
    fn check(topic: &str, expected: DeviceTopic) {
        assert_eq!(topic.parse(), Ok(expected), "{topic}");
    }
    check("devices/d/messages/events", telemetry(None, &[]));
    check("devices/d/messages/events/", telemetry(None, &[]));
    check(
        "devices/d/messages/events/%24.mid=1&%24.ct=application%2Fjson&%24.ce=utf-8&p=1/",
        telemetry(
            None,
            &[
                ("$.mid", Some("1")),
                ("$.ct", Some("application/json")),
                ("$.ce", Some("utf-8")),
                ("p", Some("1")),
            ],
        ),
    );
    check(
        "devices/d/modules/m/messages/events/%24.on=out1",
        telemetry(Some("m"), &[("$.on", Some("out1"))]),
    );
    check(
        "devices/d/messages/events/?$.mid=a+b&k&e=",
        telemetry(
            None,
            &[("$.mid", Some("a+b")), ("k", None), ("e", Some(""))],
        ),
    );
}

#[test]
fn reads_what_devices_ask_and_answer() {
    let rid = |text: &str| text.parse::<RequestId>().unwrap();
    #[track_caller]
    fn check(topic: &str, expected: DeviceTopic) {
        assert_eq!(topic.parse(), Ok(expected.clone()));
        assert_eq!(expected.to_string(), topic);
    }
    check(
        "$iothub/methods/res/200/?$rid=1",
        DeviceTopic::MethodResponse {
            status: 200,
            rid: rid("1"),
        },
    );
    check(
        "$iothub/methods/res/-7/?$rid=a-b",
        DeviceTopic::MethodResponse {
            status: -7,
            rid: rid("a-b"),
        },
    );
    check(
        "$iothub/twin/GET/?$rid=3f1e",
        DeviceTopic::TwinGet { rid: rid("3f1e") },
    );
    check(
        "$iothub/twin/PATCH/properties/reported/?$rid=77",
        DeviceTopic::TwinReported {
            rid: rid("77"),
            version: None,
        },
    );
    check(
        "$iothub/twin/PATCH/properties/reported/?$rid=77&$version=4",
        DeviceTopic::TwinReported {
            rid: rid("77"),
            version: Some(4),
        },
    );
}

#[test]
fn writes_what_hubs_say() {
    #[track_caller]
    fn check(topic: &str, expected: HubTopic) {
        assert_eq!(topic.parse(), Ok(expected.clone()));
        assert_eq!(expected.to_string(), topic);
    }
    check(
        "$iothub/methods/POST/reboot/?$rid=1",
        HubTopic::Method {
            name: "reboot".parse().unwrap(),
            rid: RequestId::from(1),
        },
    );
    check(
        "$iothub/twin/res/200/?$rid=1",
        HubTopic::TwinResponse {
            status: 200,
            rid: RequestId::from(1),
            version: None,
        },
    );
    check(
        "$iothub/twin/res/204/?$rid=77aa&$version=2",
        HubTopic::TwinResponse {
            status: 204,
            rid: "77aa".parse().unwrap(),
            version: Some(2),
        },
    );
    check(
        "$iothub/twin/PATCH/properties/desired/?$version=3",
        HubTopic::Desired { version: 3 },
    );
    check(
        "devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound&iothub-ack=full",
        HubTopic::CloudToDevice {
            device: "dev1".parse().unwrap(),
            properties: bag(&[
                ("$.to", Some("/devices/dev1/messages/deviceBound")),
                ("iothub-ack", Some("full")),
            ]),
        },
    );
    check(
        "devices/d/modules/m/inputs/in1/",
        HubTopic::ModuleInput {
            device: "d".parse().unwrap(),
            module: "m".parse().unwrap(),
            input: "in1".parse().unwrap(),
            properties: PropertyBag::default(),
        },
    );
}

#[test]
fn refuses_what_is_no_topic_of_a_device() {
    #[track_caller]
    fn check(topic: &str, expected: TopicError) {
        assert_eq!(topic.parse::<DeviceTopic>(), Err(expected), "{topic}");
    }
    check("", TopicError::Unknown);
    check("$iothub/methods/res/200", TopicError::Unknown);
    check("$iothub/methods/res/200/$rid=1", TopicError::Unknown);
    check("$iothub/methods/res/ok/?$rid=1", TopicError::Status);
    check(
        "$iothub/methods/res/200/?$rid=",
        TopicError::RequestId(RequestIdError::Missing),
    );
    check(
        "$iothub/twin/GET/?x=1",
        TopicError::RequestId(RequestIdError::Missing),
    );
    check(
        "$iothub/twin/GET/?$rid=a/b",
        TopicError::RequestId(RequestIdError::Character('/')),
    );
    check(
        "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x",
        TopicError::Version,
    );
    check("devices/d/messages/eventsX", TopicError::Unknown);
    check("devices/d/messages/devicebound/", TopicError::Unknown);
    check("devices//messages/events/", TopicError::Id(IdError::Empty));
    check(
        "devices/d/messages/events/=v",
        TopicError::Properties(BagError::Nameless),
    );
    check(
        "devices/d/messages/events/k=%FF",
        TopicError::Properties(BagError::Encoding),
    );
}

#[test]
fn knows_the_documented_filters_only() {
    for text in [
        "$iothub/methods/POST/#",
        "$iothub/twin/res/#",
        "$iothub/twin/PATCH/properties/desired/#",
        "devices/d/messages/devicebound/#",
        "devices/d/modules/m/inputs/#",
    ] {
        assert_eq!(text.parse::<Filter>().unwrap().to_string(), text);
    }
    assert_eq!(
        "devices/d/modules/m/#".parse::<Filter>(),
        "devices/d/modules/m/inputs/#".parse::<Filter>()
    );
    for bad in [
        "",
        "#",
        "$iothub/#",
        "$iothub/methods/POST/+",
        "devices/d/messages/events/#",
        "devices/d/#",
        "devices/+/messages/devicebound/x",
    ] {
        assert!(bad.parse::<Filter>().is_err(), "{bad}");
    }
}

#[test]
fn method_names_fit_one_level_of_a_topic() {
    assert!("x".repeat(100).parse::<MethodName>().is_ok());
    assert_eq!(
        "x".repeat(101).parse::<MethodName>(),
        Err(MethodNameError::Length(101))
    );
    assert_eq!(
        "a/b".parse::<MethodName>(),
        Err(MethodNameError::Character('/'))
    );
    assert_eq!("".parse::<MethodName>(), Err(MethodNameError::Empty));
}

fn rid() -> impl Strategy<Value = RequestId> {
    "[^&/#+\\p{Cc}]{1,20}".prop_map(|text| text.parse().unwrap())
}

fn properties() -> impl Strategy<Value = PropertyBag> {
    proptest::collection::vec((".{1,8}", proptest::option::of(".{0,8}")), 0..4).prop_map(|pairs| {
        let mut bag = PropertyBag::default();
        for (name, value) in pairs {
            bag.push(name, value).unwrap();
        }
        bag
    })
}

fn device_topic() -> impl Strategy<Value = DeviceTopic> {
    prop_oneof![
        (device_id(), proptest::option::of(module_id()), properties()).prop_map(
            |(device, module, properties)| DeviceTopic::Telemetry {
                device,
                module,
                properties
            }
        ),
        (any::<i32>(), rid()).prop_map(|(status, rid)| DeviceTopic::MethodResponse { status, rid }),
        rid().prop_map(|rid| DeviceTopic::TwinGet { rid }),
        (rid(), any::<Option<u64>>())
            .prop_map(|(rid, version)| DeviceTopic::TwinReported { rid, version }),
    ]
}

fn hub_topic() -> impl Strategy<Value = HubTopic> {
    let name = "[^/?#+\\p{Cc}]{1,100}".prop_map(|text| text.parse().unwrap());
    prop_oneof![
        (name, rid()).prop_map(|(name, rid)| HubTopic::Method { name, rid }),
        (any::<u16>(), rid(), any::<Option<u64>>()).prop_map(|(status, rid, version)| {
            HubTopic::TwinResponse {
                status,
                rid,
                version,
            }
        }),
        any::<u64>().prop_map(|version| HubTopic::Desired { version }),
        (device_id(), properties())
            .prop_map(|(device, properties)| HubTopic::CloudToDevice { device, properties }),
        (device_id(), module_id(), module_id(), properties()).prop_map(
            |(device, module, input, properties)| {
                HubTopic::ModuleInput {
                    device,
                    module,
                    input,
                    properties,
                }
            }
        ),
    ]
}

proptest! {
    #[test]
    fn parsing_a_device_topic_inverts_printing(topic in device_topic()) {
        prop_assert_eq!(topic.to_string().parse(), Ok(topic));
    }

    #[test]
    fn parsing_a_hub_topic_inverts_printing(topic in hub_topic()) {
        prop_assert_eq!(topic.to_string().parse(), Ok(topic));
    }

    #[test]
    fn parsing_a_filter_inverts_printing(device in device_id(), module in module_id()) {
        let filters = [Filter::CloudToDevice(device.clone()), Filter::ModuleInputs(device, module)];
        for filter in filters {
            prop_assert_eq!(filter.to_string().parse(), Ok(filter));
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}", tail in "([$?&=/%#]|rid|version|d|é){0,20}") {
        for prefix in ["", METHOD_CALL, METHOD_ANSWER, TWIN_GET, TWIN_REPORTED, TWIN_DESIRED, TWIN_ANSWER, "devices/"] {
            for rest in [&text, &tail] {
                let topic = format!("{prefix}{rest}");
                let _ = (topic.parse::<DeviceTopic>(), topic.parse::<HubTopic>(), topic.parse::<Filter>());
            }
        }
    }
}
