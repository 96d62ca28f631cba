//! Changes at the hub that are made beside the service.

use hub_emulator::Emulator;
use iot_hub::identity::ConnectionString;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Sets tags of a device's twin.
pub(crate) async fn tag(emulator: &Emulator, device: &str, tags: &Value) {
    let text = emulator.service_connection_string();
    let ConnectionString::Service(connection) = text.parse().unwrap() else {
        panic!("a service's connection string");
    };
    let token = connection.token(Timestamp::now() + SignedDuration::from_hours(1));
    let ca = reqwest::Certificate::from_pem(emulator.ca_pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([ca])
        .build()
        .unwrap();
    let (host, port) = (emulator.host_name(), emulator.https_port());
    let request = client
        .patch(format!(
            "https://{host}:{port}/twins/{device}?api-version=2021-04-12"
        ))
        .header("authorization", token.to_string())
        .json(&json!({ "tags": tags }));
    let response = request.send().await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
}
