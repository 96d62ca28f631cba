//! A service client that speaks raw HTTPS, so that a test sees every header.

use hub_emulator::Emulator;
use iot_hub::identity::{ConnectionString, ServiceConnection};
use iot_hub::sas::SasToken;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};

/// A client with the rights of one policy.
pub(crate) struct Service {
    client: Client,
    base: String,
    authorization: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status, header and text of an error in style A.
    pub(crate) fn named_error(&self) -> (u16, String, String) {
        let body = self.json();
        let message = body["Message"].as_str().unwrap();
        let (name, text) = message
            .strip_prefix("ErrorCode:")
            .unwrap()
            .split_once(';')
            .unwrap();
        assert_eq!(self.header("iothub-errorcode"), Some(name));
        assert!(
            body["ExceptionMessage"]
                .as_str()
                .unwrap()
                .starts_with("Tracking ID:")
        );
        (self.status, name.to_owned(), text.to_owned())
    }

    /// Status, header and inner document of an error in style B.
    pub(crate) fn nested_error(&self) -> (u16, String, Value) {
        let body = self.json();
        let inner = serde_json::from_str(body["Message"].as_str().unwrap()).unwrap();
        let name = self.header("iothub-errorcode").unwrap().to_owned();
        (self.status, name, inner)
    }
}

impl Service {
    /// A client that may do everything.
    pub(crate) fn owner(emulator: &Emulator) -> Self {
        Self::new(emulator, &emulator.owner_connection_string())
    }

    pub(crate) fn new(emulator: &Emulator, connection_string: &str) -> Self {
        let ConnectionString::Service(connection) = connection_string.parse().unwrap() else {
            panic!("a service's connection string");
        };
        Self::with_token(
            emulator,
            &token(&connection, SignedDuration::from_hours(1)).to_string(),
        )
    }

    pub(crate) fn with_token(emulator: &Emulator, authorization: &str) -> Self {
        Self::at(emulator.ca_pem(), emulator.https_port(), authorization)
    }

    /// A client that may do everything, of the emulator that wrote this ready file.
    pub(crate) fn of_ready_file(ready: &Value) -> Self {
        let text = |name: &str| ready[name].as_str().unwrap();
        let ca_pem = std::fs::read_to_string(text("caFile")).unwrap();
        let port = u16::try_from(ready["httpsPort"].as_u64().unwrap()).unwrap();
        let ConnectionString::Service(owner) = text("ownerConnectionString").parse().unwrap()
        else {
            panic!("a service's connection string");
        };
        let token = token(&owner, SignedDuration::from_hours(1));
        Self::at(&ca_pem, port, &token.to_string())
    }

    fn at(ca_pem: &str, https_port: u16, authorization: &str) -> Self {
        let authority = Certificate::from_pem(ca_pem.as_bytes()).unwrap();
        Self {
            client: Client::builder()
                .tls_certs_only([authority])
                .build()
                .unwrap(),
            base: format!("https://localhost:{https_port}"),
            authorization: authorization.to_owned(),
        }
    }

    /// The token that it shows.
    pub(crate) fn authorization(&self) -> &str {
        &self.authorization
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Some(body), &[]).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, Some(body), &[]).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PATCH, path, Some(body), &[]).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None, &[]).await
    }

    /// Invokes a method with the shortest response timeout that the API allows.
    pub(crate) async fn invoke(&self, device: &str, name: &str, payload: Value) -> Answer {
        let body = json!({
            "methodName": name, "payload": payload, "responseTimeoutInSeconds": 5,
        });
        self.post(&format!("/twins/{device}/methods"), &body).await
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        self.try_call(method, path, body, headers).await.unwrap()
    }

    /// The same to a hub that may be gone.
    pub(crate) async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> reqwest::Result<Answer> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}{path}{joint}api-version=2021-04-12", self.base);
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Self::answer(request.header("Authorization", &self.authorization)).await
    }

    /// A request exactly as the test wants it, without token or api-version.
    pub(crate) fn bare(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }
}

pub(crate) fn token(connection: &ServiceConnection, life: SignedDuration) -> SasToken {
    let host = connection.host.to_string();
    SasToken::sign(
        &host,
        &connection.key,
        Some(&connection.policy),
        Timestamp::now() + life,
    )
}
