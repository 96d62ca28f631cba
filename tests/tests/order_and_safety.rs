//! Promise 1, for what stands beside a device: nobody reboots it before everything that must say yes
//! has said so, and whoever watches reads who has not.

use std::{fs, time::Duration};

use iothubdm_proto::v1::{AttemptState, BlockedPolicy, RebootAttempt};
use iothubdm_tests::{Behavior, DeviceSetup, World, request};
use tonic::Code;

const DEVICE: &str = "pump-1";

/// A device with an interlock that says yes while there is a file `open` beside the gateway's
/// settings, and with a hook that leaves a file `prepared`.
async fn guarded() -> World {
    let setup = DeviceSetup::new(DEVICE, Behavior::WellBehaved).table(
        "[[device.interlock]]\n\
         name = \"line stopped\"\n\
         command = [\"test\", \"-e\", \"{folder}/open\"]\n\
         [device.prepare]\n\
         command = [\"touch\", \"{folder}/prepared\"]\n",
    );
    World::with_device(setup).await
}

/// Waits until an attempt is held up by these.
async fn blocked(world: &World, name: &str, by: &[&str]) -> RebootAttempt {
    world
        .until(name, "it is blocked", |attempt| {
            let ids: Vec<_> = attempt.blockers.iter().map(|b| b.id.as_str()).collect();
            attempt.state() == AttemptState::Blocked && ids == by
        })
        .await
}

#[tokio::test]
async fn a_device_is_rebooted_once_its_interlock_says_yes_and_not_before() {
    let world = guarded().await;
    let attempt = world.reboot(DEVICE).await.expect("ask for a reboot");
    let attempt = blocked(&world, &attempt.name, &["interlock-line-stopped"]).await;
    assert_eq!(attempt.blockers[0].who, "line stopped");
    assert_eq!(attempt.blockers[0].why, "exit status 1");
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (1, 0));
    assert!(
        !world.folder().join("prepared").exists(),
        "not prepared in vain"
    );

    fs::write(world.folder().join("open"), "").expect("let the interlock say yes");
    let watched = world.watch_to_end(&attempt.name).await;
    assert_eq!(watched.verdict().state(), AttemptState::Succeeded);
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 1));
    assert!(world.folder().join("prepared").exists());
}

#[tokio::test]
async fn a_caller_who_does_not_wait_is_told_who_says_no() {
    let world = guarded().await;
    let mut asked = request(DEVICE);
    asked.set_blocked_policy(BlockedPolicy::Fail);
    let refused = world.request(asked).await.expect_err("it is blocked");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        format!("{refused:?}").contains("interlock-line-stopped"),
        "{refused:?}"
    );
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (1, 0));
}

#[tokio::test]
async fn an_interlock_that_hangs_and_a_hook_that_fails_are_no_yes() {
    let hanging = "[[device.interlock]]\n\
         name = \"line stopped\"\n\
         command = [\"sleep\", \"600\"]\n\
         timeout = \"200ms\"\n";
    let failing = "[device.prepare]\ncommand = [\"false\"]\n";
    let world = World::builder()
        .device(DeviceSetup::new(DEVICE, Behavior::WellBehaved).table(hanging))
        .device(DeviceSetup::new("pump-2", Behavior::WellBehaved).table(failing))
        .start()
        .await;
    for (device, blocker, why) in [
        (DEVICE, "interlock-line-stopped", "it took too long"),
        ("pump-2", "prepare", "exit status 1"),
    ] {
        let mut asked = request(device);
        asked.deadline = Some((std::time::SystemTime::now() + Duration::from_secs(8)).into());
        let attempt = world.request(asked).await.expect("ask for a reboot");
        let attempt = blocked(&world, &attempt.name, &[blocker]).await;
        assert_eq!(attempt.blockers[0].why, why);
        let watched = world.watch_to_end(&attempt.name).await;
        assert_eq!(watched.verdict().state(), AttemptState::Expired);
        assert_eq!((world.boots(device), world.commands(device)), (1, 0));
    }
}
