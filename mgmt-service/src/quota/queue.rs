//! Who is let through next to a kind of call: a pure core.
//!
//! What must not wait (asking to cancel, sending again what may have arrived) goes first; the others
//! are callers' requests, which take turns. All share one bucket.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Bucket, Exhausted, Line};

/// Whose call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim<'a> {
    /// One that goes before all callers'.
    First,
    /// This caller's.
    Of(&'a str),
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Let this one through.
    Pass(u64),
    /// Nobody before then.
    Wait(Instant),
    /// Nobody until somebody comes.
    Idle,
}

/// Who waits, and who is next.
#[derive(Debug)]
pub(crate) struct Queue {
    bucket: Bucket,
    first: VecDeque<u64>,
    line: Line<u64>,
    room: usize,
}

impl Queue {
    /// An empty queue with room for so many of either kind.
    pub(crate) fn new(per_second: f64, room: usize, now: Instant) -> Self {
        Self {
            bucket: Bucket::new(per_second, now),
            first: VecDeque::new(),
            line: Line::new(room),
            room,
        }
    }

    /// Somebody comes, by a number that tells them from others.
    pub(crate) fn come(
        &mut self,
        number: u64,
        claim: Claim<'_>,
        now: Instant,
    ) -> Result<(), Exhausted> {
        // A hub that wants to be left alone for longer than a full line takes: nobody is to wait that long.
        let until_ready = self.bucket.ready_at().saturating_duration_since(now);
        let in_time = until_ready <= self.bucket.round(self.room);
        let there_is_room = in_time
            && match claim {
                Claim::First if self.first.len() < self.room => {
                    self.first.push_back(number);
                    true
                }
                Claim::First => false,
                Claim::Of(caller) => self.line.push(caller, number).is_ok(),
            };
        if there_is_room {
            return Ok(());
        }
        let ahead = self.first.len() + self.line.len();
        Err(Exhausted {
            retry_after: until_ready + self.bucket.time_for(ahead, now),
        })
    }

    /// Lets somebody through who does not wait, when nobody else does.
    pub(crate) fn try_pass(&mut self, now: Instant) -> bool {
        self.is_idle() && self.bucket.take(now)
    }

