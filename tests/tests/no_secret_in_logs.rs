//! No log and no message shows a secret, at whatever level and whatever is wrong.

use std::{fs, process::Command, time::Duration};

use hub_emulator::EmulatorConfig;
use iothubdm_proto::v1::{AttemptState, GetDeviceRequest, WatchRebootRequest};
use iothubdm_tests::{
    Behavior, DeviceSetup, LOCAL_PASSWORD, PATIENCE, TokenEndpoint, Watched, World, binary,
    eventually, request,
};
use tonic::{Code, Request};

const DEVICE: &str = "pump-1";
const TOKEN: &str = "static-token-that-nobody-may-read";
/// A token of the right form that nobody signed.
const FORGED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJmb3JnZXIifQ.Zm9yZ2VkLXNpZ25hdHVyZQ";

/// A call with a token.
fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("a header");
    request.metadata_mut().insert("authorization", value);
    request
}

/// The key in a connection string.
fn key(connection_string: &str) -> String {
    let (_, key) = connection_string
        .split_once("SharedAccessKey=")
        .expect("a key");
    key.to_owned()
}

#[track_caller]
fn assert_shows_none(what: &str, text: &str, secrets: &[String]) {
    for line in text.lines() {
        for secret in secrets {
            assert!(!line.contains(secret), "{what} shows {secret}: {line}");
        }
    }
}

#[tokio::test]
async fn a_whole_reboot_at_the_lowest_level_shows_none() {
    let world = World::builder()
        .device(DeviceSetup::new(DEVICE, Behavior::WellBehaved))
        .log("trace")
        .service_settings(
            "[access]\n\
             [[access.static_token]]\n\
             name = \"test\"\n\
             file = \"test.token\"\n\
             [[access.binding]]\n\
             who = \"token:test\"\n\
             role = \"admin\"\n",
        )
        .file("test.token", TOKEN)
        .start_without_waiting()
        .await;
    let mut client = world.client();

    let refused = client
        .reboot(bearing(FORGED, request(DEVICE)))
        .await
        .expect_err("nobody signed it");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let name = format!("devices/{DEVICE}");
    eventually("the device reports", PATIENCE, async || {
        let ask = bearing(TOKEN, GetDeviceRequest { name: name.clone() });
        let device = world.client().get_device(ask).await.ok()?.into_inner();
        (!device.boot_id.is_empty()).then_some(())
    })
    .await;
    let attempt = client
        .reboot(bearing(TOKEN, request(DEVICE)))
        .await
        .expect("ask for a reboot")
        .into_inner();
    let watch = WatchRebootRequest {
        name: attempt.name,
        resume_token: String::new(),
    };
    let stream = client
        .watch_reboot(bearing(TOKEN, watch))
        .await
        .expect("watch it")
        .into_inner();
    let watched = tokio::time::timeout(PATIENCE, Watched::to_end(stream)).await;
    let verdict = watched.expect("the attempt ends");
    assert_eq!(verdict.verdict().state(), AttemptState::Succeeded);

    let secrets = [
        key(&world.emulator.service_connection_string()),
        key(&world.emulator.device(DEVICE)),
        LOCAL_PASSWORD.to_owned(),
        TOKEN.to_owned(),
        FORGED.to_owned(),
        "sig=".to_owned(),
    ];
    let (service, gateway) = (world.service().log(), world.gateway().log());
    assert!(service.contains("TRACE") && gateway.contains("TRACE"));
    assert_shows_none("the service", &service, &secrets);
    assert_shows_none("the gateway", &gateway, &secrets);
}

