//! A service's end of the hub, as far as these tests need it.

use hub_emulator::Emulator;
use iot_hub::identity::{ConnectionString, ServiceConnection};
use jiff::{Timestamp, ToSpan};
use reqwest::{Certificate, Client, Response};
use serde_json::{Value, json};

#[derive(Clone)]
pub(crate) struct Service {
    client: Client,
    base: String,
    connection: ServiceConnection,
}

impl Service {
    pub(crate) fn of(hub: &Emulator) -> Self {
        let authority = Certificate::from_pem(hub.ca_pem().as_bytes()).unwrap();
        let ConnectionString::Service(connection) = hub.owner_connection_string().parse().unwrap()
        else {
            panic!("the owner is a service");
        };
        Self {
            client: Client::builder()
                .tls_certs_only([authority])
                .build()
                .unwrap(),
            base: format!("https://{}:{}", hub.host_name().address(), hub.https_port()),
            connection,
        }
    }

    /// Calls a method; the status and payload that the device answered.
    pub(crate) async fn call(&self, device: &str, method: &str, payload: Value) -> (i64, Value) {
        let answer = self.try_call(device, method, payload).await;
        let status = answer.status();
        let body = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        (
            answer["status"].as_i64().unwrap(),
            answer["payload"].clone(),
        )
    }

    pub(crate) async fn try_call(&self, device: &str, method: &str, payload: Value) -> Response {
        let body = json!({ "methodName": method, "payload": payload, "responseTimeoutInSeconds": 30, "connectTimeoutInSeconds": 10 });
        self.client
            .post(format!(
                "{}/twins/{device}/methods?api-version=2021-04-12",
                self.base
            ))
            .header("Authorization", self.token())
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    /// Changes desired properties.
    pub(crate) async fn desire(&self, device: &str, desired: Value) {
        self.client
            .patch(format!(
                "{}/twins/{device}?api-version=2021-04-12",
                self.base
            ))
            .header("Authorization", self.token())
            .json(&json!({ "properties": { "desired": desired } }))
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }

    /// Takes a device out of the registry.
    pub(crate) async fn delete(&self, device: &str) {
        let path = format!("{}/devices/{device}?api-version=2021-04-12", self.base);
        let request = self.client.delete(path).header("If-Match", "*");
        let answer = request.header("Authorization", self.token()).send().await;
        answer.unwrap().error_for_status().unwrap();
    }

    fn token(&self) -> String {
        self.connection
            .token(Timestamp::now() + 1.hour())
            .to_string()
    }
}
