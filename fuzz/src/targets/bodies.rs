//! Bodies of methods and errors.

use iot_hub::error::HubError;
use iot_hub::method::{MethodCall, MethodResult, splice};

pub(crate) fn run(data: &[u8]) {
    if let Ok(call) = MethodCall::from_json(data) {
        let printed = call.to_json().to_string();
        let again = MethodCall::from_json(printed.as_bytes()).expect("what was printed");
        assert_eq!(again.to_json(), call.to_json());
    }
    let _ = MethodResult::from_json(data);
    let _ = MethodResult::from_json(&splice(200, data));
    let text = String::from_utf8_lossy(data);
    for header in [None, Some("DeviceNotOnline"), Some(text.as_ref())] {
        let _ = HubError::parse(404, header, &text);
    }
}
