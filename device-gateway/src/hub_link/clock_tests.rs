//! A link whose machine has a wrong clock for a while.

use std::sync::atomic::{AtomicI64, Ordering};

use hub_emulator::{Emulator, EmulatorConfig};
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{config::Config, storage::Storage};

/// How many hours the clock is off.
static OFF: AtomicI64 = AtomicI64::new(0);

fn clock() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(OFF.load(Ordering::SeqCst))
}

/// Nobody waits longer on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_token_that_a_wrong_clock_made_is_refused_and_the_link_recovers_with_the_clock() {
    let hub = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), hub.ca_pem()).unwrap();
    let text = format!(
        "state_dir = \"state\"\n[hub]\nmqtt_port = {}\nca_file = \"ca.pem\"\n\
         [timing]\nreconnect_min = \"10ms\"\nreconnect_max = \"50ms\"\n\
         [[device]]\nid = \"d1\"\nconnection_string = \"{}\"\n\
         [device.command]\nbaseline = [\"false\"]\ntrigger = [\"false\"]\nobserve = [\"false\"]\n",
        hub.mqtt_port(),
        hub.device("d1"),
    );
    let config = Config::parse(&text, folder.path()).unwrap();
    let device = &config.devices[0];
    let storage = Storage::open(&config.state_dir).unwrap();
    let home = Home::new(device.id.clone(), device.identity.clone(), storage);
    let dialer = Dialer::new(&config.hub).unwrap();
    let turnstile = Arc::new(Turnstile::new(1_000));
    // Three hours behind, a token of an hour has ended when it is made.
    OFF.store(-3, Ordering::SeqCst);
    let (link, mut handle) = Link::new(home, config.link.clone(), dialer, turnstile);
    let shutdown = CancellationToken::new();
    let link = Box::new(Link { clock, ..*link });
    let linked = tokio::spawn(link.run(shutdown.clone()));
    for _ in 0..3 {
        let event = time::timeout(PATIENCE, handle.events.recv()).await.unwrap();
        assert!(matches!(event, Some(LinkEvent::Down)), "{event:?}");
    }
    assert_eq!(hub.counters().connects_accepted.total, 0);

    OFF.store(0, Ordering::SeqCst);
    let up = async { while !matches!(handle.events.recv().await, Some(LinkEvent::Up(_))) {} };
    time::timeout(PATIENCE, up).await.unwrap();
    // One that was made ahead of time is good for longer than meant, and no reason to refuse anybody.
    OFF.store(3, Ordering::SeqCst);
    hub.faults().cut("d1");
    let up = async { while !matches!(handle.events.recv().await, Some(LinkEvent::Up(_))) {} };
    time::timeout(PATIENCE, up).await.unwrap();
    shutdown.cancel();
    linked.await.unwrap();
}
