//! Topics, subscriptions and message properties.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use iot_hub::provisioning::{AnswerTopic, RegistrationTopic};
use iot_hub::topic::{DeviceTopic, Filter, HubTopic, MethodName, PropertyBag, RequestId};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    inverse::<DeviceTopic>(text);
    inverse::<HubTopic>(text);
    inverse::<RegistrationTopic>(text);
    inverse::<AnswerTopic>(text);
    inverse::<Filter>(text);
    inverse::<PropertyBag>(text);
    inverse::<MethodName>(text);
    inverse::<RequestId>(text);
    if let Ok(filter) = text.parse::<mqtt_wire::Filter>() {
        // A topic without wildcards is a filter that matches itself.
        if !text.contains(['+', '#']) && !text.starts_with('$') {
            assert!(filter.matches(text));
        }
    }
}

/// Printing and parsing are inverse.
fn inverse<T: FromStr<Err: Debug> + Display + Debug + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(
            value.to_string().parse::<T>().expect("what was printed"),
            value
        );
    }
}
