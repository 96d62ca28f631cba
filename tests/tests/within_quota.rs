//! Promise 5: any number of watchers costs the hub the same, and the service keeps below the rate it
//! was given.

use std::time::Duration;

use futures_util::future::join_all;
use iothubdm_proto::v1::AttemptState;
use iothubdm_tests::{Behavior, DeviceSetup, World};

const DEVICE: &str = "pump-1";

/// The hub's twin reads for one reboot that so many watchers follow.
async fn reads_for(watchers: usize) -> u64 {
    let setup = DeviceSetup::new(DEVICE, Behavior::WellBehaved).boot_time(Duration::from_secs(2));
    let world = World::with_device(setup).await;
    world.emulator.reset_counters();
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    let watches = (0..watchers).map(|_| world.watch_to_end(&attempt.name));
    for watched in join_all(watches).await {
        assert_eq!(watched.verdict().state(), AttemptState::Succeeded);
    }
    world.emulator.counters().service_twin_reads.total
}

#[tokio::test]
async fn a_thousand_watchers_cost_what_one_costs() {
    let (one, thousand) = (reads_for(1).await, reads_for(1000).await);
    // The same reboot takes a little longer on a busy machine, which is worth a few reads. A
    // watcher that cost as much as a tenth of a read would show as a hundred.
    assert!(
        thousand < one + 50,
        "{one} reads for one watcher, {thousand} for a thousand"
    );
}

#[tokio::test]
async fn all_pollers_together_keep_below_the_rate() {
    let devices: Vec<_> = (0..12).map(|index| format!("pump-{index}")).collect();
    let mut builder = World::builder().service_settings("[polling]\nreads_per_second = 10\n");
    for device in &devices {
        let setup =
            DeviceSetup::new(device, Behavior::WellBehaved).boot_time(Duration::from_secs(2));
        builder = builder.device(setup);
    }
    let world = builder.start().await;
    // Arranging the world read twins too; the rate holds from here on.
    world.emulator.reset_counters();
    let verdicts = join_all(devices.iter().map(|device| world.reboot_to_end(device))).await;
    for verdict in verdicts {
        assert_eq!(verdict.state(), AttemptState::Succeeded, "{verdict:?}");
    }
    let reads = world.emulator.counters().service_twin_reads;
    // Two more than the rate, for what a busy machine delays and delivers together.
    assert!(reads.busiest_second <= 12, "{reads:?}");
    assert!(
        reads.total >= 24,
        "each attempt was read before and after: {reads:?}"
    );
}
