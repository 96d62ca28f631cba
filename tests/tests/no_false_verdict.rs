//! Promise 1: SUCCEEDED means that the device booted again after this request, at the grade shown;
//! a command that does nothing ends as FAILED.

use iothubdm_proto::v1::{AttemptState, EvidenceGrade, RebootAttempt, reboot_request::Start};
use iothubdm_tests::{Behavior, DeviceSetup, Script, TutorialDevice, World, request};
use tonic::Code;

const DEVICE: &str = "pump-1";

/// Asserts how an attempt failed.
#[track_caller]
fn failed(attempt: &RebootAttempt, state: AttemptState, code: &str) {
    let error = attempt
        .error
        .as_ref()
        .expect("a failed attempt has an error");
    assert_eq!(
        (attempt.state(), error.code.as_str()),
        (state, code),
        "{attempt:?}"
    );
    assert!(!error.message.is_empty());
}

/// Asserts that an attempt proved a new boot, and returns the grade of the proof.
#[track_caller]
fn proved(attempt: &RebootAttempt) -> EvidenceGrade {
    assert_eq!(attempt.state(), AttemptState::Succeeded, "{attempt:?}");
    let evidence = attempt
        .evidence
        .as_ref()
        .expect("a success has its evidence");
    assert_ne!(evidence.before, evidence.after, "{evidence:?}");
    assert!(
        evidence.grade() >= EvidenceGrade::BootChanged,
        "{evidence:?}"
    );
    evidence.grade()
}

#[tokio::test]
async fn a_well_behaved_device_succeeds_with_the_best_evidence() {
    let world = World::with_device(DeviceSetup::new(DEVICE, Behavior::WellBehaved)).await;
    let attempt = world.reboot_to_end(DEVICE).await;
    assert_eq!(proved(&attempt), EvidenceGrade::Healthy);
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 1));
}

#[tokio::test]
async fn a_device_that_acknowledges_and_does_nothing_fails() {
    let setup = DeviceSetup::new(DEVICE, Behavior::AckAndNothing).with("go_down_limit", "2s");
    let world = World::with_device(setup).await;
    failed(
        &world.reboot_to_end(DEVICE).await,
        AttemptState::Failed,
        "NO_SHUTDOWN",
    );
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (1, 1));
}

#[tokio::test]
async fn a_device_that_restarts_its_connection_but_not_itself_fails() {
    let setup = DeviceSetup::new(DEVICE, Behavior::RestartSameBoot).with("go_down_limit", "2s");
    let world = World::with_device(setup).await;
    failed(
        &world.reboot_to_end(DEVICE).await,
        AttemptState::Failed,
        "NO_SHUTDOWN",
    );
}

#[tokio::test]
async fn a_stale_retained_online_proves_nothing() {
    // It went away and came back, which is seen; that it booted is not.
    let setup = DeviceSetup::new(DEVICE, Behavior::StaleOnline).with("verify_limit", "2s");
    let world = World::with_device(setup).await;
    failed(
        &world.reboot_to_end(DEVICE).await,
        AttemptState::Failed,
        "PROOF_TOO_WEAK",
    );
    assert_eq!(world.commands(DEVICE), 1);
}

#[tokio::test]
async fn a_device_that_reboots_without_a_word_is_judged_by_its_boot() {
    let world = World::with_device(DeviceSetup::new(DEVICE, Behavior::NoAck)).await;
    proved(&world.reboot_to_end(DEVICE).await);
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 1));
}

#[tokio::test]
async fn a_boot_too_fast_to_be_seen_absent_is_still_proved() {
    let world = World::with_device(DeviceSetup::new(DEVICE, Behavior::Instant)).await;
    proved(&world.reboot_to_end(DEVICE).await);
}

#[tokio::test]
async fn a_second_boot_of_its_own_is_counted_as_unexpected() {
    let setup = DeviceSetup::new(DEVICE, Behavior::Twice).with("settle", "3s");
    let world = World::with_device(setup).await;
    proved(&world.reboot_to_end(DEVICE).await);
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (3, 1));
    let reported = world.emulator.twin(DEVICE);
    let counters = &reported["properties"]["reported"]["iothubDM"]["reboot"]["counters"];
    assert_eq!(counters["unexpected"], 1, "{counters}");
}

