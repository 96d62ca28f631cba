//! Promise 2: one request reboots a device at most once, over client retries, hub redeliveries, and
//! a crash of either service at any instant.

use hub_emulator::{Fault, Operation, Times};
use iothubdm_proto::v1::{AttemptState, OfflinePolicy, RebootAttempt, RebootMode};
use iothubdm_tests::{BackEnd, Behavior, DeviceSetup, Script, TutorialDevice, World, request};
use serde_json::json;
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt as _;

const DEVICE: &str = "pump-1";
const ID: &str = "7d3f0c52-1f5e-4b6b-9a53-0a4f3c1d2e5f";

fn well_behaved() -> DeviceSetup {
    DeviceSetup::new(DEVICE, Behavior::WellBehaved)
}

/// Asserts that a device rebooted exactly once, for one command, and that the attempt says so.
#[track_caller]
fn rebooted_once(world: &World, attempt: &RebootAttempt) {
    assert_eq!(
        attempt.state(),
        AttemptState::Succeeded,
        "{attempt:?}\n{}",
        world.logs()
    );
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 1));
}

/// Asserts that a device rebooted once or not at all, and that the attempt says which.
///
/// A gateway that is killed after it wrote down that the command leaves, and before it leaves, cannot
/// know that it did not. It never sends it again, and sees that the device did not go down.
#[track_caller]
fn rebooted_as_told(world: &World, attempt: &RebootAttempt) {
    if attempt.state() == AttemptState::Failed {
        let code = attempt.error.as_ref().map(|error| error.code.as_str());
        assert_eq!(code, Some("NO_SHUTDOWN"), "{attempt:?}");
        assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (1, 0));
    } else {
        rebooted_once(world, attempt);
    }
}

