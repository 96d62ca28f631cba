//! The method that a gateway answers when there is something to read: it saves reads, and nothing
//! depends on it.

use std::time::Duration;

use futures_util::future::join_all;
use iothubdm_proto::v1::AttemptState;
use iothubdm_tests::{Behavior, DeviceSetup, PATIENCE, World, eventually};

const DEVICE: &str = "pump-1";

/// A device that takes so long to boot, and a service that polls as it does by default.
async fn world(boot_time: Duration) -> World {
    let setup = DeviceSetup::new(DEVICE, Behavior::WellBehaved).boot_time(boot_time);
    let world = World::with_device(setup).await;
    world.emulator.reset_counters();
    world
}

/// Waits until a call hangs at the gateway: it is the only one that takes longer than a moment.
async fn held(world: &World) {
    eventually("a call hangs", PATIENCE, async || {
        let calls = world.emulator.counters().method_calls.total;
        (calls >= 2 && world.emulator.holdings().callers == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_watchers_see_all_of_a_reboot_by_a_few_reads() {
    let world = world(Duration::from_secs(4)).await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    let watches = (0..2).map(|_| world.watch_to_end(&attempt.name));
    for watched in join_all(watches).await {
        assert_eq!(watched.verdict().state(), AttemptState::Succeeded);
        assert!(watched.states().contains(&AttemptState::Verifying));
    }
    let counters = world.emulator.counters();
    // The request, and one call for each report that the gateway made.
    let calls = counters.method_calls.total;
    assert!((2..=9).contains(&calls), "{calls} method calls");
    assert_eq!(world.commands(DEVICE), 1, "a watch gives no command");
    assert_eq!(counters.throttled.total, 0);
}

#[tokio::test]
async fn a_gateway_that_is_killed_with_a_call_that_hangs_loses_nothing() {
    let mut world = world(Duration::from_secs(3)).await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    world.commanded(DEVICE).await;
    held(&world).await;
    world.kill_gateway().await;
    world.start_gateway().await;
    let watched = world.watch_to_end(&attempt.name).await;
    assert_eq!(watched.verdict().state(), AttemptState::Succeeded);
    assert_eq!(world.commands(DEVICE), 1);
    assert_eq!(
        world.boots(DEVICE),
        2,
        "the first boot, and the one asked for"
    );
}
