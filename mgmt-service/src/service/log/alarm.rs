//! One timer for all who wait for a log.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::Instant,
};

use tokio::{
    task::coop::unconstrained,
    time::{Sleep, sleep_until},
};

use super::waiting::Waiting;
use crate::lock::lock;

/// Wakes all who wait, at the earliest of the moments that they have named since it did so last.
///
/// It forgets the others: whoever is woken looks at everything, and names its moment again.
#[derive(Debug, Default)]
pub(super) struct Alarm(Mutex<Option<Pin<Box<Sleep>>>>);

impl Alarm {
    /// Wakes those who wait at this moment, if not earlier.
    pub(super) fn set(&self, at: Instant, waiting: &Arc<Waiting>) {
        let mut timer = lock(&self.0);
        match &mut *timer {
            Some(timer) if timer.is_elapsed() => timer.as_mut().reset(at.into()),
            Some(timer) if timer.deadline() <= at.into() => return,
            Some(timer) => timer.as_mut().reset(at.into()),
            None => *timer = Some(Box::pin(sleep_until(at.into()))),
        }
        let Some(timer) = &mut *timer else { return };
        let waker = Waker::from(waiting.clone());
        // Whoever sets it may have done a lot in its turn; the timer is not of its task.
        let timer = pin!(unconstrained(timer.as_mut()));
        if timer.poll(&mut Context::from_waker(&waker)).is_ready() {
            waker.wake();
        }
    }

    /// Whoever waits is about to be woken.
    pub(super) fn stop(&self) {
        *lock(&self.0) = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wakes::Wakes;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn all_who_wait_are_woken_at_the_earliest_moment_that_was_named() {
        let (alarm, waiting) = (Alarm::default(), Arc::new(Waiting::default()));
        let ((one, wake_one), (other, wake_other)) = (Wakes::counted(), Wakes::counted());
        let places = [waiting.enter(), waiting.enter()];
        for round in 1..=2 {
            waiting.wait(places[0], &wake_one);
            waiting.wait(places[1], &wake_other);
            let soon = Instant::now() + Duration::from_millis(20);
            alarm.set(soon + HOUR, &waiting);
            alarm.set(soon, &waiting);
            alarm.set(soon + HOUR, &waiting);
            assert_eq!((one.count(), other.count()), (round - 1, round - 1));
            let all_woken = async {
                while one.count() < round || other.count() < round {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let in_time = tokio::time::timeout(Duration::from_secs(30), all_woken).await;
            assert!(in_time.is_ok());
            assert!(Instant::now() >= soon);
        }
    }

    #[tokio::test]
    async fn a_moment_that_is_past_is_now_and_a_stopped_alarm_wakes_nobody() {
        let (alarm, waiting) = (Alarm::default(), Arc::new(Waiting::default()));
        let (wakes, waker) = Wakes::counted();
        waiting.wait(waiting.enter(), &waker);
        alarm.set(Instant::now() + HOUR, &waiting);
        alarm.stop();
        assert!(lock(&alarm.0).is_none());
        assert_eq!(wakes.count(), 0);
        let past = Instant::now().checked_sub(HOUR).unwrap();
        alarm.set(past, &waiting);
        assert_eq!(wakes.count(), 1);
    }
}
