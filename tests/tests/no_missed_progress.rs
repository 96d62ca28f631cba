//! Promise 4: a watcher that connects late, reconnects, or reads slowly sees the same ordered
//! events, from a token.

use std::time::Duration;

use iothubdm_proto::v1::{AttemptState, RebootEvent, reboot_event::Event};
use iothubdm_tests::{Behavior, DeviceSetup, Watched, World};
use tonic::Code;

const DEVICE: &str = "pump-1";

fn well_behaved() -> DeviceSetup {
    DeviceSetup::new(DEVICE, Behavior::WellBehaved)
}

/// The revisions and states of the steps.
fn steps(watched: &Watched) -> Vec<(i64, AttemptState)> {
    watched
        .steps()
        .iter()
        .map(|(revision, step)| (*revision, step.state()))
        .collect()
}

#[tokio::test]
async fn every_watcher_sees_the_same_events_in_order() {
    let world = World::with_device(well_behaved()).await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    let (early, also_early) = tokio::join!(
        world.watch_to_end(&attempt.name),
        world.watch_to_end(&attempt.name)
    );
    let late = world.watch_to_end(&attempt.name).await;

    let seen = steps(&early);
    assert!(
        seen.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "{seen:?}"
    );
    assert_eq!(seen.last().expect("a verdict").1, AttemptState::Succeeded);
    assert_eq!(steps(&also_early), seen);
    assert_eq!(steps(&late), seen);
    assert!(early.ended.is_none() && late.ended.is_none());
    assert_eq!(late.snapshot().state(), AttemptState::Succeeded);
}

#[tokio::test]
async fn a_watcher_that_reconnects_goes_on_after_its_token() {
    let world = World::with_device(well_behaved()).await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    let whole = world.watch_to_end(&attempt.name).await;
    let all = steps(&whole);
    for (index, event) in whole.events.iter().enumerate() {
        if !matches!(event.event, Some(Event::Progress(_))) {
            continue;
        }
        let stream = world
            .watch(&attempt.name, &whole.token(index))
            .await
            .expect("resume");
        let rest = Watched::to_end(stream).await;
        let expected: Vec<_> = all
            .iter()
            .copied()
            .filter(|(revision, _)| *revision > event.revision)
            .collect();
        assert_eq!(steps(&rest), expected, "after revision {}", event.revision);
        assert!(matches!(rest.events[0].event, Some(Event::Snapshot(_))));
        assert!(rest.ended.is_none());
    }
}

#[tokio::test]
async fn what_a_watcher_saw_outlives_the_service() {
    let mut world = World::with_device(well_behaved().boot_time(Duration::from_secs(2))).await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    let stream = world.watch(&attempt.name, "").await.expect("watch");
    let rebooting = |event: &RebootEvent| matches!(&event.event, Some(Event::Progress(step)) if step.state() == AttemptState::Rebooting);
    let before = Watched::until(stream, rebooting).await;
    let token = before.token(before.events.len() - 1);

    world.kill_service().await;
    world.start_service().await;
    let whole = world.watch_to_end(&attempt.name).await;
    let seen = steps(&before);
    assert_eq!(steps(&whole)[..seen.len()], seen[..]);

    let stream = world.watch(&attempt.name, &token).await.expect("resume");
    let rest = Watched::to_end(stream).await;
    assert_eq!(steps(&rest)[..], steps(&whole)[seen.len()..]);
    assert_eq!(rest.verdict().state(), AttemptState::Succeeded);
}

#[tokio::test]
async fn a_slow_poller_still_tells_every_stage() {
    // One reading of the twin in many seconds: all but the last stage have passed by then.
    let world = World::builder()
        .device(well_behaved())
        .service_settings("[polling]\nmin_interval = \"4s\"\n")
        .start()
        .await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    let watched = world.watch_to_end(&attempt.name).await;
    let states = watched.states();
    let mut stages = [
        AttemptState::Accepted,
        AttemptState::Preparing,
        AttemptState::Rebooting,
        AttemptState::Verifying,
        AttemptState::Succeeded,
    ]
    .iter();
    let mut next = stages.next();
    for state in &states {
        if Some(state) == next {
            next = stages.next();
        }
    }
    assert_eq!(next, None, "missing from {states:?}");
    let times: Vec<_> = watched
        .verdict()
        .timeline
        .iter()
        .map(|entry| entry.time.map(|time| (time.seconds, time.nanos)))
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[tokio::test]
async fn a_watcher_is_told_that_the_service_stops_and_the_attempt_goes_on() {
    let mut world = World::with_device(well_behaved().boot_time(Duration::from_secs(2))).await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    let stream = world.watch(&attempt.name, "").await.expect("watch");
    let watcher = tokio::spawn(Watched::to_end(stream));
    assert_eq!(world.stop_service().await, Some(0));
    let told = watcher
        .await
        .expect("join")
        .ended
        .expect("the stream is told");
    assert_eq!(told.code(), Code::Unavailable, "{told}");
    world.start_service().await;
    let watched = world.watch_to_end(&attempt.name).await;
    assert_eq!(watched.verdict().state(), AttemptState::Succeeded);
}

#[tokio::test]
async fn a_token_of_another_attempt_is_a_mistake() {
    let world = World::with_device(well_behaved()).await;
    let first = world.reboot_to_end(DEVICE).await;
    let second = world.reboot_to_end(DEVICE).await;
    let token = world.watch_to_end(&first.name).await.token(0);
    for wrong in [token.as_str(), "nonsense", "AAAA"] {
        let status = match world.watch(&second.name, wrong).await {
            Err(status) => status,
            Ok(stream) => Watched::to_end(stream).await.ended.expect("an error"),
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("resume_token"), "{status}");
    }
}
