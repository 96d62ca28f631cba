//! A bad input gets a clear error that names the field and the rule; nothing is started, nothing is
//! lost, nothing ends.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use iothubdm_proto::v1::{
    AttemptState, EvidenceGrade, GetDeviceRequest, GetRebootRequest, ListRebootsRequest,
    RebootMode, RebootRequest, reboot_request::Start,
};
use iothubdm_tests::{Behavior, DeviceSetup, World, binary, request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const DEVICE: &str = "pump-1";

/// Breaks one rule of a good request.
type Mistake = Box<dyn Fn(&mut RebootRequest)>;

/// Asserts that a call was refused for one field, named in the details.
#[track_caller]
fn refused(status: &Status, field: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status.get_error_details();
    let violations = &details
        .bad_request()
        .expect("the field is named")
        .field_violations;
    assert!(
        violations.iter().any(|violation| violation.field == field),
        "{violations:?}"
    );
    assert!(
        violations
            .iter()
            .all(|violation| !violation.description.is_empty())
    );
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_names_the_field_and_starts_nothing() {
    let world = World::with_device(DeviceSetup::new(DEVICE, Behavior::WellBehaved)).await;
    let past = prost_types::Timestamp {
        seconds: 1_000_000_000,
        nanos: 0,
    };
    let wrong: [(&str, Mistake); 10] = [
        ("device", Box::new(|r| r.device = String::new())),
        ("device", Box::new(|r| r.device = "pump-1".to_owned())),
        ("device", Box::new(|r| r.device = "devices/a b".to_owned())),
        ("request_id", Box::new(|r| r.request_id = "42".to_owned())),
        ("mode", Box::new(|r| r.mode = 99)),
        ("reason", Box::new(|r| r.set_mode(RebootMode::Forced))),
        ("reason", Box::new(|r| r.reason = "x".repeat(257))),
        (
            "delay",
            Box::new(|r| r.start = Some(Start::Delay(seconds(-1)))),
        ),
        ("deadline", Box::new(move |r| r.deadline = Some(past))),
        ("required_evidence", Box::new(|r| r.required_evidence = 42)),
    ];
    for (field, break_it) in wrong {
        let mut asked = request(DEVICE);
        break_it(&mut asked);
        refused(&world.request(asked).await.expect_err(field), field);
    }
    assert_eq!(world.emulator.counters().method_calls.total, 0);

    let mut good = request(DEVICE);
    good.validate_only = true;
    good.set_required_evidence(EvidenceGrade::Caused);
    world.request(good).await.expect("a good request is good");
    assert_eq!((world.commands(DEVICE), world.boots(DEVICE)), (0, 1));
    let list = ListRebootsRequest {
        parent: format!("devices/{DEVICE}"),
        ..Default::default()
    };
    let listed = world
        .client()
        .list_reboots(list)
        .await
        .expect("list")
        .into_inner();
    assert_eq!(listed.reboots, []);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let world = World::builder().start().await;
    let status = world.reboot("nobody").await.expect_err("an unknown device");
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let name = "devices/nobody".to_owned();
    let status = world
        .client()
        .get_device(GetDeviceRequest { name })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let name = "devices/nobody/reboots/7d3f0c52-1f5e-4b6b-9a53-0a4f3c1d2e5f".to_owned();
    let status = world
        .client()
        .get_reboot(GetRebootRequest { name })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let list = ListRebootsRequest {
        parent: "devices/-".to_owned(),
        filter: "stat = FAILED".to_owned(),
        ..Default::default()
    };
    refused(
        &world.client().list_reboots(list).await.unwrap_err(),
        "filter",
    );
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_close_their_connection_and_nothing_else() {
    let world = World::with_device(DeviceSetup::new(DEVICE, Behavior::WellBehaved)).await;
    let noise: Vec<u8> = (0..4096_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let hub = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let addresses = [
        world.local_mqtt_address(),
        world.service_address(),
        hub(world.emulator.https_port()),
        hub(world.emulator.mqtt_port()),
    ];
    for address in addresses {
        for bytes in [
            &noise[..],
            b"\x10\xff\xff\xff\x7f",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x00",
        ] {
            let mut socket = TcpStream::connect(address).await.expect("connect");
            // The other end may hang up before it has read everything.
            let _ = socket.write_all(bytes).await;
            let _ = socket.shutdown().await;
            let mut answer = Vec::new();
            let ended =
                tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut answer));
            assert!(
                ended.await.is_ok(),
                "{address} holds a broken connection open"
            );
        }
    }
    assert_eq!(
        world.reboot_to_end(DEVICE).await.state(),
        AttemptState::Succeeded
    );
}

/// Runs a program with a configuration, and returns its exit code and what it said.
fn check_config(program: &str, toml: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("make a folder");
    let config = folder.path().join("config.toml");
    fs::write(&config, toml).expect("write a configuration");
    let output = Command::new(binary(program))
        .arg("--config")
        .arg(&config)
        .arg("--check-config")
        .output()
        .expect("run a program of ours");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a_configuration_tells_all_its_mistakes_at_once() {
    let (code, said) = check_config(
        "mgmt-service",
        "listen = \"0.0.0.0:50051\"\n[hub]\nconnection_string = \"HostName=h\"\nhttps_port = 0\n\
         [polling]\nreads_per_second = 0\n",
    );
    assert_ne!(code, Some(0), "{said}");
    for key in [
        "listen",
        "connection_string",
        "https_port",
        "reads_per_second",
    ] {
        assert!(said.contains(key), "{key} is missing from:\n{said}");
    }

    let (code, said) = check_config(
        "device-gateway",
        "state_dir = \"state\"\n[[device]]\nid = \"a b\"\nconnection_string = \"HostName=h\"\n\
         required_evidence = \"SURE\"\nsettle = \"1 fortnight\"\n[device.mqtt]\npassword = \"p\"\n",
    );
    assert_ne!(code, Some(0), "{said}");
    for key in ["id", "connection_string", "required_evidence", "settle"] {
        assert!(said.contains(key), "{key} is missing from:\n{said}");
    }
}

#[test]
fn an_unknown_key_is_a_mistake_with_its_line() {
    for program in ["mgmt-service", "device-gateway"] {
        let (code, said) = check_config(program, "state_dir = \"s\"\nlisten_adress = \"x\"\n");
        assert_ne!(code, Some(0), "{said}");
        assert!(said.contains("listen_adress"), "{said}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_named_and_the_gateway_keeps_trying() {
    let world = World::builder()
        .device(DeviceSetup::new(DEVICE, Behavior::WellBehaved).key("d3JvbmcgYnV0IGxvbmcgZW5vdWdo"))
        .start_without_waiting()
        .await;
    let refused = world
        .emulator
        .counted(|counters| counters.connects.total >= 2 && counters.connects_accepted.total == 0);
    tokio::time::timeout(Duration::from_secs(60), refused)
        .await
        .expect("it tries again");
    assert!(
        world.gateway().log().contains("refused the credentials"),
        "{}",
        world.gateway().log()
    );
}
