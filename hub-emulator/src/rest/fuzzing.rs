//! What a request can make of the parsers behind the REST API.

use axum::http::Method;
use iot_hub::method::MethodCall;
use iot_hub::query::Query;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::call::Call;
use super::parameters::Parameters;
use crate::emulator::new_key;
use crate::hub::{
    ConfigurationContent, ConfigurationRequest, Hub, JobRequest, TwinChange, test_queries,
};

const METHODS: [Method; 5] = [
    Method::GET,
    Method::PUT,
    Method::POST,
    Method::PATCH,
    Method::DELETE,
];

/// Reads a path, a line's end and a body as each call would. Panics when a promise does not hold.
pub(crate) fn fuzz(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let path = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let body = parts.next().unwrap_or_default();
    let (path, parameters) = path.split_once('?').unwrap_or((&path, ""));
    let _ = Parameters::parse(parameters).get("api-version");
    for method in METHODS {
        match Call::parse(&method, path) {
            Ok(call) => read(&call, body),
            Err(error) => assert!((400..500).contains(&error.status), "{error:?}"),
        }
    }
}

fn read(call: &Call, body: &[u8]) {
    match call {
        Call::BulkIdentities => {
            if let Ok(entries) = serde_json::from_slice::<Vec<Value>>(body) {
                let mut hub = Hub::default();
                let _ = hub.bulk(&entries, new_key, Timestamp::UNIX_EPOCH);
            }
        }
        Call::PutJob(id) => {
            let _ = JobRequest::read(id, body);
        }
        Call::PutConfiguration(id) => {
            let _ = ConfigurationRequest::read(id, body);
        }
        Call::ApplyContent(id) => {
            if let Ok(content) = ConfigurationContent::read(body) {
                let mut hub = Hub::default();
                let _ = hub.apply_content(id, content, new_key, Timestamp::UNIX_EPOCH);
            }
        }
        Call::TestConfigurationQueries => {
            let _ = test_queries(body);
        }
        Call::PatchTwin(_) | Call::ReplaceTwin(_) => {
            if let Ok(body) = serde_json::from_slice::<Map<String, Value>>(body) {
                let _ = (TwinChange::merge(&body), TwinChange::replace(&body));
            }
        }
        Call::InvokeMethod(_) => {
            let _ = MethodCall::from_json(body);
        }
        Call::Query => {
            let _ = Query::parse(&String::from_utf8_lossy(body));
        }
        Call::ListDevices
        | Call::ListModules(_)
        | Call::GetIdentity(_)
        | Call::PutIdentity(_)
        | Call::DeleteIdentity(_)
        | Call::GetTwin(_)
        | Call::ListJobs
        | Call::GetJob(_)
        | Call::CancelJob(_)
        | Call::ListConfigurations
        | Call::GetConfiguration(_)
        | Call::DeleteConfiguration(_)
        | Call::DeviceStatistics
        | Call::ServiceStatistics
        | Call::PurgeMessages(_)
        | Call::TakeFeedback
        | Call::SettleFeedback { .. } => {}
    }
}
