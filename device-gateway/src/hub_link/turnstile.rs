//! How devices take turns to connect: so many in a second, and so many at once.
//!
//! A gateway of many devices that starts, or whose hub was away, has all of them to connect at one
//! moment. A hub limits new connections, and refuses what is beyond.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rand::{Rng, RngExt};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{self, Instant},
};

/// How many devices may be connecting at once: each handshake costs memory and processor time.
const AT_ONCE: usize = 32;

/// Lets devices connect one after the other.
#[derive(Debug)]
pub(crate) struct Turnstile {
    spacing: Duration,
    next: Mutex<Option<Instant>>,
    places: Semaphore,
}

impl Turnstile {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            spacing: Duration::from_secs(1) / per_second.max(1),
            next: Mutex::new(None),
            places: Semaphore::new(AT_ONCE),
        }
    }

    /// Lets no two connect at once.
    #[cfg(test)]
    pub(super) fn of_one_place() -> Self {
        Self {
            places: Semaphore::new(1),
            ..Self::new(1_000)
        }
    }

    /// Waits for the turn to connect, which lasts until what is returned is dropped.
    pub(super) async fn pass(&self) -> Option<SemaphorePermit<'_>> {
        let at = self.take_turn(Instant::now(), &mut rand::rng());
        time::sleep_until(at).await;
        // Nobody closes it.
        self.places.acquire().await.ok()
    }

    /// When whoever comes now may connect. No two turns are closer than the pace allows by more than
    /// half a turn, and gateways that start at one moment are not in step.
    fn take_turn(&self, now: Instant, random: &mut impl Rng) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + self.spacing);
        turn + self.spacing.mul_f64(random.random_range(0.0..0.5))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[tokio::test]
    async fn a_crowd_is_spread_at_the_pace_and_who_comes_alone_does_not_wait() {
        let mut random = StdRng::seed_from_u64(7);
        let turnstile = Turnstile::new(100);
        let start = Instant::now();
        let turns: Vec<_> = (0..1000)
            .map(|_| turnstile.take_turn(start, &mut random) - start)
            .collect();
        let second = Duration::from_secs(1);
        assert!(turns.is_sorted());
        assert!(turns[999] >= second * 999 / 100 && turns[999] < second * 10);
        for (index, turn) in turns.iter().enumerate() {
            let within = turns[index..].iter().take_while(|at| **at < *turn + second);
            assert!(within.count() <= 101);
        }
        let later = start + second * 60;
        let alone = turnstile.take_turn(later, &mut random) - later;
        assert!(alone < Duration::from_millis(5), "{alone:?}");
    }
}
