//! Promise 3: every attempt reaches a terminal state by its deadline, whatever dies on the way.

use std::time::Duration;

use iothubdm_proto::v1::{AttemptState, OfflinePolicy, RebootAttempt, RebootRequest};
use iothubdm_tests::{
    Behavior, DeviceSetup, PATIENCE, Script, TutorialDevice, World, eventually, request,
};
use jiff::{SignedDuration, Timestamp};
use tonic::Code;

const DEVICE: &str = "pump-1";

/// A request that has to have ended so many seconds from now.
fn ending_in(device: &str, seconds: i64) -> RebootRequest {
    let deadline = Timestamp::now() + SignedDuration::from_secs(seconds);
    let mut asked = request(device);
    asked.deadline = Some(prost_types::Timestamp {
        seconds: deadline.as_second(),
        nanos: deadline.subsec_nanosecond(),
    });
    asked
}

/// A device that stays away long enough for the test to pull the plug on something.
fn slow() -> DeviceSetup {
    DeviceSetup::new(DEVICE, Behavior::WellBehaved).boot_time(Duration::from_secs(20))
}

#[track_caller]
fn ended(attempt: &RebootAttempt, state: AttemptState) {
    assert_eq!(attempt.state(), state, "{attempt:?}");
    assert!(
        attempt.end_time.is_some() && attempt.error.is_some(),
        "{attempt:?}"
    );
}

#[tokio::test]
async fn the_device_never_returns() {
    let mut world = World::with_device(slow().with("return_limit", "3s")).await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    world.commanded(DEVICE).await;
    world.stop_device(DEVICE).await;
    ended(
        world.watch_to_end(&attempt.name).await.verdict(),
        AttemptState::Lost,
    );
}

#[tokio::test]
async fn the_gateway_never_returns() {
    let mut world = World::with_device(slow()).await;
    let attempt = world
        .request(ending_in(DEVICE, 6))
        .await
        .expect("ask for a reboot");
    world.commanded(DEVICE).await;
    world.kill_gateway().await;
    ended(
        world.watch_to_end(&attempt.name).await.verdict(),
        AttemptState::Lost,
    );
}

#[tokio::test]
async fn the_service_comes_back_after_the_deadline() {
    let mut world = World::with_device(slow()).await;
    let deadline = Timestamp::now() + SignedDuration::from_secs(4);
    let attempt = world
        .request(ending_in(DEVICE, 4))
        .await
        .expect("ask for a reboot");
    world.kill_service().await;
    world.kill_gateway().await;
    eventually("the deadline passes", PATIENCE, async || {
        (Timestamp::now() > deadline).then_some(())
    })
    .await;
    world.start_service().await;
    ended(
        world.watch_to_end(&attempt.name).await.verdict(),
        AttemptState::Lost,
    );
}

#[tokio::test]
async fn the_hub_goes_away() {
    let world = World::with_device(slow()).await;
    let attempt = world
        .request(ending_in(DEVICE, 6))
        .await
        .expect("ask for a reboot");
    world.commanded(DEVICE).await;
    world.emulator.faults().pause();
    ended(
        world.watch_to_end(&attempt.name).await.verdict(),
        AttemptState::Lost,
    );
}

#[tokio::test]
async fn a_device_that_never_connects_expires_when_it_was_queued_and_fails_the_call_when_not() {
    let world = World::builder().bare_device("asleep").start().await;
    let status = world
        .request(ending_in("asleep", 4))
        .await
        .expect_err("it is not connected");
    assert_eq!(status.code(), Code::Unavailable, "{status}");

    let mut queued = ending_in("asleep", 4);
    queued.set_offline_policy(OfflinePolicy::Queue);
    let attempt = world.request(queued).await.expect("queue a reboot");
    assert_eq!(attempt.state(), AttemptState::Pending, "{attempt:?}");
    ended(
        world.watch_to_end(&attempt.name).await.verdict(),
        AttemptState::Expired,
    );
}

#[tokio::test]
async fn a_tutorials_device_that_never_reports_is_lost() {
    let world = World::builder().bare_device("mute").start().await;
    let _device = TutorialDevice::start(&world.emulator, "mute", Script::NeverReports).await;
    let attempt = world
        .request(ending_in("mute", 4))
        .await
        .expect("ask for a reboot");
    ended(
        world.watch_to_end(&attempt.name).await.verdict(),
        AttemptState::Lost,
    );
}

#[tokio::test]
async fn an_ended_attempt_frees_its_device() {
    let mut world = World::with_device(slow()).await;
    let first = world
        .request(ending_in(DEVICE, 5))
        .await
        .expect("ask for a reboot");
    world.commanded(DEVICE).await;
    world.kill_gateway().await;
    ended(
        world.watch_to_end(&first.name).await.verdict(),
        AttemptState::Lost,
    );
    world.start_gateway().await;
    let second = eventually("a new attempt begins", PATIENCE, async || {
        world.reboot(DEVICE).await.ok()
    })
    .await;
    assert_ne!(first.name, second.name);
    // The device did come back from the first: that is noted, and the verdict stays.
    let lost = world.get(&first.name).await;
    assert_eq!(lost.state(), AttemptState::Lost);
}
