//! Reading devices.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use iot_hub::reboot::State;
use iothubdm_proto::v1::{
    Dialect, EvidenceGrade, GetDeviceRequest, ListDevicesRequest, ListRebootsRequest, RebootMode,
};
use tonic::Code;

use crate::{
    bad_input::names,
    device::Device,
    world::{World, details, request},
};

#[tokio::test]
async fn a_device_tells_what_it_can_do_and_which_attempt_is_open() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    device.accept(&call, State::Accepted).await;
    let open = reboot.await.unwrap().unwrap().name;
    let name = "devices/pump-1".to_owned();
    let request = GetDeviceRequest { name: name.clone() };
    let device = world.client.get_device(request).await.unwrap().into_inner();
    assert_eq!(device.name, name);
    assert!(device.connected && device.enabled && device.can_cancel);
    assert_eq!(device.dialect(), Dialect::Native);
    assert_eq!(device.best_evidence(), EvidenceGrade::Caused);
    let modes: Vec<_> = device.modes().collect();
    assert_eq!(modes, [RebootMode::Graceful, RebootMode::Forced]);
    assert_eq!(
        (device.gateway.as_str(), device.boot_id.as_str()),
        ("edge-1", "b1")
    );
    assert_eq!(device.open_reboot, open);
    let listed = world
        .client
        .list_devices(ListDevicesRequest::default())
        .await;
    assert_eq!(listed.unwrap().into_inner().devices, [device]);
}

#[tokio::test]
async fn an_unknown_device_is_not_found() {
    let mut world = World::start().await;
    let request = GetDeviceRequest {
        name: "devices/nobody".into(),
    };
    let status = world.client.get_device(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(details(&status).0, "DEVICE_NOT_FOUND");
}

#[tokio::test]
async fn devices_are_filtered_and_paged() {
    let mut world = World::start().await;
    for number in 0..5 {
        let device = format!("pump-{number}").parse().unwrap();
        world.emulator.register(&device);
    }
    let mut found = Vec::new();
    let mut list = ListDevicesRequest {
        page_size: 2,
        filter: "deviceId != 'pump-3'".into(),
        page_token: String::new(),
    };
    loop {
        let page = world.client.list_devices(list.clone()).await;
        let page = page.unwrap().into_inner();
        assert!(page.devices.len() <= 2);
        found.extend(page.devices.into_iter().map(|device| device.name));
        if page.next_page_token.is_empty() {
            break;
        }
        // One that the service could have given, and the hub did not.
        let mut token = BASE64.decode(&page.next_page_token).unwrap();
        token.extend(b"?");
        let forged = ListDevicesRequest {
            page_token: BASE64.encode(token),
            ..list.clone()
        };
        names(
            &world.client.list_devices(forged).await.unwrap_err(),
            "page_token",
            "",
        );
        list.page_token = page.next_page_token;
    }
    found.sort();
    let expected = [0, 1, 2, 4].map(|number| format!("devices/pump-{number}"));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn attempts_are_paged_and_a_token_fits_its_own_list_only() {
    let mut world = World::start().await;
    let mut names = Vec::new();
    for number in 0..3 {
        let id = format!("pump-{number}");
        let mut device = Device::native(&world.emulator, &id).await;
        let reboot = world.ask_meanwhile(request(&id));
        let call = device.called().await;
        device.accept(&call, State::Accepted).await;
        names.insert(0, reboot.await.unwrap().unwrap().name);
    }
    let first = ListRebootsRequest {
        parent: "devices/-".into(),
        page_size: 2,
        ..ListRebootsRequest::default()
    };
    let page = world.client.list_reboots(first.clone()).await;
    let page = page.unwrap().into_inner();
    let listed: Vec<_> = page
        .reboots
        .iter()
        .map(|attempt| attempt.name.clone())
        .collect();
    assert_eq!(listed, names[..2]);
    let second = ListRebootsRequest {
        page_token: page.next_page_token.clone(),
        ..first.clone()
    };
    let rest = world
        .client
        .list_reboots(second)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(rest.reboots[0].name, names[2]);
    assert_eq!(rest.next_page_token, "");
    let other = ListRebootsRequest {
        page_token: page.next_page_token,
        filter: "open = true".into(),
        ..first
    };
    let status = world.client.list_reboots(other).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
