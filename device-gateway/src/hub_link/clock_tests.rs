//! A link by clocks that tests set: a machine whose clock is wrong for a while, and days that pass.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use hub_emulator::{Emulator, EmulatorConfig, Fault, Times};
use jiff::{SignedDuration, Timestamp};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::{config::Config, storage::Storage};

/// How many hours the clock is off.
static OFF: AtomicI64 = AtomicI64::new(0);

fn clock() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(OFF.load(Ordering::SeqCst))
}

/// Nobody waits longer on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A link to a hub that runs.
struct World {
    hub: Emulator,
    handle: LinkHandle,
    linked: JoinHandle<()>,
    shutdown: CancellationToken,
    _folder: TempDir,
}

impl World {
    async fn start(clock: fn() -> Timestamp) -> Self {
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
        let (link, handle) = link_of(&Config::parse(&text, folder.path()).unwrap());
        let shutdown = CancellationToken::new();
        let link = Box::new(Link { clock, ..*link });
        Self {
            hub,
            handle,
            linked: tokio::spawn(link.run(shutdown.clone())),
            shutdown,
            _folder: folder,
        }
    }

    async fn event(&mut self) -> Option<LinkEvent> {
        let event = time::timeout(PATIENCE, self.handle.events.recv()).await;
        event.unwrap()
    }

    async fn up(&mut self) {
        self.until(|event| matches!(event, LinkEvent::Up(_))).await;
    }

    /// Waits for an event, however many others come before it.
    async fn until(&mut self, wanted: impl Fn(&LinkEvent) -> bool) {
        let comes = async { while !self.event().await.is_some_and(|event| wanted(&event)) {} };
        time::timeout(PATIENCE, comes).await.unwrap();
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.linked.await.unwrap();
    }
}

/// The link of the first device.
pub(super) fn link_of(config: &Config) -> (Box<Link>, LinkHandle) {
    let device = &config.devices[0];
    let storage = Storage::open(&config.state_dir).unwrap();
    let home = Home::new(device.id.clone(), device.identity.clone(), storage);
    let dialer = Dialer::new(&config.hub).unwrap();
    let turnstile = Arc::new(Turnstile::new(1_000));
    Link::new(home, Arc::new(config.link.clone()), dialer, turnstile)
}

#[tokio::test]
async fn a_token_that_a_wrong_clock_made_is_refused_and_the_link_recovers_with_the_clock() {
    // Three hours behind, a token of an hour has ended when it is made.
    OFF.store(-3, Ordering::SeqCst);
    let mut world = World::start(clock).await;
    for _ in 0..3 {
        let event = world.event().await;
        assert!(matches!(event, Some(LinkEvent::Down)), "{event:?}");
    }
    assert_eq!(world.hub.counters().connects_accepted.total, 0);

    OFF.store(0, Ordering::SeqCst);
    world.up().await;
    // One that was made ahead of time is good for longer than meant, and no reason to refuse anybody.
    OFF.store(3, Ordering::SeqCst);
    world.hub.faults().cut("d1");
    world.up().await;
    world.stop().await;
}

/// How many days have passed.
static DAYS: AtomicI64 = AtomicI64::new(0);

fn days_later() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * DAYS.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_hub_that_is_back_days_after_the_token_has_expired_is_shown_a_new_one() {
    let mut world = World::start(days_later).await;
    world.up().await;
    world.hub.faults().pause();
    world.until(|event| matches!(event, LinkEvent::Down)).await;
    let accepted = world.hub.counters().connects_accepted.total;

    let later = Fault::SkewClock {
        device: None,
        by: SignedDuration::from_hours(3 * 24),
    };
    world.hub.faults().inject(later, Times::Always);
    DAYS.store(3, Ordering::SeqCst);
    world.hub.faults().resume();
    world.up().await;
    let counters = world.hub.counters();
    assert_eq!(counters.connects_accepted.total, accepted + 1);
    assert_eq!(counters.connects.total, accepted + 1, "none was refused");
    world.stop().await;
}
