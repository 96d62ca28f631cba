//! The session with the hub, when things go wrong.

use std::time::Duration;

use futures_util::future;
use hub_emulator::{ConnectRefusal, EmulatorConfig, Fault, Operation, Times};
use serde_json::{Value, json};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
};

use crate::{
    device::Script,
    world::{DEVICE, ID, World, within},
};

fn refusal(refusal: ConnectRefusal) -> Fault {
    Fault::RefuseConnect {
        device: None,
        refusal,
    }
}

#[tokio::test]
async fn a_hub_that_is_away_at_the_start_is_tried_again() {
    let mut world = World::prepare("", EmulatorConfig::default()).await;
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    world.start_with(world.config_of(&world.hub.device(DEVICE), port));
    for _ in 0..3 {
        drop(within(door.accept()).await.unwrap());
    }
    let hub = world.hub.mqtt_port();
    let open_door = tokio::spawn(async move {
        let (mut gateway, _) = door.accept().await.unwrap();
        let mut hub = TcpStream::connect(("127.0.0.1", hub)).await.unwrap();
        io::copy_bidirectional(&mut gateway, &mut hub).await
    });
    world.connected().await;
    world.reboot().await;
    world.state("SUCCEEDED").await;
    open_door.abort();
}

#[tokio::test]
async fn refused_credentials_are_no_reason_to_give_up() {
    let mut world = World::prepare("", EmulatorConfig::default()).await;
    let faults = world.hub.faults();
    faults.inject(refusal(ConnectRefusal::NotAuthorized), Times::Next(3));
    faults.inject(refusal(ConnectRefusal::ServerUnavailable), Times::Next(2));
    faults.inject(refusal(ConnectRefusal::Close), Times::Next(2));
    world.start_gateway();
    world.connected().await;
    assert!(world.hub.counters().connects.total >= 6);
}

#[tokio::test]
async fn a_wrong_key_never_connects_and_never_ends_the_gateway() {
    let mut world = World::prepare("", EmulatorConfig::default()).await;
    let wrong = world.hub.device("another-device");
    let key = wrong.split("SharedAccessKey=").nth(1).unwrap();
    let right = world.hub.device(DEVICE);
    let base = right.split("SharedAccessKey=").next().unwrap();
    let config = world.config(&format!("{base}SharedAccessKey={key}"));
    world.start_with(config);
    within(world.hub.counted(|counters| counters.connects.total >= 3)).await;
    assert!(!world.hub.is_connected(DEVICE));
    world.stop_gateway().await;
}

#[tokio::test]
async fn a_cut_link_comes_back_and_forgets_nothing() {
    let world = World::start().await;
    world.device.follow(Script::Waits);
    world.reboot().await;
    within(world.device.ordered()).await;
    for _ in 0..3 {
        world.hub.faults().forget_sessions();
        world.hub.faults().cut(DEVICE);
        within(world.hub.disconnected(DEVICE)).await;
        world.connected().await;
    }
    world.device.boot(Some(ID.parse().unwrap()));
    world.state("SUCCEEDED").await;
    assert_eq!(world.device.orders().len(), 1);
}

#[tokio::test]
async fn a_patch_whose_answer_is_lost_is_made_up_for() {
    let world = World::start().await;
    world.reported(|reboot| reboot["bootId"] == "boot-0").await;
    let withheld = Fault::WithholdTwinAnswers {
        device: DEVICE.parse().unwrap(),
    };
    let fault = world.hub.faults().inject(withheld, Times::Always);
    world.device.boot(None);
    within(world.hub.faults().fired(fault, 1)).await;
    world.hub.faults().remove(fault);
    world.hub.faults().cut(DEVICE);
    world.device.boot(None);
    let reported = world
        .reported(|reboot| reboot["counters"]["unexpected"] == 2)
        .await;
    assert_eq!(reported["bootId"], "boot-2");
}

#[tokio::test]
async fn a_throttled_patch_is_sent_again() {
    let world = World::start().await;
    world.reported(|reboot| reboot["bootId"] == "boot-0").await;
    let throttled = Fault::Answer {
        operation: Some(Operation::DeviceTwinUpdate),
        device: None,
        status: 429,
        retry_after: None,
    };
    let fault = world.hub.faults().inject(throttled, Times::Next(1));
    world.device.boot(None);
    within(world.hub.faults().fired(fault, 1)).await;
    world
        .reported(|reboot| reboot["counters"]["unexpected"] == 1)
        .await;
}

#[tokio::test]
async fn an_answer_that_was_not_acknowledged_is_sent_again() {
    let world = World::start().await;
    let withheld = Fault::WithholdAcks {
        device: DEVICE.parse().unwrap(),
    };
    let fault = world.hub.faults().inject(withheld, Times::Always);
    let (status, _) = world.call("capabilities", Value::Null).await;
    assert_eq!(status, 200);
    within(world.hub.faults().fired(fault, 1)).await;
    world.hub.faults().cut(DEVICE);
    within(world.hub.disconnected(DEVICE)).await;
    within(world.hub.faults().fired(fault, 2)).await;
}

#[tokio::test]
async fn tokens_are_renewed_without_losing_a_call() {
    let config = EmulatorConfig {
        // A token ends at a whole second, up to one before its life is over.
        token_grace: Duration::from_secs(2),
        ..EmulatorConfig::default()
    };
    let mut world = World::prepare("token_life = \"2s\"", config).await;
    world.start_gateway();
    world.connected().await;
    let begun = world.hub.counters().connects_accepted.total;
    let call_on = async || {
        let mut calls = 0;
        while world.hub.counters().connects_accepted.total < begun + 3 {
            // A caller waits for a device that is away for a moment: that is what the hub offers.
            let (status, _) = world.call("capabilities", json!(null)).await;
            assert_eq!(status, 200);
            calls += 1;
        }
        calls
    };
    let callers = (0..8).map(|_| call_on());
    let calls: u32 = future::join_all(callers).await.into_iter().sum();
    assert!(calls > 30);
    let counters = world.hub.counters();
    assert_eq!(counters.connects.total, counters.connects_accepted.total);
}

#[tokio::test]
async fn a_stopped_gateway_signs_off() {
    let mut world = World::start().await;
    world.stop_gateway().await;
    within(world.hub.disconnected(DEVICE)).await;
    assert!(
        world
            .state_dir()
            .join("state")
            .join("gateway.redb")
            .exists()
    );
}
