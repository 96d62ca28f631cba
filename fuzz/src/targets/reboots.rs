//! The reboot contract: what a service asks, what a gateway answers and reports.

use iot_hub::reboot::{Acceptance, Dialect, RebootCall, Refusal, Report, RequestId};
use serde_json::Value;

use super::reads_as_it_prints;

pub(crate) fn run(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        reads_as_it_prints::<RequestId>(text);
    }
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    if let Ok(call) = RebootCall::from_payload(&value) {
        assert_eq!(RebootCall::from_payload(&call.to_payload()), Ok(call));
    }
    if let Some(acceptance) = Acceptance::from_payload(&value) {
        let again = Acceptance::from_payload(&acceptance.to_payload());
        assert_eq!(again, Some(acceptance));
    }
    if let Some(refusal) = Refusal::from_payload(&value) {
        assert_eq!(Refusal::from_payload(&refusal.to_payload()), Some(refusal));
    }
    if let Some(reported) = value.as_object() {
        let _ = Report::from_reported(reported);
        let _ = Dialect::detect(reported, reported);
    }
}
