//! Names, user names, connection strings and tokens.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use iot_hub::etag::IfMatch;
use iot_hub::identity::{ConnectionString, DeviceId, HubHost, ModuleId, MqttUser};
use iot_hub::sas::{SasToken, SharedKey};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    check::<HubHost>(text);
    check::<DeviceId>(text);
    check::<ModuleId>(text);
    check::<MqttUser>(text);
    check::<ConnectionString>(text);
    if let Ok(token) = text.parse::<SasToken>() {
        let key = SharedKey::from_bytes(vec![7; 32]).expect("32 bytes are a key");
        // Nobody guesses a signature.
        assert!(token.verify(&[&key], Timestamp::UNIX_EPOCH).is_err());
        let _ = token.covers("hub.example/devices/d");
    }
    if let Some(condition) = IfMatch::parse(text) {
        let _ = condition.allows("AAAAAAAAAAE=");
    }
});

fn check<T: FromStr<Err: Debug> + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        let again = printed.parse::<T>().expect("what was printed");
        assert_eq!(again.to_string(), printed);
    }
}
