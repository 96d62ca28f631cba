//! Devices and back ends that follow Microsoft's tutorials work with ours, as they are.

use iothubdm_proto::v1::{AttemptState, Dialect, EvidenceGrade};
use iothubdm_tests::{Behavior, DeviceSetup, PATIENCE, Script, TutorialDevice, World, eventually};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

#[tokio::test]
async fn our_service_drives_the_node_tutorials_device_and_believes_no_more_than_it_says() {
    let world = World::builder().bare_device("node").start().await;
    let device = TutorialDevice::start(&world.emulator, "node", Script::Node).await;
    let attempt = world.reboot_to_end("node").await;
    assert_eq!(attempt.state(), AttemptState::Succeeded, "{attempt:?}");
    let evidence = attempt.evidence.expect("a success has its evidence");
    assert_eq!(evidence.grade(), EvidenceGrade::Claimed);
    assert_eq!(device.calls(), 1);
}

#[tokio::test]
async fn our_service_finds_out_that_a_device_knows_the_python_tutorials_method_alone() {
    let world = World::builder().bare_device("python").start().await;
    let device = TutorialDevice::start(&world.emulator, "python", Script::Python).await;
    let attempt = world.reboot_to_end("python").await;
    assert_eq!(attempt.state(), AttemptState::Succeeded, "{attempt:?}");
    assert_eq!(attempt.dialect(), Dialect::TutorialPython);
    assert_eq!(device.calls(), 1);
}

#[tokio::test]
async fn the_node_tutorials_back_end_drives_our_gateway() {
    let setup = DeviceSetup::new("pump-1", Behavior::WellBehaved);
    let world = World::with_device(setup).await;
    let back_end = BackEnd::new(&world);

    let before = back_end.last_reboot("pump-1").await;
    let call = json!({ "methodName": "reboot", "payload": null, "timeoutInSeconds": 30 });
    let answer = back_end.post("/twins/pump-1/methods", &call).await;
    assert_eq!(answer["status"], 200, "{answer}");

    let after = eventually("lastReboot moves", PATIENCE, async || {
        back_end
            .last_reboot("pump-1")
            .await
            .filter(|time| Some(time) != before.as_ref())
    })
    .await;
    after
        .parse::<Timestamp>()
        .expect("the tutorial reads an ISO 8601 time");
    assert_eq!((world.boots("pump-1"), world.commands("pump-1")), (2, 1));
}

/// The tutorial's back end: two REST calls.
struct BackEnd {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl BackEnd {
    fn new(world: &World) -> Self {
        let emulator = &world.emulator;
        let text = emulator.service_connection_string();
        let parsed = text.parse().expect("a connection string");
        let iot_hub::identity::ConnectionString::Service(connection) = parsed else {
            panic!("a service's connection string");
        };
        let expiry = Timestamp::now() + SignedDuration::from_hours(1);
        let host = connection.host.to_string();
        let token =
            iot_hub::sas::SasToken::sign(&host, &connection.key, Some(&connection.policy), expiry);
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

    async fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}?api-version=2021-04-12", self.base);
        let request = self
            .client
            .post(url)
            .header("Authorization", &self.token)
            .json(body);
        request
            .send()
            .await
            .expect("call the hub")
            .json()
            .await
            .expect("a JSON answer")
    }

    async fn last_reboot(&self, device: &str) -> Option<String> {
        let url = format!("{}/twins/{device}?api-version=2021-04-12", self.base);
        let request = self.client.get(url).header("Authorization", &self.token);
        let twin: Value = request.send().await.ok()?.json().await.ok()?;
        let reboot = &twin["properties"]["reported"]["iothubDM"]["reboot"];
        reboot["lastReboot"].as_str().map(str::to_owned)
    }
}
