//! Promise 5: any number of watchers costs the hub the same, and the service keeps below the rate it
//! was given.

use std::time::Duration;

use futures_util::future::join_all;
use hub_emulator::{Edition, EmulatorConfig, Shaping, Tier};
use iothubdm_proto::v1::AttemptState;
use iothubdm_tests::{Behavior, DeviceSetup, World, request};
use tonic::Code;
use tonic_types::StatusExt as _;

const DEVICE: &str = "pump-1";

/// The smallest hub, which lets nothing pass at once that is more than its rate.
fn smallest_hub() -> EmulatorConfig {
    EmulatorConfig {
        tier: Some(Tier {
            edition: Edition::S1,
            units: 1,
        }),
        shaping: Shaping {
            credit: Duration::ZERO,
            queue: Duration::from_secs(1),
        },
        ..EmulatorConfig::default()
    }
}

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

#[tokio::test]
async fn many_attempts_and_watchers_on_the_smallest_hub_are_never_refused() {
    let devices: Vec<_> = (0..15).map(|index| format!("pump-{index}")).collect();
    let mut builder = World::builder().hub(smallest_hub());
    for device in &devices {
        let setup =
            DeviceSetup::new(device, Behavior::WellBehaved).boot_time(Duration::from_secs(2));
        builder = builder.device(setup);
    }
    let world = builder.start().await;
    world.emulator.reset_counters();
    let attempts = join_all(devices.iter().map(|device| world.reboot(device))).await;
    let attempts: Vec<_> = attempts.into_iter().map(Result::unwrap).collect();
    let watches = attempts
        .iter()
        .flat_map(|attempt| (0..10).map(|_| world.watch_to_end(&attempt.name)));
    for watched in join_all(watches).await {
        let verdict = watched.verdict();
        assert_eq!(verdict.state(), AttemptState::Succeeded, "{verdict:?}");
    }
    let counters = world.emulator.counters();
    assert_eq!(counters.throttled.total, 0, "{counters:?}");
    assert!(
        counters.service_twin_reads.busiest_second <= 100,
        "{counters:?}"
    );
    assert!(counters.method_calls.busiest_second <= 40, "{counters:?}");
}

#[tokio::test]
async fn more_requests_than_the_hub_allows_are_told_when_to_come_again_and_leave_nothing() {
    let devices: Vec<_> = (0..120).map(|index| format!("pump-{index}")).collect();
    let mut builder = World::builder()
        .hub(smallest_hub())
        .service_settings("[quota]\nlongest_wait = \"1s\"\n");
    for device in &devices {
        builder = builder.bare_device(device);
    }
    let world = builder.start().await;
    world.emulator.reset_counters();
    let asked = join_all(devices.iter().map(|device| world.request(request(device)))).await;
    let (mut told, mut exhausted) = (0, 0);
    for answer in asked {
        let status = answer.expect_err("no such device is connected");
        let details = status.get_error_details();
        let reason = &details.error_info().expect("an ErrorInfo").reason;
        if status.code() == Code::ResourceExhausted {
            assert_eq!(reason, "QUOTA_EXHAUSTED");
            let retry = details.retry_info().and_then(|info| info.retry_delay);
            assert!(retry >= Some(Duration::from_secs(1)), "{retry:?}");
            exhausted += 1;
        } else {
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            assert_eq!(reason, "DEVICE_OFFLINE");
            told += 1;
        }
    }
    assert!(
        told >= 30 && exhausted >= 40,
        "{told} told, {exhausted} refused"
    );
    let counters = world.emulator.counters();
    assert_eq!(counters.method_calls.total, told, "{counters:?}");
    assert_eq!(counters.throttled.total, 0, "{counters:?}");
    assert!(counters.method_calls.busiest_second <= 40, "{counters:?}");
}
