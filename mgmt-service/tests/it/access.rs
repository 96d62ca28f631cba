//! Who is let in, and to what: over real TLS, with real tokens and certificates.

use std::time::Duration;

use iot_hub::reboot::State;
use iothubdm_proto::v1::{
    CancelRebootRequest, FILE_DESCRIPTOR_SET, GetDeviceRequest, GetRebootRequest,
    ListAuditEventsRequest, ListDevicesRequest, ListRebootsRequest, RebootEvent, RebootMode,
    RebootRequest, WatchRebootRequest,
};
use jiff::Timestamp;
use prost::Message as _;
use serde_json::json;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use crate::{
    device::Device,
    secured::{Authority, Client, Issuer, STATIC, Secured},
    world::{details, request, within},
};

/// A watch of an attempt that waits for an absent device.
async fn watched(client: &mut Client) -> Streaming<RebootEvent> {
    let queued = RebootRequest {
        offline_policy: 2,
        ..request("pump-1")
    };
    let name = client.reboot(queued).await.unwrap().into_inner().name;
    let watch = WatchRebootRequest {
        name,
        resume_token: String::new(),
    };
    client.watch_reboot(watch).await.unwrap().into_inner()
}

/// Reads a watch to the error that ends it.
async fn end(stream: &mut Streaming<RebootEvent>) -> Status {
    within(async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    })
    .await
}

async fn get(client: &mut Client, device: &str) -> Result<String, Status> {
    let name = format!("devices/{device}");
    let device = client.get_device(GetDeviceRequest { name }).await?;
    Ok(device.into_inner().name)
}

