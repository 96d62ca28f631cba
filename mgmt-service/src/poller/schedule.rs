//! Who is read next: a pure core, so that a cleverer order can take its place.
//!
//! Each follower has a moment from which it is due. Whoever has been due longest goes first, when
//! the bucket has a token.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::bucket::Bucket;

/// How often a twin is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Cadence {
    /// The pause between two reads, as a part of the time since the last change or until the next
    /// expected one, whichever is nearer.
    pub part: f64,
    /// The shortest pause.
    pub min: Duration,
    /// The longest pause.
    pub max: Duration,
    /// How much a pause varies, as a part of it: followers that began together drift apart.
    pub jitter: f64,
}

impl Default for Cadence {
    fn default() -> Self {
        Self {
            part: 0.1,
            min: Duration::from_millis(250),
            max: Duration::from_secs(30),
            jitter: 0.1,
        }
    }
}

/// When a follower expects something to happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expectation {
    /// Nothing: it need not be read.
    Nothing,
    /// The next change of something that last changed then.
    Change {
        /// When it last changed.
        since: Instant,
        /// When it is expected to change next.
        eta: Option<Instant>,
    },
    /// Perhaps, at some time: read it this often.
    Someday(Duration),
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Read this follower's twin.
    Read(u64),
    /// Nothing before then.
    Wait(Instant),
    /// Nothing until something changes.
    Idle,
}

/// Who follows what, and who is read next.
#[derive(Debug)]
pub(super) struct Schedule {
    cadence: Cadence,
    bucket: Bucket,
    followers: HashMap<u64, Follower>,
    queue: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Follower {
    expectation: Expectation,
    /// Its place in the queue.
    due: Option<Instant>,
    last_read: Option<Instant>,
    reading: bool,
    /// A read was asked for while one was being made: that one may be older than the question.
    again: bool,
}

impl Schedule {
    pub(super) fn new(cadence: Cadence, rate: f64, now: Instant) -> Self {
        Self {
            cadence,
            bucket: Bucket::new(rate, now),
            followers: HashMap::new(),
            queue: BTreeSet::new(),
        }
    }

    /// Adds a follower that expects nothing yet.
    pub(super) fn add(&mut self, key: u64) {
        let follower = Follower {
            expectation: Expectation::Nothing,
            due: None,
            last_read: None,
            reading: false,
            again: false,
        };
        self.followers.insert(key, follower);
    }

    /// Forgets a follower.
    pub(super) fn remove(&mut self, key: u64) {
        self.place(key, None);
        self.followers.remove(&key);
    }

    /// Changes what a follower expects.
    pub(super) fn expect(&mut self, key: u64, expectation: Expectation, now: Instant, dice: f64) {
        let Some(follower) = self.followers.get_mut(&key) else {
            return;
        };
        if follower.expectation == expectation {
            return;
        }
        follower.expectation = expectation;
        if follower.reading {
            return;
        }
        let last_read = follower.last_read.unwrap_or(now);
        let due = self
            .pause(expectation, now, dice)
            .map(|pause| last_read + pause);
        // A read that was asked for by name stays asked for.
        let asked = self
            .followers
            .get(&key)
            .and_then(|follower| follower.due)
            .filter(|due| *due <= now);
        self.place(key, asked.or(due));
    }

    /// Wants a follower read as soon as possible.
    pub(super) fn read_now(&mut self, key: u64, now: Instant) {
        let Some(follower) = self.followers.get_mut(&key) else {
            return;
        };
        if follower.reading {
            follower.again = true;
        } else if follower.due.is_none_or(|due| due > now) {
            self.place(key, Some(now));
        }
    }

    /// Says what to do now.
    pub(super) fn decide(&mut self, now: Instant) -> Decision {
        let Some(&(due, key)) = self.queue.first() else {
            return Decision::Idle;
        };
        if due > now {
            return Decision::Wait(due);
        }
        if !self.bucket.take(now) {
            return Decision::Wait(self.bucket.ready_at());
        }
        self.place(key, None);
        if let Some(follower) = self.followers.get_mut(&key) {
            follower.reading = true;
        }
        Decision::Read(key)
    }

    /// A read that [`Schedule::decide`] asked for is over.
    pub(super) fn done(&mut self, key: u64, now: Instant, dice: f64) {
        let Some(follower) = self.followers.get_mut(&key) else {
            return;
        };
        follower.reading = false;
        follower.last_read = Some(now);
        let expectation = follower.expectation;
        let due = if std::mem::take(&mut follower.again) {
            Some(now)
        } else {
            self.pause(expectation, now, dice).map(|pause| now + pause)
        };
        self.place(key, due);
    }

