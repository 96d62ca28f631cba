//! The task of one device, from the reading of its journal to its end, and when it begins again after
//! a panic.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use daemon::panics::{Panicked, caught_in};
use iot_hub::identity::DeviceId;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{self, Instant},
};
use tracing::Instrument as _;

use crate::{
    device::{Device, Parts, Stop},
    hub_link::{Backoff, Link},
    pulse::Pulse,
};

/// The longest that a device is left alone after its task has panicked for the first time.
const RISE_MIN: Duration = Duration::from_secs(1);

/// The same for one that panics again and again.
const RISE_MAX: Duration = Duration::from_secs(300);

/// A device that has lived so long since is as good as one that never fell.
const SOUND: Duration = Duration::from_secs(3600);

/// How a device's task ended.
pub(super) type Ended = (DeviceId, Result<(), Panicked>);

/// Held by a device until it has gone on where its journal ends, or could not.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    /// So that many devices do not take many threads to wait for one disk.
    pub(super) turns: Arc<Semaphore>,
    pub(super) until: mpsc::Sender<()>,
}

/// A device and its link, after a pause. When one of them panics, that is the end of both.
pub(super) async fn live(
    mut parts: Box<Parts>,
    link: Box<Link>,
    stop: Stop,
    settling: Settling,
    pause: Duration,
) -> Ended {
    let id = parts.id.clone();
    if !pause.is_zero() {
        Box::pin(rest(pause, &mut parts.pulse, &stop)).await;
    }
    // It is closed at no time; a permit that is missing only lets more read at once.
    let turn = settling.turns.acquire().await;
    // Room is taken when it is its turn: what many take at once and give back leaves holes. The box of
    // the parts goes with them, for one that is emptied here would stay as long as the device.
    let started = caught_in(Box::pin(Device::start(parts))).await;
    drop(turn);
    drop(settling);
    let started = match started {
        Ok(started) => started,
        Err(panicked) => return (id, Err(panicked)),
    };
    let hang_up = stop.now.child_token();
    let linked = tokio::spawn(link.run(hang_up.clone()).in_current_span());
    let worked = caught_in(Box::pin(async {
        if let Some(device) = Device::when_possible(started, &stop).await {
            device.run(&stop).await;
        }
    }));
    let worked = worked.await;
    hang_up.cancel();
    // One that panicked hung up on the device, which ended in order.
    let linked = linked.await.map_err(Panicked::of_task);
    (id, worked.and(linked))
}

/// Waits, unless told to stop. The watchdog is answered meanwhile: nothing hangs.
async fn rest(pause: Duration, pulse: &mut Pulse, stop: &Stop) {
    let answering = async {
        loop {
            pulse.beat().await;
        }
    };
    tokio::select! {
        () = time::sleep(pause) => {}
        () = stop.now.cancelled() => {}
        () = stop.drained.cancelled() => {}
        () = answering => {}
    }
}

/// The devices whose tasks have panicked.
#[derive(Debug, Default)]
pub(super) struct Fallen {
    /// With the time since when each lives again.
    devices: BTreeMap<DeviceId, (Backoff, Instant)>,
}

impl Fallen {
    /// How long a device is left alone that fell now.
    pub(super) fn pause_of(&mut self, id: &DeviceId, now: Instant) -> Duration {
        let fresh = || (Backoff::new(RISE_MIN, RISE_MAX, SOUND), now);
        let (backoff, since) = self.devices.entry(id.clone()).or_insert_with(fresh);
        let lived = now.saturating_duration_since(*since);
        let pause = backoff.next_wait(lived, &mut rand::rng());
        *since = now + pause;
        pause
    }

    /// A device is none of the gateway's any more.
    pub(super) fn forget(&mut self, id: &DeviceId) {
        self.devices.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pulse::{Heart, Watchdog};

    /// Longer than anything here takes, on a machine that is busy with something else.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_device_that_rests_does_not_starve_the_watchdog() {
        let heart = Heart::new();
        let mut pulse = heart.pulse("a".into());
        let (fed, mut feedings) = mpsc::unbounded_channel();
        tokio::spawn(heart.beat(Watchdog {
            interval: Duration::from_millis(1),
            feed: Box::new(move || {
                // The test may have ended.
                let _ = fed.send(());
            }),
        }));
        let five_feedings = async {
            for _ in 0..5 {
                feedings.recv().await.unwrap();
            }
        };
        let stop = Stop::default();
        tokio::select! {
            () = rest(RISE_MAX, &mut pulse, &stop) => panic!("it rested too short"),
            fed = time::timeout(PATIENCE, five_feedings) => fed.unwrap(),
        }
    }

    #[tokio::test]
    async fn a_device_that_rests_can_be_told_to_end() {
        for drain in [false, true] {
            let stop = Stop::default();
            let told = if drain { &stop.drained } else { &stop.now };
            told.cancel();
            let mut pulse = Pulse::unwatched();
            let rested = rest(RISE_MAX, &mut pulse, &stop);
            time::timeout(PATIENCE, rested).await.unwrap();
        }
    }

    #[test]
    fn the_pause_grows_with_each_fall_and_not_for_ever() {
        let id: DeviceId = "a".parse().unwrap();
        let mut fallen = Fallen::default();
        let mut now = Instant::now();
        let mut longest = Duration::ZERO;
        for fall in 0..60 {
            let pause = fallen.pause_of(&id, now);
            assert!(pause <= RISE_MAX);
            assert!(fall > 0 || pause <= RISE_MIN, "{pause:?}");
            longest = longest.max(pause);
            now += pause;
        }
        assert!(longest > RISE_MAX / 2, "{longest:?}");
        assert!(fallen.pause_of(&id, now + SOUND) <= RISE_MIN);
        let others: DeviceId = "b".parse().unwrap();
        assert!(fallen.pause_of(&others, now) <= RISE_MIN);
    }
}
