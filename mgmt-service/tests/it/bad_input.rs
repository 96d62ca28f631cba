//! Bad input: an error that names field and rule, and nothing begun.

use iothubdm_proto::v1::{
    CancelRebootRequest, GetDeviceRequest, GetRebootRequest, ListAuditEventsRequest,
    ListDevicesRequest, ListRebootsRequest, RebootRequest,
};
use tonic::{Code, Status};

use crate::{
    device::Device,
    world::{World, details, request},
};

#[track_caller]
pub(crate) fn names(status: &Status, field: &str, rule: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let (_, details) = details(status);
    let violations = &details.bad_request().unwrap().field_violations;
    let found = violations
        .iter()
        .any(|violation| violation.field == field && violation.description.contains(rule));
    assert!(found, "{field}: {rule} not in {violations:?}");
    assert!(status.message().contains(field), "{}", status.message());
}

#[tokio::test]
async fn a_request_with_broken_fields_names_each() {
    let mut world = World::start().await;
    let _device = Device::native(&world.emulator, "pump-1").await;
    let past = prost_types::Timestamp {
        seconds: 1_000_000,
        nanos: 0,
    };
    for (field, rule, asked) in [
        ("device", "devices/{device}", RebootRequest::default()),
        (
            "request_id",
            "UUID",
            RebootRequest {
                request_id: "seven".into(),
                ..request("pump-1")
            },
        ),
        (
            "deadline",
            "after the start",
            RebootRequest {
                deadline: Some(past),
                ..request("pump-1")
            },
        ),
        (
            "reason",
            "required for FORCED",
            RebootRequest {
                mode: 2,
                ..request("pump-1")
            },
        ),
    ] {
        let status = world.ask(asked).await.unwrap_err();
        names(&status, field, rule);
    }
    assert_eq!(world.emulator.counters().method_calls.total, 0);
}

#[tokio::test]
async fn names_filters_and_page_tokens_are_checked() {
    let mut world = World::start().await;
    let client = &mut world.client;
    let name = || "devices/pump-1/reboots/7".to_owned();
    let status = client
        .get_reboot(GetRebootRequest { name: name() })
        .await
        .unwrap_err();
    names(&status, "name", "devices/{device}/reboots/{reboot}");
    let cancel = CancelRebootRequest {
        name: name(),
        ..CancelRebootRequest::default()
    };
    names(
        &client.cancel_reboot(cancel).await.unwrap_err(),
        "name",
        "UUID",
    );
    let device = GetDeviceRequest {
        name: "pump-1".into(),
    };
    names(
        &client.get_device(device).await.unwrap_err(),
        "name",
        "devices/{device}",
    );
    let list = ListRebootsRequest {
        parent: "devices".into(),
        page_size: -1,
        page_token: "x".into(),
        filter: "colour = red".into(),
    };
    let status = client.list_reboots(list).await.unwrap_err();
    names(&status, "parent", "devices/- for all");
    names(&status, "page_size", "negative");
    names(&status, "page_token", "next_page_token");
    names(
        &status,
        "filter",
        "expected state, create_time or open at character 1",
    );
    let many = ["open = true"; 2000].join(" AND ");
    let list = ListRebootsRequest {
        parent: "devices/-".into(),
        filter: many.clone(),
        ..ListRebootsRequest::default()
    };
    names(
        &client.list_reboots(list).await.unwrap_err(),
        "filter",
        "at most 50",
    );
    let list = ListAuditEventsRequest {
        parent: "devices/-".into(),
        filter: many.replace("open = true", "decision = DENIED"),
        ..ListAuditEventsRequest::default()
    };
    let status = client.list_audit_events(list).await.unwrap_err();
    names(&status, "filter", "at most 50");
    let list = ListDevicesRequest {
        page_token: "x".into(),
        ..ListDevicesRequest::default()
    };
    names(
        &client.list_devices(list).await.unwrap_err(),
        "page_token",
        "next_page_token",
    );
    let list = ListDevicesRequest {
        filter: "tags.site =".into(),
        ..ListDevicesRequest::default()
    };
    let status = client.list_devices(list).await.unwrap_err();
    names(&status, "filter", "at character 12");
    assert_eq!(world.emulator.counters().queries.total, 0);
}

#[tokio::test]
async fn a_huge_message_is_refused_and_the_service_lives() {
    let mut world = World::start().await;
    let _device = Device::native(&world.emulator, "pump-1").await;
    let asked = RebootRequest {
        reason: "x".repeat(1 << 20),
        ..request("pump-1")
    };
    let status = world.ask(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    let asked = RebootRequest {
        validate_only: true,
        ..request("pump-1")
    };
    world.ask(asked).await.unwrap();
}
