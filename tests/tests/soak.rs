//! Promises 2 to 4 under load, with kills at random moments.
//!
//! The rounds of the normal tests are few. `cargo xtask soak` makes 200 of the service and of the
//! gateway; `SOAK_ROUNDS` makes more, and `SOAK_SEED` repeats a run's moments.

use std::{collections::BTreeMap, time::Duration};

use iothubdm_proto::v1::AttemptState;
use iothubdm_tests::{
    Behavior, DeviceSetup, Watched, World,
    soak::{Dice, Load, Told, rounds},
};

/// How many devices are rebooted all the time.
const DEVICES: usize = 6;

/// The longest time from a start to the next kill: longer than a reboot takes.
const LONGEST: Duration = Duration::from_millis(1500);

/// How long the last attempts may take to end. The slowest thing is a poll after a long absence.
const PATIENCE: Duration = Duration::from_secs(240);

fn devices() -> Vec<String> {
    (0..DEVICES)
        .map(|number| format!("pump-{number}"))
        .collect()
}

async fn world() -> World {
    devices()
        .iter()
        .map(|id| {
            DeviceSetup::new(id, Behavior::WellBehaved)
                .with("settle", "50ms")
                // Whoever reboots a device all day wants to.
                .with("loop_window", "1s")
        })
        .fold(World::builder(), |builder, setup| builder.device(setup))
        .service_settings("[polling]\nmax_interval = \"2s\"\n")
        .start()
        .await
}

/// Asserts that nothing that was told is lost, and that no request was carried out twice.
#[expect(clippy::print_stderr, reason = "a long run says what it did")]
async fn check(world: &World, told: &BTreeMap<String, Told>) {
    assert!(told.len() >= DEVICES, "{told:#?}");
    let steps: usize = told.values().map(|told| told.steps.len()).sum();
    eprintln!("{} attempts with {steps} steps are checked", told.len());
    let mut commands: BTreeMap<String, usize> = BTreeMap::new();
    for device in devices() {
        for id in world.commanded_ids(&device) {
            *commands.entry(id).or_default() += 1;
        }
    }
    for (id, times) in &commands {
        assert_eq!(*times, 1, "{id} was carried out {times} times");
    }
    for (name, told) in told {
        let id = name.rsplit('/').next().expect("a name has segments");
        let stream = world.watch(name, "").await.expect("the attempt is there");
        let kept = Watched::to_end(stream).await;
        for (revision, step) in kept.steps() {
            let expected = told.steps.get(&revision);
            let step = (step.state(), step.message.clone());
            assert_eq!(Some(&step), expected, "{name} at revision {revision}");
        }
        assert_eq!(kept.steps().len(), told.steps.len(), "{name}");
        if kept.verdict().state() == AttemptState::Succeeded {
            assert_eq!(commands.get(id), Some(&1), "{name} succeeded by itself");
        }
    }
}

#[tokio::test]
async fn the_service_killed_at_random_moments_loses_nothing_and_reboots_nothing_twice() {
    let mut dice = Dice::new();
    let mut world = world().await;
    let load = Load::start(world.client(), &devices());
    for _ in 0..rounds(8) {
        tokio::time::sleep(dice.pause(LONGEST)).await;
        world.kill_service().await;
        world.start_service().await;
        load.moved(world.client());
    }
    let told = load.finish(PATIENCE).await;
    check(&world, &told).await;
    for (name, told) in &told {
        assert_eq!(
            told.verdict,
            Some(AttemptState::Succeeded),
            "{name}: {told:#?}"
        );
    }
}

#[tokio::test]
async fn the_gateway_killed_at_random_moments_reboots_nothing_twice_and_always_ends() {
    let mut dice = Dice::new();
    let mut world = world().await;
    let load = Load::start(world.client(), &devices());
    for _ in 0..rounds(6) {
        tokio::time::sleep(dice.pause(LONGEST)).await;
        world.kill_gateway().await;
        world.start_gateway().await;
        // Now and then the service goes as well.
        if dice.coin() && dice.coin() {
            world.kill_service().await;
            world.start_service().await;
            load.moved(world.client());
        }
    }
    let told = load.finish(PATIENCE).await;
    check(&world, &told).await;
}