/// Waits until a call ends so; for what no event tells of.
async fn becomes(client: &mut Client, device: &str, wanted: Option<Code>) {
    within(async {
        while get(client, device).await.err().map(|status| status.code()) != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_credentials_lets_its_caller_in() {
    let world = Secured::start().await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let rollout = world.authority.certify_uri("spiffe://example.com/rollout");
    let viewer = world.issuer.token("alice", &["viewers"], json!({}));
    for (certified, token) in [
        (None, Some(STATIC)),
        (None, Some(viewer.as_str())),
        (Some(&rollout), None),
        (Some(&rollout), Some(viewer.as_str())),
    ] {
        let mut client = world.client(certified, token).await.unwrap();
        assert_eq!(get(&mut client, "pump-1").await.unwrap(), "devices/pump-1");
    }
}

#[tokio::test]
async fn bad_tokens_let_nobody_in_and_good_certificates_do_not_help_them() {
    let world = Secured::start().await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let rollout = world.authority.certify_uri("spiffe://example.com/rollout");
    for (what, token) in world.issuer.forgeries() {
        for certified in [None, Some(&rollout)] {
            let mut client = world.client(certified, Some(&token)).await.unwrap();
            let status = get(&mut client, "pump-1").await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{what}: {status:?}");
            assert_eq!(details(&status).0, "UNAUTHENTICATED");
            assert!(!status.message().contains(&token), "{what}");
        }
    }
    let mut nobody = world.client(None, None).await.unwrap();
    let status = get(&mut nobody, "pump-1").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_certificate_of_another_authority_fails_the_handshake() {
    let world = Secured::start().await;
    let other = Authority::new("others").certify_uri("spiffe://example.com/rollout");
    // With TLS 1.3 the client learns of it with its first bytes, hence perhaps in the first call.
    match world.client(Some(&other), None).await {
        Err(_) => {}
        Ok(mut client) => {
            let status = get(&mut client, "pump-1").await.unwrap_err();
            assert_ne!(status.code(), Code::NotFound, "{status:?}");
            assert_ne!(status.code(), Code::PermissionDenied, "{status:?}");
        }
    }
}

#[tokio::test]
async fn a_name_that_nobody_bound_may_do_nothing() {
    let world = Secured::start().await;
    let other = world.authority.certify_uri("spiffe://example.com/other");
    let mut by_certificate = world.client(Some(&other), None).await.unwrap();
    let stranger = world.issuer.token("bob", &["strangers"], json!({}));
    let mut by_token = world.bearer(&stranger).await;
    for client in [&mut by_certificate, &mut by_token] {
        let status = get(client, "pump-1").await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(details(&status).0, "NOT_PERMITTED");
    }
}

/// Makes each call of the API about a device; panics for a call that it does not know.
async fn make(call: &str, client: &mut Client, device: &str, attempt: &str) -> Option<Status> {
    let parent = "devices/-".to_owned();
    let name = attempt.to_owned();
    match call {
        "GetDevice" => get(client, device).await.err(),
        "ListDevices" => {
            let request = ListDevicesRequest::default();
            client.list_devices(request).await.err()
        }
        "GetReboot" => client.get_reboot(GetRebootRequest { name }).await.err(),
        "ListReboots" => {
            let request = ListRebootsRequest {
                parent,
                ..ListRebootsRequest::default()
            };
            client.list_reboots(request).await.err()
        }
        "WatchReboot" => {
            let request = WatchRebootRequest {
                name,
                resume_token: String::new(),
            };
            client.watch_reboot(request).await.err()
        }
        "CancelReboot" => {
            let request = CancelRebootRequest {
                name,
                ..CancelRebootRequest::default()
            };
            client.cancel_reboot(request).await.err()
        }
        "Reboot" => {
            let request = RebootRequest {
                validate_only: true,
                ..request(device)
            };
            client.reboot(request).await.err()
        }
        "ListAuditEvents" => {
            let request = ListAuditEventsRequest {
                parent,
                ..ListAuditEventsRequest::default()
            };
            client.list_audit_events(request).await.err()
        }
        other => panic!("nobody has thought about who may call {other}"),
    }
}

fn calls() -> Vec<String> {
    let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET);
    let services = files
        .unwrap()
        .file
        .into_iter()
        .flat_map(|file| file.service);
    let ours = services.filter(|service| service.name() == "DeviceManagement");
    let calls = ours.flat_map(|service| service.method);
    calls.map(|call| call.name().to_owned()).collect()
}

#[tokio::test]
async fn every_call_by_role_inside_and_outside_the_scope() {
    let world = Secured::start().await;
    let _inside = Device::native(&world.emulator, "pump-1").await;
    let _outside = Device::native(&world.emulator, "meter-1").await;
    let nobody = Uuid::nil();
    for (role, may_act) in [("viewers", false), ("operators", true), ("admins", true)] {
        let token = world.issuer.token("alice", &[role], json!({}));
        let mut client = world.bearer(&token).await;
        for call in calls() {
            let acts = matches!(call.as_str(), "Reboot" | "CancelReboot");
            let lists = call.starts_with("List");
            for (device, inside) in [("pump-1", true), ("meter-1", false), ("nothing", false)] {
                // No such attempt is open anywhere; what is asked is who is told so.
                let attempt = format!("devices/{device}/reboots/{nobody}");
                let status = make(&call, &mut client, device, &attempt).await;
                let told = status.as_ref().map(Status::code);
                let of_attempt =
                    matches!(call.as_str(), "GetReboot" | "WatchReboot" | "CancelReboot");
                let audit = call == "ListAuditEvents" && role != "admins";
                let expected = if audit || (acts && !may_act) {
                    Some(Code::PermissionDenied)
                } else if lists || (inside && !of_attempt) {
                    None
                } else {
                    Some(Code::NotFound)
                };
                assert_eq!(told, expected, "{call} by {role} on {device}: {status:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_out_of_sight_is_told_as_what_does_not_exist() {
    let world = Secured::start().await;
    world.emulator.register(&"meter-1".parse().unwrap());
    let token = world.issuer.token("alice", &["admins"], json!({}));
    let mut client = world.bearer(&token).await;
    let mut by_laptop = world.bearer(STATIC).await;
    assert!(get(&mut by_laptop, "meter-1").await.is_ok());
    // The laptop may see everything, so what it is told of "meter-2" is the truth.
    let hidden = get(&mut client, "meter-1").await.unwrap_err();
    let missing = get(&mut by_laptop, "meter-2").await.unwrap_err();
    let text = |status: &Status| {
        format!(
            "{:?} {} {:?}",
            status.code(),
            status.message(),
            details(status)
        )
    };
    assert_eq!(text(&hidden), text(&missing).replace("meter-2", "meter-1"));
}

#[tokio::test]
async fn separate_rights_are_asked_for_separately() {
    let world = Secured::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let operator = |name: &str| world.issuer.token(name, &["operators"], json!({}));
    let mut alice = world.bearer(&operator("alice")).await;
    let mut bob = world.bearer(&operator("bob")).await;
    let mut viewer = world
        .bearer(&world.issuer.token("carol", &["viewers"], json!({})))
        .await;
    let denied = |status: Status, right: &str| {
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        let (reason, details) = details(&status);
        assert_eq!(reason, "NOT_PERMITTED");
        assert_eq!(details.error_info().unwrap().metadata["right"], right);
    };
    let mode = |mode: RebootMode| RebootRequest {
        mode: mode.into(),
        reason: "stuck".into(),
        ..request("pump-1")
    };
    let forced = alice.reboot(mode(RebootMode::Forced)).await.unwrap_err();
    denied(forced, "force");
    let cycled = alice
        .reboot(mode(RebootMode::PowerCycle))
        .await
        .unwrap_err();
    denied(cycled, "power-cycle");
    denied(
        viewer.reboot(request("pump-1")).await.unwrap_err(),
        "reboot",
    );

    let reboot = {
        let mut alice = alice.clone();
        tokio::spawn(async move { alice.reboot(request("pump-1")).await })
    };
    let call = device.called().await;
    device.accept(&call, State::Scheduled).await;
    let name = within(reboot).await.unwrap().unwrap().into_inner().name;
    let cancel = |abandon| CancelRebootRequest {
        name: name.clone(),
        abandon,
        reason: "no more".into(),
    };
    denied(
        viewer.cancel_reboot(cancel(false)).await.unwrap_err(),
        "cancel",
    );
    denied(
        bob.cancel_reboot(cancel(false)).await.unwrap_err(),
        "cancel-others",
    );
    denied(
        alice.cancel_reboot(cancel(true)).await.unwrap_err(),
        "abandon",
    );
    let mut admin = world
        .bearer(&world.issuer.token("dora", &["admins"], json!({})))
        .await;
    let ended = admin
        .cancel_reboot(cancel(true))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(ended.error.unwrap().code, "ABANDONED");
}

#[tokio::test]
async fn lists_show_what_the_caller_may_see() {
    let world = Secured::start().await;
    for id in ["pump-1", "pump-2", "meter-1"] {
        world.emulator.register(&id.parse().unwrap());
    }
    let mut laptop = world.bearer(STATIC).await;
    for device in ["pump-1", "meter-1", "pump-2"] {
        let queued = RebootRequest {
            offline_policy: 2,
            ..request(device)
        };
        laptop.reboot(queued).await.unwrap();
    }
    let mut viewer = world
        .bearer(&world.issuer.token("carol", &["viewers"], json!({})))
        .await;
    let mut seen = Vec::new();
    let mut page_token = String::new();
    // One at a time, so that what is hidden falls between pages.
    loop {
        let request = ListRebootsRequest {
            parent: "devices/-".into(),
            page_size: 1,
            page_token,
            filter: String::new(),
        };
        let page = viewer.list_reboots(request).await.unwrap().into_inner();
        seen.extend(page.reboots.into_iter().map(|attempt| attempt.device));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["devices/pump-2", "devices/pump-1"]);
    let devices = viewer.list_devices(ListDevicesRequest::default()).await;
    let mut devices: Vec<_> = devices
        .unwrap()
        .into_inner()
        .devices
        .into_iter()
        .map(|device| device.name)
        .collect();
    devices.sort();
    assert_eq!(devices, ["devices/pump-1", "devices/pump-2"]);
}

#[tokio::test]
async fn a_revoked_binding_holds_for_the_next_call_and_for_open_watches() {
    let world = Secured::start().await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let token = world.issuer.token("alice", &["operators"], json!({}));
    let mut alice = world.bearer(&token).await;
    let mut stream = watched(&mut alice).await;
    assert!(stream.message().await.unwrap().is_some());
    world.change("\"group:operators\", ", "");
    assert_eq!(end(&mut stream).await.code(), Code::NotFound);
    let status = get(&mut alice, "pump-1").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_watch_ends_with_the_token_that_opened_it() {
    let access = crate::secured::ACCESS.replace("audience", "leeway = \"0s\"\naudience");
    let world = Secured::with(crate::secured::TLS, &access).await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let expiry = Timestamp::now().as_second() + 3;
    let token = world
        .issuer
        .token("alice", &["operators"], json!({ "exp": expiry }));
    let mut alice = world.bearer(&token).await;
    let mut stream = watched(&mut alice).await;
    let status = end(&mut stream).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(Timestamp::now().as_second() >= expiry);
}

#[tokio::test]
async fn tags_decide_where_a_binding_says_so() {
    let world = Secured::start().await;
    for id in ["meter-1", "meter-2"] {
        world.emulator.register(&id.parse().unwrap());
    }
    crate::hub::tag(&world.emulator, "meter-1", &json!({"site": "north"})).await;
    crate::hub::tag(&world.emulator, "meter-2", &json!({"site": "south"})).await;
    let token = world.issuer.token("alice", &["north"], json!({}));
    let mut alice = world.bearer(&token).await;
    assert!(get(&mut alice, "meter-1").await.is_ok());
    for id in ["meter-2", "meter-3"] {
        let status = get(&mut alice, id).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{id}");
    }
    let mut laptop = world.bearer(STATIC).await;
    for device in ["meter-1", "meter-2"] {
        let queued = RebootRequest {
            offline_policy: 2,
            ..request(device)
        };
        laptop.reboot(queued).await.unwrap();
    }
    let all = ListRebootsRequest {
        parent: "devices/-".into(),
        ..ListRebootsRequest::default()
    };
    let page = alice.list_reboots(all).await.unwrap().into_inner();
    let devices: Vec<_> = page.reboots.iter().map(|attempt| &attempt.device).collect();
    assert_eq!(devices, ["devices/meter-1"]);
    // What is done is decided by the tags of this moment, whatever was seen before.
    crate::hub::tag(&world.emulator, "meter-1", &json!({"site": "south"})).await;
    let status = alice.reboot(request("meter-1")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn keys_and_static_tokens_change_without_a_restart() {
    let world = Secured::start().await;
    world.emulator.register(&"pump-1".parse().unwrap());
    let mut laptop = world.bearer(STATIC).await;
    let mut old = world
        .bearer(&world.issuer.token("alice", &["viewers"], json!({})))
        .await;
    let other = Issuer::new();
    let mut new = world
        .bearer(&other.token("alice", &["viewers"], json!({})))
        .await;
    becomes(&mut laptop, "pump-1", None).await;
    becomes(&mut old, "pump-1", None).await;
    becomes(&mut new, "pump-1", Some(Code::Unauthenticated)).await;
    // Nobody is told: the files are looked at from time to time.
    world.write("keys.pem", &other.public_pem());
    world.write("laptop.token", "another-token-of-it");
    becomes(&mut laptop, "pump-1", Some(Code::Unauthenticated)).await;
    becomes(&mut old, "pump-1", Some(Code::Unauthenticated)).await;
    becomes(&mut new, "pump-1", None).await;
    // A file with a mistake in it changes nothing.
    world.write("keys.pem", "no keys");
    world.change("role = \"admin\"\n    [[", "role = \"king\"\n    [[");
    tokio::time::sleep(Duration::from_millis(200)).await;
    becomes(&mut new, "pump-1", None).await;
}

#[tokio::test]
async fn the_audit_tells_whoever_may_read_it_who_was_refused() {
    let world = Secured::start().await;
    let _inside = Device::native(&world.emulator, "pump-1").await;
    let operator = world.issuer.token("alice", &["operators"], json!({}));
    let mut alice = world.bearer(&operator).await;
    for device in ["pump-1", "meter-1"] {
        let forced = RebootRequest {
            mode: RebootMode::Forced.into(),
            reason: format!("{device} is stuck"),
            ..request(device)
        };
        alice.reboot(forced).await.unwrap_err();
    }
    let mut nobody = world.client(None, None).await.unwrap();
    get(&mut nobody, "pump-1").await.unwrap_err();
    let denied = ListAuditEventsRequest {
        parent: "devices/-".into(),
        filter: "decision = DENIED".into(),
        page_size: 1,
        page_token: String::new(),
    };
    let read = async |mut client: Client, wanted: usize| {
        within(async {
            loop {
                let (mut seen, mut request) = (Vec::new(), denied.clone());
                loop {
                    let page = client.list_audit_events(request.clone()).await;
                    let page = page.unwrap().into_inner();
                    seen.extend(page.audit_events);
                    if page.next_page_token.is_empty() {
                        break;
                    }
                    request.page_token = page.next_page_token;
                }
                // They are written beside the calls.
                if seen.len() == wanted {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    };
    // An admin of pumps reads about pumps; one of everything reads everything.
    let admin = world.issuer.token("dora", &["admins"], json!({}));
    let of_pumps = read(world.bearer(&admin).await, 1).await;
    assert_eq!(of_pumps[0].caller, "subject:alice");
    assert_eq!(of_pumps[0].device, "devices/pump-1");
    assert_eq!(of_pumps[0].reason, "pump-1 is stuck");
    assert_eq!(of_pumps[0].action, "REBOOT");
    assert!(of_pumps[0].origin.starts_with("127.0.0.1:"));
    assert!(of_pumps[0].verdict.contains("\"force\""), "{of_pumps:?}");
    let all = read(world.bearer(STATIC).await, 3).await;
    let callers: Vec<_> = all.iter().map(|event| event.caller.as_str()).collect();
    assert_eq!(callers, ["", "subject:alice", "subject:alice"]);
    let refused = ListAuditEventsRequest {
        parent: "x".into(),
        filter: "x".into(),
        page_size: -1,
        page_token: "x".into(),
    };
    let mut laptop = world.bearer(STATIC).await;
    let status = laptop.list_audit_events(refused).await.unwrap_err();
    let (_, details) = details(&status);
    assert_eq!(details.bad_request().unwrap().field_violations.len(), 4);
}
