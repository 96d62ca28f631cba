//! Topics and subscriptions: what is read prints as something that reads the same.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use iot_hub::topic::{DeviceTopic, Filter, HubTopic, MethodName, PropertyBag, RequestId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    check::<DeviceTopic>(text);
    check::<HubTopic>(text);
    check::<Filter>(text);
    check::<PropertyBag>(text);
    check::<MethodName>(text);
    check::<RequestId>(text);
    if let Ok(filter) = text.parse::<mqtt_wire::Filter>() {
        // A topic without wildcards is a filter that matches itself.
        if !text.contains(['+', '#']) && !text.starts_with('$') {
            assert!(filter.matches(text));
        }
    }
});

fn check<T: FromStr<Err: Debug> + Display + Debug + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(
            value.to_string().parse::<T>().expect("what was printed"),
            value
        );
    }
}