    /// The hub refused a read for want of quota.
    pub(super) fn refused(&mut self, retry_after: Option<Duration>, now: Instant) {
        self.bucket.refused(retry_after, now);
    }

    /// The pause before the next read; `dice` is between 0 and 1.
    fn pause(&self, expectation: Expectation, now: Instant, dice: f64) -> Option<Duration> {
        let Cadence {
            part,
            min,
            max,
            jitter,
        } = self.cadence;
        let pause = match expectation {
            Expectation::Nothing => return None,
            Expectation::Someday(pause) => pause,
            Expectation::Change { since, eta } => {
                let since = now.saturating_duration_since(since);
                let distance = eta.map_or(since, |eta| {
                    let eta = eta
                        .saturating_duration_since(now)
                        .max(now.saturating_duration_since(eta));
                    eta.min(since)
                });
                distance.mul_f64(part).clamp(min, max)
            }
        };
        Some(pause.mul_f64(1.0 + jitter * (2.0 * dice - 1.0)))
    }

    /// Moves a follower to its place in the queue.
    fn place(&mut self, key: u64, due: Option<Instant>) {
        let Some(follower) = self.followers.get_mut(&key) else {
            return;
        };
        if let Some(old) = follower.due.take() {
            self.queue.remove(&(old, key));
        }
        if let Some(due) = due {
            follower.due = Some(due);
            self.queue.insert((due, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: f64 = 0.5;

    fn schedule(now: Instant) -> Schedule {
        Schedule::new(Cadence::default(), 1000.0, now)
    }

    #[test]
    fn one_that_expects_nothing_is_read_only_when_asked() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.add(1);
        assert_eq!(schedule.decide(now), Decision::Idle);
        schedule.read_now(1, now);
        assert_eq!(schedule.decide(now), Decision::Read(1));
        schedule.done(1, now, MIDDLE);
        assert_eq!(schedule.decide(now), Decision::Idle);
    }

    #[test]
    fn pauses_grow_with_the_time_since_the_change_and_shrink_towards_the_next() {
        let start = Instant::now();
        let schedule = schedule(start);
        let eta = Some(start + Duration::from_secs(100));
        for (after, eta, seconds) in [
            (0.0, None, 0.25),
            (50.0, None, 5.0),
            (3_000.0, None, 30.0),
            (10.0, eta, 1.0),
            (50.0, eta, 5.0),
            (90.0, eta, 1.0),
            (100.0, eta, 0.25),
            (120.0, eta, 2.0),
        ] {
            let now = start + Duration::from_secs_f64(after);
            let expectation = Expectation::Change { since: start, eta };
            let pause = schedule.pause(expectation, now, MIDDLE).unwrap();
            assert!(
                (pause.as_secs_f64() - seconds).abs() < 1e-6,
                "{after}: {pause:?}"
            );
        }
    }

    #[test]
    fn whoever_has_been_due_longest_goes_first_and_the_bucket_paces_all() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Cadence::default(), 10.0, start);
        for key in 0..3 {
            schedule.add(key);
        }
        for key in 0..3 {
            schedule.read_now(2 - key, start + Duration::from_micros(key));
        }
        let mut now = start + Duration::from_millis(1);
        let mut read = Vec::new();
        while read.len() < 3 {
            match schedule.decide(now) {
                Decision::Read(key) => read.push((key, (now - start).as_millis() / 100)),
                Decision::Wait(until) => now = until,
                Decision::Idle => panic!("all are due"),
            }
        }
        assert_eq!(read, [(2, 0), (1, 1), (0, 2)]);
    }

    #[test]
    fn a_question_during_a_read_is_answered_by_another_read() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.add(1);
        schedule.read_now(1, now);
        assert_eq!(schedule.decide(now), Decision::Read(1));
        schedule.read_now(1, now);
        assert_eq!(schedule.decide(now), Decision::Idle);
        schedule.done(1, now, MIDDLE);
        assert!(matches!(schedule.decide(now), Decision::Wait(_)));
        let now = now + Duration::from_millis(10);
        assert_eq!(schedule.decide(now), Decision::Read(1));
    }

    #[test]
    fn a_read_that_was_asked_for_survives_a_changed_expectation() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.add(1);
        schedule.read_now(1, now);
        let expectation = Expectation::Someday(Duration::from_secs(60));
        schedule.expect(1, expectation, now, MIDDLE);
        assert_eq!(schedule.decide(now), Decision::Read(1));
    }

    #[test]
    fn one_that_is_gone_is_not_read() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.add(1);
        schedule.read_now(1, now);
        schedule.remove(1);
        assert_eq!(schedule.decide(now), Decision::Idle);
        schedule.done(1, now, MIDDLE);
    }
}