#[tokio::test]
async fn a_device_that_comes_back_unhealthy_fails() {
    let setup = DeviceSetup::new(DEVICE, Behavior::Unhealthy).with("verify_limit", "2s");
    let world = World::with_device(setup).await;
    failed(
        &world.reboot_to_end(DEVICE).await,
        AttemptState::Failed,
        "UNHEALTHY",
    );
    assert_eq!(world.boots(DEVICE), 2);
}

#[tokio::test]
async fn a_device_that_never_comes_back_is_lost() {
    let setup = DeviceSetup::new(DEVICE, Behavior::NeverReturns).with("return_limit", "2s");
    let world = World::with_device(setup).await;
    failed(
        &world.reboot_to_end(DEVICE).await,
        AttemptState::Lost,
        "NO_RETURN",
    );
}

#[tokio::test]
async fn a_device_that_says_no_fails_with_its_words() {
    let world = World::with_device(DeviceSetup::new(DEVICE, Behavior::Refuses)).await;
    failed(
        &world.reboot_to_end(DEVICE).await,
        AttemptState::Failed,
        "TRIGGER_FAILED",
    );
    assert_eq!(world.boots(DEVICE), 1);
}

#[tokio::test]
async fn evidence_that_the_device_cannot_give_is_refused_before_anything_is_sent() {
    let world = World::builder().bare_device("plain").start().await;
    let device = TutorialDevice::start(&world.emulator, "plain", Script::Node).await;
    let mut asked = request("plain");
    asked.set_required_evidence(EvidenceGrade::BootChanged);
    let status = world
        .request(asked)
        .await
        .expect_err("a tutorial's device proves nothing");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert_eq!(device.calls(), 0);
}

#[tokio::test]
async fn another_requests_success_is_not_this_ones() {
    // The twin shows a success of an earlier request when this one begins, and the device lies.
    let setup = DeviceSetup::new(DEVICE, Behavior::AckAndNothing).with("go_down_limit", "2s");
    let world = World::with_device(setup).await;
    let first = world.reboot_to_end(DEVICE).await;
    let second = world.reboot_to_end(DEVICE).await;
    assert_ne!(first.name, second.name);
    failed(&second, AttemptState::Failed, "NO_SHUTDOWN");
    let watched = world.watch_to_end(&second.name).await;
    assert_eq!(watched.verdict().request_id, second.request_id);
}

#[tokio::test]
async fn a_boot_before_the_command_is_not_a_success() {
    // The device boots by itself while its attempt waits for its start: that boot proves nothing.
    let mut world = World::with_device(DeviceSetup::new(DEVICE, Behavior::WellBehaved)).await;
    let mut asked = request(DEVICE);
    asked.start = Some(Start::Delay(prost_types::Duration {
        seconds: 5,
        nanos: 0,
    }));
    let attempt = world
        .request(asked)
        .await
        .expect("ask for a delayed reboot");
    assert_eq!(attempt.state(), AttemptState::Pending, "{attempt:?}");
    world.restart_device(DEVICE).await;
    world
        .emulator
        .watch_twin(DEVICE, |twin| {
            twin["properties"]["reported"]["iothubDM"]["reboot"]["counters"]["unexpected"] == 1
        })
        .await;
    let own_boot =
        world.emulator.twin(DEVICE)["properties"]["reported"]["iothubDM"]["reboot"]["bootId"]
            .clone();
    let watched = world.watch_to_end(&attempt.name).await;
    proved(watched.verdict());
    let evidence = watched
        .verdict()
        .evidence
        .as_ref()
        .expect("a success has its evidence");
    assert!(
        evidence
            .before
            .contains(own_boot.as_str().expect("a boot id")),
        "{evidence:?}"
    );
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (3, 1));
}