    /// Nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.first.is_empty() && self.line.is_empty()
    }

    /// Somebody does not wait any longer.
    pub(crate) fn leave(&mut self, number: u64, claim: Claim<'_>) {
        match claim {
            Claim::First => self.first.retain(|other| *other != number),
            Claim::Of(caller) => self.line.remove(caller, |other| *other == number),
        }
    }

    /// Says who is next.
    pub(crate) fn next(&mut self, now: Instant) -> Turn {
        if self.is_idle() {
            return Turn::Idle;
        }
        if !self.bucket.take(now) {
            return Turn::Wait(self.bucket.ready_at());
        }
        let next = self.first.pop_front().or_else(|| self.line.pop());
        next.map_or(Turn::Idle, Turn::Pass)
    }

    /// The hub refused a call for want of quota.
    pub(crate) fn refused(&mut self, retry_after: Option<Duration>, now: Instant) {
        self.bucket.refused(retry_after, now);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Everybody who is let through until nobody waits, with the tenths of seconds at which they are.
    fn all(queue: &mut Queue, start: Instant) -> Vec<(u64, u128)> {
        let mut now = start;
        let mut passed = Vec::new();
        loop {
            match queue.next(now) {
                Turn::Pass(number) => {
                    passed.push((number, now.duration_since(start).as_millis() / 100));
                }
                Turn::Wait(until) => now = until,
                Turn::Idle => return passed,
            }
        }
    }

    #[test]
    fn they_are_let_through_at_the_pace_and_in_turn() {
        let now = Instant::now();
        let mut queue = Queue::new(10.0, 10, now);
        for number in 0..3 {
            queue.come(number, Claim::Of("noisy"), now).unwrap();
        }
        queue.come(10, Claim::Of("polite"), now).unwrap();
        queue.come(20, Claim::First, now).unwrap();
        assert_eq!(
            all(&mut queue, now),
            [(20, 0), (0, 1), (10, 2), (1, 3), (2, 4)]
        );
    }

    #[test]
    fn one_for_whom_there_is_no_room_is_told_when_there_will_be() {
        let now = Instant::now();
        let mut queue = Queue::new(2.0, 4, now);
        for number in 0..4 {
            queue.come(number, Claim::Of("noisy"), now).unwrap();
        }
        let refused = queue.come(4, Claim::Of("noisy"), now).unwrap_err();
        assert_eq!(refused.retry_after.as_secs(), 2);
        for number in 0..4 {
            queue.come(number, Claim::First, now).unwrap();
        }
        queue.come(9, Claim::First, now).unwrap_err();
        queue.leave(0, Claim::First);
        queue.leave(0, Claim::Of("noisy"));
        assert_eq!(all(&mut queue, now).len(), 6);
    }

    #[test]
    fn nobody_overtakes_those_who_wait() {
        let now = Instant::now();
        let mut queue = Queue::new(10.0, 4, now);
        assert!(queue.try_pass(now));
        assert!(!queue.try_pass(now));
        queue.come(1, Claim::Of("a"), now).unwrap();
        let later = now + Duration::from_secs(1);
        assert!(!queue.try_pass(later));
        assert_eq!(queue.next(later), Turn::Pass(1));
    }

    #[test]
    fn a_refusal_of_the_hub_holds_all_up() {
        let now = Instant::now();
        let mut queue = Queue::new(10.0, 100, now);
        queue.refused(Some(Duration::from_secs(5)), now);
        queue.come(1, Claim::First, now).unwrap();
        assert_eq!(queue.next(now), Turn::Wait(now + Duration::from_secs(5)));
    }

    #[test]
    fn nobody_waits_for_a_hub_that_takes_longer_than_a_full_line() {
        let now = Instant::now();
        let mut queue = Queue::new(10.0, 100, now);
        let minute = Duration::from_secs(60);
        queue.refused(Some(minute), now);
        for claim in [Claim::Of("a"), Claim::First] {
            let refused = queue.come(1, claim, now).unwrap_err();
            assert_eq!(refused.retry_after.as_secs(), 60);
            queue.come(2, claim, now + Duration::from_secs(50)).unwrap();
        }
    }

    proptest! {
        /// No second lets more through than the rate, everybody is let through once or has left, and
        /// a caller with few requests waits for at most one of each other caller's before each.
        #[test]
        fn the_pace_holds_and_nobody_is_lost(
            rate in 1_u32..100,
            steps in prop::collection::vec((0_u8..5, 0_u64..200), 1..300),
        ) {
            let mut now = Instant::now();
            let mut queue = Queue::new(rate.into(), 30, now);
            let mut waiting: HashMap<u64, Option<String>> = HashMap::new();
            let mut second = VecDeque::new();
            for (number, (who, ms)) in (0_u64..).zip(steps) {
                let caller = (who > 0).then(|| who.to_string());
                let claim = caller.as_deref().map_or(Claim::First, Claim::Of);
                if queue.come(number, claim, now).is_ok() {
                    waiting.insert(number, caller);
                }
                if number % 7 == 3 && let Some(caller) = waiting.remove(&(number / 2)) {
                    let claim = caller.as_deref().map_or(Claim::First, Claim::Of);
                    queue.leave(number / 2, claim);
                }
                now += Duration::from_millis(ms);
                while let Turn::Pass(passed) = queue.next(now) {
                    prop_assert!(waiting.remove(&passed).is_some(), "{passed} did not wait");
                    second.push_back(now);
                    while now.duration_since(second[0]) >= Duration::from_secs(1) {
                        second.pop_front();
                    }
                    prop_assert!(second.len() <= rate as usize);
                }
            }
            for (number, _) in all(&mut queue, now) {
                prop_assert!(waiting.remove(&number).is_some());
            }
            prop_assert!(waiting.is_empty(), "{waiting:?} are forgotten");
        }
    }
}
