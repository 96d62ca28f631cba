//! Those who wait for a log to change: each has a place, and in it what wakes it.

use std::{
    mem,
    sync::{Arc, Mutex},
    task::{Wake, Waker},
};

use crate::lock::lock;

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    /// By place; `None` where nobody waits at this moment.
    wakers: Vec<Option<Waker>>,
    /// The places that nobody has.
    free: Vec<usize>,
}

impl Waiting {
    /// Takes a place.
    pub(super) fn enter(&self) -> usize {
        let mut places = lock(&self.0);
        places.free.pop().unwrap_or_else(|| {
            places.wakers.push(None);
            places.wakers.len() - 1
        })
    }

    /// Gives a place back.
    pub(super) fn leave(&self, place: usize) {
        let mut places = lock(&self.0);
        // What a waker holds may be the last of something that has a place: it goes after the lock.
        let waker = places.wakers.get_mut(place).and_then(Option::take);
        places.free.push(place);
        if places.free.len() == places.wakers.len() {
            *places = Places::default();
        }
        drop(places);
        drop(waker);
    }

    /// Has this woken at the next change, once.
    pub(super) fn wait(&self, place: usize, waker: &Waker) {
        let mut places = lock(&self.0);
        let Some(held) = places.wakers.get_mut(place) else {
            return;
        };
        if held.as_ref().is_some_and(|held| held.will_wake(waker)) {
            return;
        }
        let before = held.replace(waker.clone());
        drop(places);
        drop(before);
    }

    /// Wakes all who wait.
    pub(super) fn wake_all(&self) {
        let mut places = lock(&self.0);
        let woken: Vec<Waker> = places.wakers.iter_mut().filter_map(mem::take).collect();
        drop(places);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether nobody has a place.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).wakers.is_empty()
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wakes::Wakes;

    #[test]
    fn who_waits_is_woken_once_and_who_left_is_not() {
        let waiting = Waiting::default();
        let ((one, wake_one), (other, wake_other)) = (Wakes::counted(), Wakes::counted());
        let places = [waiting.enter(), waiting.enter()];
        waiting.wait(places[0], &wake_one);
        waiting.wait(places[0], &wake_one);
        waiting.wait(places[1], &wake_other);
        waiting.leave(places[1]);
        waiting.wake_all();
        waiting.wake_all();
        assert_eq!((one.count(), other.count()), (1, 0));
        waiting.wait(places[0], &wake_one);
        waiting.wait(places[0], &wake_other);
        waiting.wake_all();
        let counts = (one.count(), other.count());
        assert_eq!(counts, (1, 1), "the newest waker counts");
    }

    #[test]
    fn a_place_is_taken_again_and_none_are_kept_for_nobody() {
        let waiting = Waiting::default();
        assert!(waiting.is_empty());
        let places: Vec<usize> = (0..100).map(|_| waiting.enter()).collect();
        waiting.leave(places[7]);
        assert_eq!(waiting.enter(), places[7]);
        places.iter().for_each(|place| waiting.leave(*place));
        assert!(waiting.is_empty());
    }
}
