//! A back end that calls the hub's REST API directly, as the tutorials' do.

use hub_emulator::Emulator;
use iot_hub::{identity::ConnectionString, sas::SasToken};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// A back end beside our service.
#[derive(Debug)]
pub struct BackEnd {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl BackEnd {
    /// A back end of this hub.
    pub fn new(emulator: &Emulator) -> Self {
        let text = emulator.service_connection_string();
        let ConnectionString::Service(connection) = text.parse().expect("a connection string")
        else {
            panic!("a service's connection string");
        };
        let expiry = Timestamp::now() + SignedDuration::from_hours(1);
        let host = connection.host.to_string();
        let token = SasToken::sign(&host, &connection.key, Some(&connection.policy), expiry);
        let ca = reqwest::Certificate::from_pem(emulator.ca_pem().as_bytes()).expect("a CA");
        let client = reqwest::Client::builder()
            .tls_certs_only([ca])
            .build()
            .expect("make a client");
        let base = format!("https://{host}:{}", emulator.https_port());
        Self {
            client,
            base,
            token: token.to_string(),
        }
    }

    /// Calls a direct method, and returns the hub's answer.
    pub async fn call(&self, device: &str, call: &Value) -> Value {
        let url = format!(
            "{}/twins/{device}/methods?api-version=2021-04-12",
            self.base
        );
        let request = self
            .client
            .post(url)
            .header("Authorization", &self.token)
            .json(call);
        request
            .send()
            .await
            .expect("call the hub")
            .json()
            .await
            .expect("a JSON answer")
    }

    /// Changes a device's twin.
    pub async fn patch_twin(&self, device: &str, patch: &Value) {
        let url = format!("{}/twins/{device}?api-version=2021-04-12", self.base);
        let request = self.client.patch(url).json(patch);
        let request = request.header("Authorization", &self.token);
        let answer = request.send().await.expect("call the hub");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Reads what a device's twin says of its last reboot.
    pub async fn last_reboot(&self, device: &str) -> Option<String> {
        let url = format!("{}/twins/{device}?api-version=2021-04-12", self.base);
        let request = self.client.get(url).header("Authorization", &self.token);
        let twin: Value = request.send().await.ok()?.json().await.ok()?;
        let reboot = &twin["properties"]["reported"]["iothubDM"]["reboot"];
        reboot["lastReboot"].as_str().map(str::to_owned)
    }
}