#[tokio::test]
async fn a_client_that_retries_gets_the_attempt_it_made() {
    let world = World::with_device(well_behaved()).await;
    let mut asked = request(DEVICE);
    asked.request_id = ID.to_owned();
    let calls = (0..8).map(|_| world.request(asked.clone()));
    let answers = futures_util::future::join_all(calls).await;
    let name = format!("devices/{DEVICE}/reboots/{ID}");
    for answer in answers {
        assert_eq!(answer.expect("a retry is not an error").name, name);
    }
    let watched = world.watch_to_end(&name).await;
    rebooted_once(&world, watched.verdict());

    // Long after the end, the same id is still the same attempt.
    let again = world
        .request(asked.clone())
        .await
        .expect("a late retry is not an error");
    assert_eq!(
        (again.name.as_str(), again.state()),
        (name.as_str(), AttemptState::Succeeded)
    );
    assert_eq!(world.commands(DEVICE), 1);

    // With another request it is a mistake.
    asked.set_mode(RebootMode::Forced);
    asked.reason = "now".to_owned();
    let status = world
        .request(asked)
        .await
        .expect_err("an id stands for one request");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

#[tokio::test]
async fn a_second_request_while_one_is_open_names_the_holder() {
    let world = World::with_device(well_behaved().boot_time(Duration::from_secs(2))).await;
    let first = world.reboot(DEVICE).await.expect("ask for a reboot");
    let status = world.reboot(DEVICE).await.expect_err("one at a time");
    assert_eq!(status.code(), Code::Aborted, "{status}");
    let details = status.get_error_details();
    assert_eq!(
        details.resource_info().expect("the holder").resource_name,
        first.name
    );
    let watched = world.watch_to_end(&first.name).await;
    rebooted_once(&world, watched.verdict());
}

#[tokio::test]
async fn a_method_that_the_hub_delivers_twice_reboots_once() {
    let world = World::with_device(well_behaved()).await;
    let twice = world
        .emulator
        .faults()
        .inject(Fault::RedeliverMethod { device: None }, Times::Next(1));
    let attempt = world.reboot_to_end(DEVICE).await;
    assert_eq!(world.emulator.faults().fired_so_far(twice), 1);
    rebooted_once(&world, &attempt);
}

#[tokio::test]
async fn a_request_that_the_gateway_has_ended_is_known_to_it_for_ever() {
    let mut world = World::with_device(well_behaved()).await;
    let attempt = world.reboot_to_end(DEVICE).await;
    let back_end = BackEnd::new(&world.emulator);
    let payload = json!({ "v": 1, "requestId": attempt.request_id });
    let call = json!({ "methodName": "reboot", "payload": payload });
    for restarts in [false, true] {
        if restarts {
            world.kill_gateway().await;
            world.start_gateway().await;
            world.emulator.callable(DEVICE).await;
        }
        let answer = back_end.call(DEVICE, &call).await;
        assert_eq!(answer["status"], 202, "{answer}");
        assert_eq!(answer["payload"]["state"], "SUCCEEDED", "{answer}");
        assert_eq!(answer["payload"]["duplicate"], true, "{answer}");
    }
    rebooted_once(&world, &attempt);
}

#[tokio::test]
async fn an_answer_lost_on_the_way_is_settled_by_the_twin() {
    let world = World::builder()
        .device(well_behaved())
        .service_settings("[timing]\ndispatch_answer_timeout = \"5s\"\n")
        .start()
        .await;
    let lost = world
        .emulator
        .faults()
        .inject(Fault::LoseMethodAnswer { device: None }, Times::Next(1));
    let attempt = world.reboot_to_end(DEVICE).await;
    assert_eq!(world.emulator.faults().fired_so_far(lost), 1);
    rebooted_once(&world, &attempt);
}

#[tokio::test]
async fn a_tutorials_device_that_may_have_heard_is_not_asked_again() {
    let world = World::builder()
        .bare_device("mute")
        .service_settings("[timing]\ndispatch_answer_timeout = \"5s\"\n")
        .start()
        .await;
    let device = TutorialDevice::start(&world.emulator, "mute", Script::NeverAnswers).await;
    let mut asked = request("mute");
    let deadline = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(12);
    asked.deadline = Some(prost_types::Timestamp {
        seconds: deadline.as_second(),
        nanos: 0,
    });
    let attempt = world
        .request(asked)
        .await
        .expect("an ambiguous answer is not an error");
    let watched = world.watch_to_end(&attempt.name).await;
    assert_eq!(
        watched.verdict().state(),
        AttemptState::Lost,
        "{:?}",
        watched.verdict()
    );
    assert_eq!(device.calls(), 1);
}

#[tokio::test]
async fn a_service_killed_while_its_call_is_under_way_does_not_reboot_twice() {
    let mut world = World::with_device(well_behaved()).await;
    let slow = world.emulator.faults().inject(
        Fault::Delay {
            operation: Some(Operation::MethodCall),
            device: None,
            by: Duration::from_secs(2),
        },
        Times::Always,
    );
    let mut asked = request(DEVICE);
    asked.request_id = ID.to_owned();
    let mut client = world.client();
    let call = tokio::spawn(async move { client.reboot(asked).await });
    world
        .emulator
        .counted(|counters| counters.method_calls.total == 1)
        .await;
    world.kill_service().await;
    assert!(call.await.expect("join").is_err());
    world.emulator.faults().remove(slow);
    world.start_service().await;
    let watched = world
        .watch_to_end(&format!("devices/{DEVICE}/reboots/{ID}"))
        .await;
    rebooted_once(&world, watched.verdict());
}

#[tokio::test]
async fn a_service_killed_while_the_device_boots_does_not_reboot_twice() {
    let mut world = World::with_device(well_behaved().boot_time(Duration::from_secs(2))).await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    let state = |attempt: &RebootAttempt| attempt.state() >= AttemptState::Rebooting;
    world
        .until(&attempt.name, "the command is out", state)
        .await;
    world.kill_service().await;
    world.start_service().await;
    let watched = world.watch_to_end(&attempt.name).await;
    rebooted_once(&world, watched.verdict());
}

/// Kills the gateway while the hub keeps back its answers to the device's reports. The gateway has
/// journalled the request and waits for the acknowledgement: the command is not out.
#[tokio::test]
async fn a_gateway_killed_before_the_command_reboots_once_after_its_restart() {
    let mut world = World::with_device(well_behaved()).await;
    let withheld = world.withhold_twin_answers(DEVICE);
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    world.emulator.faults().fired(withheld, 1).await;
    world.kill_gateway().await;
    assert_eq!(world.commands(DEVICE), 0);
    world.emulator.faults().remove(withheld);
    world.start_gateway().await;
    let watched = world.watch_to_end(&attempt.name).await;
    rebooted_once(&world, watched.verdict());
}

#[tokio::test]
async fn a_gateway_killed_after_the_command_only_looks_after_its_restart() {
    let mut world = World::with_device(well_behaved().boot_time(Duration::from_secs(2))).await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    world.commanded(DEVICE).await;
    world.kill_gateway().await;
    world.start_gateway().await;
    let watched = world.watch_to_end(&attempt.name).await;
    rebooted_once(&world, watched.verdict());
}

#[tokio::test]
async fn a_gateway_killed_before_its_verdict_is_acknowledged_sends_it_again() {
    let mut world = World::with_device(well_behaved().boot_time(Duration::from_secs(1))).await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    world.commanded(DEVICE).await;
    let withheld = world.withhold_twin_answers(DEVICE);
    world
        .emulator
        .watch_twin(DEVICE, |twin| {
            twin["properties"]["reported"]["iothubDM"]["reboot"]["state"] == "SUCCEEDED"
        })
        .await;
    world.kill_gateway().await;
    world.emulator.faults().remove(withheld);
    world.start_gateway().await;
    let watched = world.watch_to_end(&attempt.name).await;
    rebooted_once(&world, watched.verdict());
    world.await_device(DEVICE).await;
    assert_eq!(world.commands(DEVICE), 1);
}

#[tokio::test]
async fn either_service_killed_at_any_moment_reboots_once_at_most_and_tells_it() {
    // Moments spread over an attempt's life, for the service and for the gateway in turn.
    for (round, after) in [0_u64, 20, 60, 120, 250, 500, 900].into_iter().enumerate() {
        let mut world =
            World::with_device(well_behaved().boot_time(Duration::from_millis(300))).await;
        let mut asked = request(DEVICE);
        asked.request_id = ID.to_owned();
        // A call that finds the gateway gone is made again when it is back.
        asked.set_offline_policy(OfflinePolicy::Queue);
        let mut client = world.client();
        let call = tokio::spawn(async move { client.reboot(asked).await });
        world
            .emulator
            .counted(|counters| counters.method_calls.total == 1)
            .await;
        tokio::time::sleep(Duration::from_millis(after)).await;
        if round % 2 == 0 {
            world.kill_gateway().await;
            world.start_gateway().await;
        } else {
            world.kill_service().await;
            world.start_service().await;
        }
        let _ = call.await.expect("join");
        let watched = world
            .watch_to_end(&format!("devices/{DEVICE}/reboots/{ID}"))
            .await;
        rebooted_as_told(&world, watched.verdict());
    }
}