#[tokio::test]
async fn an_identity_of_microsoft_entra_id_shows_none() {
    const ISSUED: &str = "issued-token-that-nobody-may-read";
    const ASSERTION: &str = "federated-token-that-nobody-may-read";
    const PASSWORD: &str = "password-that-nobody-may-read";
    const HEADER: &str = "header-that-nobody-may-read";
    let endpoint = TokenEndpoint::start(ISSUED, Duration::from_secs(3600)).await;
    let application = format!(
        "tenant_id = \"t\"\nclient_id = \"c\"\nca_file = \"entra.pem\"\nauthority = \"{}\"\n",
        endpoint.authority()
    );
    for kind in [
        format!("kind = \"workload-identity\"\ntoken_file = \"token\"\n{application}"),
        format!("kind = \"client-secret\"\nclient_secret = \"{PASSWORD}\"\n{application}"),
        "kind = \"managed-identity\"\n".to_owned(),
    ] {
        let world = World::builder()
            .hub(EmulatorConfig {
                bearer_tokens: vec![ISSUED.into()],
                ..EmulatorConfig::default()
            })
            .hub_access(&format!("host_name = \"localhost\"\n[hub.entra]\n{kind}"))
            .file("entra.pem", endpoint.ca_pem())
            .file("token", ASSERTION)
            .environment("IDENTITY_ENDPOINT", &endpoint.identity_endpoint())
            .environment("IDENTITY_HEADER", HEADER)
            .bare_device(DEVICE)
            .log("trace")
            .start_without_waiting()
            .await;
        let request = GetDeviceRequest {
            name: format!("devices/{DEVICE}"),
        };
        let device = world.client().get_device(request).await;
        assert!(device.is_ok(), "{device:?}");
        let log = world.service().log();
        assert!(log.contains("TRACE") && log.contains("got a token"));
        let secrets = [ISSUED, ASSERTION, PASSWORD, HEADER].map(str::to_owned);
        assert_shows_none("the service", &log, &secrets);
    }
    assert_eq!(endpoint.asked().len(), 3);
}

#[test]
fn settings_with_a_mistake_show_none() {
    let folder = tempfile::tempdir().expect("make a folder");
    let file = folder.path().join("settings.toml");
    let secret = "c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1yZWFk";
    let device = format!("HostName=h;DeviceId=d;SharedAccessKey={secret}");
    let service = format!("HostName=h;SharedAccessKeyName=s;SharedAccessKey={secret}");
    let gateway = format!(
        "state_dir = \"s\"\n[[device]]\nid = \"d\"\nconnection_string = \"{device}\"\n[device.mqtt]\npassword = "
    );
    let wrong = [
        (
            "mgmt-service",
            format!("[hub]\nconnection_string = \"{service}"),
        ),
        (
            "mgmt-service",
            format!("[hub]\nconnection_string = \"{service}=!\""),
        ),
        (
            "mgmt-service",
            format!("[hub]\nconnection_strin = \"{service}\""),
        ),
        (
            "mgmt-service",
            format!("[hub]\n[hub.entra]\nkind = \"client-secret\"\nclient_secret = [\"{secret}\"]"),
        ),
        (
            "mgmt-service",
            format!(
                "[hub]\n[hub.entra]\nkind = \"workload-identity\"\nclient_secret = \"{secret}\""
            ),
        ),
        (
            "mgmt-service",
            format!("[hub]\nconnection_string = [\"{service}\"]"),
        ),
        ("device-gateway", format!("{gateway}\"{secret}")),
        ("device-gateway", format!("{gateway}[\"{secret}\"]")),
        (
            "device-gateway",
            gateway.replace(secret, &format!("{secret}=!")) + "\"p\"",
        ),
        (
            "device-gateway",
            format!("{gateway}\"p\"\nanother = \"{secret}\""),
        ),
    ];
    for (program, text) in wrong {
        fs::write(&file, &text).expect("write the settings");
        let output = Command::new(binary(program))
            .arg("--config")
            .arg(&file)
            .args(["--check-config", "--log", "trace"])
            .output()
            .expect("run it");
        assert!(!output.status.success(), "{program} takes {text}");
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert_shows_none(&text, &told, &[secret.to_owned()]);
    }
}
