//! Names, user names, connection strings, tokens and `If-Match`.

use iot_hub::etag::IfMatch;
use iot_hub::identity::{ConnectionString, DeviceId, HubHost, ModuleId, MqttUser};
use iot_hub::provisioning::{RegistrationId, RegistrationUser};
use iot_hub::sas::{SasToken, SharedKey};
use jiff::Timestamp;

use super::reads_as_it_prints;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    reads_as_it_prints::<HubHost>(text);
    reads_as_it_prints::<DeviceId>(text);
    reads_as_it_prints::<ModuleId>(text);
    reads_as_it_prints::<MqttUser>(text);
    reads_as_it_prints::<RegistrationId>(text);
    reads_as_it_prints::<RegistrationUser>(text);
    reads_as_it_prints::<ConnectionString>(text);
    if let Ok(token) = text.parse::<SasToken>() {
        let key = SharedKey::from_bytes(vec![7; 32]).expect("32 bytes are a key");
        // Nobody guesses a signature.
        assert!(token.verify(&[&key], Timestamp::UNIX_EPOCH).is_err());
        let _ = token.covers("hub.example/devices/d");
    }
    if let Some(condition) = IfMatch::parse(text) {
        let _ = condition.allows("AAAAAAAAAAE=");
    }
}
