//! Bodies of methods, registrations and errors.

use iot_hub::error::HubError;
use iot_hub::method::{MethodCall, MethodResult, splice};
use iot_hub::provisioning::{Operation, RegistrationRequest};
use serde_json::Value;

pub(crate) fn run(data: &[u8]) {
    if let Ok(call) = MethodCall::from_json(data) {
        let printed = call.to_json().to_string();
        let again = MethodCall::from_json(printed.as_bytes()).expect("what was printed");
        assert_eq!(again.to_json(), call.to_json());
    }
    let _ = MethodResult::from_json(data);
    let _ = MethodResult::from_json(&splice(200, data));
    if let Ok(body) = serde_json::from_slice::<Value>(data) {
        if let Ok(operation) = Operation::from_value(&body) {
            assert_eq!(Operation::from_value(&operation.to_value()), Ok(operation));
        }
        if let Ok(request) = RegistrationRequest::from_value(&body) {
            let printed = request.to_value();
            assert_eq!(RegistrationRequest::from_value(&printed), Ok(request));
        }
    }
    let text = String::from_utf8_lossy(data);
    for header in [None, Some("DeviceNotOnline"), Some(text.as_ref())] {
        let _ = HubError::parse(404, header, &text);
    }
}
