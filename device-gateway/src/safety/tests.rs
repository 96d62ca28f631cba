//! The order of host and devices.

use std::time::Instant;

use iot_hub::reboot::{RequestId, State};
use uuid::Uuid;

use super::*;

const ID: RequestId = RequestId(Uuid::from_u128(7));

fn order() -> Order {
    Order {
        id: ID,
        mode: Mode::Graceful,
        force: false,
        dry_run: false,
        reason: "a test".into(),
    }
}

/// A host with one device.
fn family() -> (Safety, Safety) {
    let family = Family::default();
    let safety = |id: &str, is_host| {
        let member = family.member(id.parse().unwrap(), is_host);
        Safety::new(member)
    };
    (safety("edge-1", true), safety("pump.1", false))
}

#[tokio::test]
async fn devices_come_before_their_host() {
    let (host, device) = family();
    device.member().has_told();
    device.member().stands(Some((ID, State::Scheduled)));
    assert!(host.blockers().is_empty(), "it only waits: parked");
    for state in [
        State::Accepted,
        State::Preparing,
        State::Rebooting,
        State::Down,
        State::Verifying,
    ] {
        device.member().stands(Some((ID, state)));
        let blockers = host.blockers();
        assert_eq!(blockers["child-pump-1"].who, "pump.1");
        assert!(host.prepare(&order()).await.contains_key("child-pump-1"));
        assert!(device.blockers().is_empty(), "the host waits");
    }
    device.member().stands(None);
    assert!(host.blockers().is_empty());
}

#[tokio::test]
async fn while_the_host_may_go_down_no_devices_reboot_begins() {
    let (host, device) = family();
    let mut going_down = device.member().going_down().unwrap();
    let rehearsal = Order {
        dry_run: true,
        ..order()
    };
    assert!(host.prepare(&rehearsal).await.is_empty());
    assert!(device.blockers().is_empty(), "a rehearsal is none");

    host.member().stands(Some((ID, State::Preparing)));
    let told = async {
        going_down.changed().await.unwrap();
        device.member().has_told();
    };
    let order = order();
    let (objections, ()) = tokio::join!(host.prepare(&order), told);
    assert!(objections.is_empty() && going_down.borrow_and_update().is_some());
    for state in [State::Preparing, State::Rebooting, State::Down] {
        host.member().stands(Some((ID, state)));
        assert!(device.blockers().contains_key("parent-rebooting"));
        assert!(
            device
                .prepare(&order)
                .await
                .contains_key("parent-rebooting")
        );
    }
    assert!(!going_down.has_changed().unwrap());
    host.member().stands(None);
    assert!(device.blockers().is_empty());
    assert!(going_down.borrow_and_update().is_none());

    // So it is when somebody else takes the host down.
    host.member().announces(true);
    assert!(device.blockers().contains_key("parent-rebooting"));
    host.member().announces(false);
    assert!(device.blockers().is_empty());
}

#[tokio::test]
async fn the_host_waits_until_its_devices_have_told_the_hub_but_not_for_ever() {
    let (host, device) = family();
    let limit = Duration::from_millis(50);
    let began = Instant::now();
    assert!(host.member().claim(false, limit).await.is_empty());
    assert!(began.elapsed() >= limit);
    assert!(device.blockers().contains_key("parent-rebooting"));

    host.member().stands(None);
    let mut going_down = device.member().going_down().unwrap();
    let told = async {
        going_down.changed().await.unwrap();
        device.member().has_told();
    };
    let (objections, ()) = tokio::join!(host.member().claim(false, Duration::MAX), told);
    assert!(objections.is_empty());
}

#[tokio::test]
async fn a_device_that_is_gone_holds_up_nobody() {
    let (host, device) = family();
    device.member().stands(Some((ID, State::Rebooting)));
    assert!(!host.blockers().is_empty());
    drop(device);
    assert!(host.blockers().is_empty());
    let begun = Instant::now();
    assert!(host.prepare(&order()).await.is_empty());
    assert!(
        begun.elapsed() < TELL_LIMIT,
        "there is nobody to tell the hub"
    );
}
