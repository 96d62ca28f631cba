//! The hub lets the service in by tokens of Microsoft Entra ID, of which a fake on loopback issues some.

use std::{collections::BTreeMap, fs, time::Duration};

use hub_emulator::EmulatorConfig;
use iothubdm_proto::v1::{AttemptState, GetDeviceRequest};
use iothubdm_tests::{
    Behavior, DeviceSetup, PATIENCE, TokenEndpoint, World, WorldBuilder, eventually, request,
};

const DEVICE: &str = "pump-1";
const HOUR: Duration = Duration::from_secs(3600);
const SCOPE: &str = "https://iothubs.azure.net/.default";

/// A world whose hub accepts no other bearer token than this one.
fn world(token: &str, access: &str) -> WorldBuilder {
    let hub = EmulatorConfig {
        bearer_tokens: vec![token.into()],
        ..EmulatorConfig::default()
    };
    World::builder()
        .hub(hub)
        .hub_access(&format!("host_name = \"localhost\"\n[hub.entra]\n{access}"))
        .service_settings("[metrics]\nlisten = \"127.0.0.1:0\"\n")
}

/// What the service says of its readiness.
async fn readiness(world: &World) -> (u16, String) {
    let address = world.metrics_address().expect("the settings have it");
    let client = reqwest::Client::builder().no_proxy().build();
    let answer = client
        .expect("a client")
        .get(format!("http://{address}/readyz"));
    let answer = answer.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a text"))
}

async fn becomes_ready(world: &World) {
    eventually("the service is ready", PATIENCE, async || {
        (readiness(world).await.0 == 200).then_some(())
    })
    .await;
}

fn parameters(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter().copied();
    pairs
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

#[tokio::test]
async fn a_workload_s_identity_reboots_a_device_and_follows_a_token_that_is_withdrawn() {
    let endpoint = TokenEndpoint::start("first", HOUR).await;
    let world = world(
        "first",
        "kind = \"workload-identity\"\nca_file = \"entra.pem\"\n",
    )
    .file("entra.pem", endpoint.ca_pem())
    .file("federated.token", "assertion-1")
    // As the webhook of Azure's Kubernetes puts them into a pod.
    .environment("AZURE_TENANT_ID", "directory-1")
    .environment("AZURE_CLIENT_ID", "application-1")
    .environment("AZURE_FEDERATED_TOKEN_FILE", "federated.token")
    .environment("AZURE_AUTHORITY_HOST", &endpoint.authority())
    .device(DeviceSetup::new(DEVICE, Behavior::WellBehaved))
    .start()
    .await;
    let verdict = world.reboot_to_end(DEVICE).await;
    assert_eq!(verdict.state(), AttemptState::Succeeded);
    let asked = endpoint.asked();
    let [asked] = asked.as_slice() else {
        panic!("one token is enough: {asked:?}");
    };
    assert_eq!(asked.path, "/directory-1/oauth2/v2.0/token");
    let expected = parameters(&[
        ("client_assertion", "assertion-1"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_id", "application-1"),
        ("grant_type", "client_credentials"),
        ("scope", SCOPE),
    ]);
    assert_eq!(asked.parameters, expected);

    // The hub forgets the token, and the platform has put another one into the file meanwhile.
    fs::write(world.folder().join("federated.token"), "assertion-2").expect("write the file");
    endpoint.issue("second", HOUR);
    world.emulator.accept_bearer_tokens(&["second"]);
    let verdict = world.reboot_to_end(DEVICE).await;
    assert_eq!(verdict.state(), AttemptState::Succeeded);
    let asked = endpoint.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[1].parameters["client_assertion"], "assertion-2");
    assert!(!world.service().log().contains("ERROR"));
}

#[tokio::test]
async fn a_platform_s_identity_is_asked_for_where_the_platform_says() {
    let endpoint = TokenEndpoint::start("issued", HOUR).await;
    let world = world(
        "issued",
        "kind = \"managed-identity\"\nclient_id = \"mine\"\n",
    )
    .environment("IDENTITY_ENDPOINT", &endpoint.identity_endpoint())
    .environment("IDENTITY_HEADER", "known-to-the-platform")
    .bare_device(DEVICE)
    .start_without_waiting()
    .await;
    becomes_ready(&world).await;
    let name = format!("devices/{DEVICE}");
    let device = world.client().get_device(GetDeviceRequest { name }).await;
    assert!(device.is_ok(), "{device:?}");
    let asked = endpoint.asked();
    let [asked] = asked.as_slice() else {
        panic!("one token is enough: {asked:?}");
    };
    assert_eq!(asked.path, "/msi/token");
    assert_eq!(
        asked.identity_header.as_deref(),
        Some("known-to-the-platform")
    );
    let expected = parameters(&[
        ("api-version", "2019-08-01"),
        ("client_id", "mine"),
        ("resource", "https://iothubs.azure.net"),
    ]);
    assert_eq!(asked.parameters, expected);
}

#[tokio::test]
async fn a_password_that_is_refused_keeps_the_service_from_being_ready_and_is_not_told() {
    let endpoint = TokenEndpoint::start("issued", HOUR).await;
    endpoint.refuse(7_000_215);
    let access = format!(
        "kind = \"client-secret\"\ntenant_id = \"directory-1\"\nclient_id = \"application-1\"\n\
         client_secret_file = \"client.secret\"\nca_file = \"entra.pem\"\nauthority = \"{}\"\n",
        endpoint.authority()
    );
    let world = world("issued", &access)
        .file("entra.pem", endpoint.ca_pem())
        .file("client.secret", "password-that-nobody-may-read\n")
        .log("trace")
        .bare_device(DEVICE)
        .start_without_waiting()
        .await;
    let told = eventually("the reason is told", PATIENCE, async || {
        let (status, told) = readiness(&world).await;
        assert_eq!(status, 503, "{told}");
        told.contains("AADSTS").then_some(told)
    })
    .await;
    assert!(told.contains("401, AADSTS7000215"), "{told}");
    let expected = parameters(&[
        ("client_id", "application-1"),
        ("client_secret", "password-that-nobody-may-read"),
        ("grant_type", "client_credentials"),
        ("scope", SCOPE),
    ]);
    assert_eq!(endpoint.asked()[0].parameters, expected);
    let refused = world.client().reboot(request(DEVICE)).await;
    let refused = refused.expect_err("there is no token").to_string();

    endpoint.issue("issued", HOUR);
    becomes_ready(&world).await;
    let log = world.service().log();
    for text in [&told, &refused, &log] {
        assert!(!text.contains("password-that"), "{text}");
    }
    assert!(log.contains("AADSTS7000215") && log.contains("TRACE"));
}
