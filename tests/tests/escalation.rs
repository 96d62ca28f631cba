//! From a command to a stronger one, over the whole path: only by consent, each at most once, and each
//! told with its evidence.

use iothubdm_proto::v1::{
    AttemptState, EvidenceGrade, RebootAttempt, RebootMode, RebootRequest, RebootStep,
};
use iothubdm_tests::{Behavior, DeviceSetup, World, request};
use tonic::Code;

const DEVICE: &str = "pump-1";

/// A device whose policy allows force, and that is given up soon.
fn device(behavior: Behavior) -> DeviceSetup {
    DeviceSetup::new(DEVICE, behavior)
        .with_toml("escalation", "[\"graceful\", \"forced\"]")
        .with_toml("steps.graceful.go_down_limit", "\"2s\"")
        .with("go_down_limit", "4s")
}

/// A graceful request that agrees to so much.
fn up_to(most: RebootMode) -> RebootRequest {
    let mut asked = request(DEVICE);
    asked.set_escalate_to(most);
    asked.reason = "stuck".to_owned();
    asked
}

fn steps(attempt: &RebootAttempt) -> Vec<RebootMode> {
    attempt.steps.iter().map(RebootStep::mode).collect()
}

fn code(step: &RebootStep) -> Option<&str> {
    step.error.as_ref().map(|error| error.code.as_str())
}

#[tokio::test]
async fn a_device_that_ignores_grace_is_forced_and_the_stream_tells_each_step() {
    let world = World::with_device(device(Behavior::HeedsForce)).await;
    let asked = up_to(RebootMode::PowerCycle);
    let attempt = world.request(asked).await.expect("ask for a reboot");
    assert_eq!(attempt.escalate_to(), RebootMode::PowerCycle);
    let watched = world.watch_to_end(&attempt.name).await;
    let verdict = watched.verdict();
    assert_eq!(verdict.state(), AttemptState::Succeeded, "{verdict:?}");
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 2));

    assert_eq!(steps(verdict), [RebootMode::Graceful, RebootMode::Forced]);
    let [graceful, forced] = &verdict.steps[..] else {
        panic!("{verdict:?}");
    };
    let seen = graceful.evidence.as_ref().expect("it said yes");
    assert_eq!(code(graceful), Some("NO_SHUTDOWN"));
    assert_eq!(seen.grade(), EvidenceGrade::Claimed);
    assert_eq!(code(forced), None);
    assert_eq!(forced.evidence, verdict.evidence);
    let boot = |text: &str| text.split(',').next().map(str::to_owned);
    assert_eq!(boot(&seen.after), boot(&seen.before), "{seen:?}");

    let told = watched.steps();
    let commands: Vec<_> = told
        .iter()
        .filter(|(_, progress)| progress.state() == AttemptState::Rebooting)
        .map(|(_, progress)| progress.message.as_str())
        .collect();
    let [first, second] = commands[..] else {
        panic!("{commands:?}");
    };
    assert!(first.contains("the reboot command is out"), "{first}");
    assert!(second.ends_with("forced"), "{second}");
}

#[tokio::test]
async fn nothing_is_escalated_without_consent() {
    let world = World::with_device(device(Behavior::HeedsForce)).await;
    let verdict = world.reboot_to_end(DEVICE).await;
    assert_eq!(verdict.state(), AttemptState::Failed, "{verdict:?}");
    assert_eq!(steps(&verdict), [RebootMode::Graceful]);
    assert_eq!(code(&verdict.steps[0]), Some("NO_SHUTDOWN"));
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (1, 1));

    let mut milder = up_to(RebootMode::Graceful);
    milder.set_mode(RebootMode::Forced);
    let refused = world.request(milder).await.expect_err("milder than asked");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

#[tokio::test]
async fn a_gateway_that_is_killed_between_two_steps_repeats_neither() {
    let mut world = World::with_device(device(Behavior::AckAndNothing)).await;
    let asked = up_to(RebootMode::Forced);
    let attempt = world.request(asked).await.expect("ask for a reboot");
    for known in 1..=2 {
        world
            .until(&attempt.name, "the next step", |attempt| {
                attempt.steps.len() == known
            })
            .await;
        world.kill_gateway().await;
        world.start_gateway().await;
    }
    let watched = world.watch_to_end(&attempt.name).await;
    let verdict = watched.verdict();
    assert_eq!(verdict.state(), AttemptState::Failed, "{verdict:?}");
    assert_eq!(steps(verdict), [RebootMode::Graceful, RebootMode::Forced]);
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (1, 2));
}
