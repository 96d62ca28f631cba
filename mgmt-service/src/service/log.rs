//! What is known of one attempt, for all who follow it.
//!
//! A reader keeps its own position and takes what is new whenever the log changes. A slow one finds
//! more at once, or misses what has made room; it holds nobody up and costs no memory.

mod alarm;
mod reader;
mod waiting;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

pub use self::reader::Reader;
use self::{alarm::Alarm, waiting::Waiting};
use crate::{
    attempt::{Attempt, Event, Trouble},
    lock::lock,
};

/// How many events are kept in memory; the store may keep more.
const KEPT: usize = 1000;

/// How long one look counts: whoever asks from time to time is a watcher too.
const LOOK: Duration = Duration::from_secs(60);

/// What is known of one attempt, for all who follow it.
#[derive(Debug)]
pub struct Log {
    events: RwLock<VecDeque<Arc<Event>>>,
    now: watch::Sender<Now>,
    waiting: Arc<Waiting>,
    alarm: Alarm,
    told: Mutex<Option<(Told, Bytes)>>,
    /// When the newest reading of the twin was begun, in milliseconds; 0 for never.
    last_read: AtomicI64,
    interest: Interest,
}

/// Whether anybody waits for what comes next.
#[derive(Debug)]
struct Interest {
    last_look: Mutex<Instant>,
    /// Tells the attempt's task, which may have taken things easy.
    woken: Notify,
}

/// What many readers are told alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The event of this revision.
    Event(i64),
    /// That nothing has happened since this revision, at the moment when that is due.
    Nothing(i64, Instant),
}

/// How an attempt stands.
#[derive(Debug, Clone)]
pub struct Now {
    /// The attempt.
    pub attempt: Arc<Attempt>,
    /// When the last event was added, as far as this process knows.
    pub since: Instant,
    /// It never began and was forgotten, for this reason.
    pub withdrawn: Option<Trouble>,
}

impl Log {
    pub(super) fn new(attempt: Attempt, events: Vec<Event>) -> Self {
        let now = Now {
            attempt: Arc::new(attempt),
            since: Instant::now(),
            withdrawn: None,
        };
        Self {
            events: RwLock::new(events.into_iter().map(Arc::new).collect()),
            now: watch::Sender::new(now),
            waiting: Arc::default(),
            alarm: Alarm::default(),
            told: Mutex::default(),
            last_read: AtomicI64::new(0),
            interest: Interest {
                last_look: Mutex::new(Instant::now()),
                woken: Notify::new(),
            },
        }
    }

    /// Somebody asks how it stands, and will want to know soon how it went on.
    pub(super) fn look(&self) {
        *lock(&self.interest.last_look) = Instant::now();
        self.interest.woken.notify_one();
    }

    /// Says whether anybody waits for what comes next.
    pub(super) fn is_watched(&self) -> bool {
        !self.waiting.is_empty()
            || self.now.receiver_count() > 0
            || lock(&self.interest.last_look).elapsed() < LOOK
    }

    /// Waits until somebody looks.
    pub(super) async fn looked(&self) {
        self.interest.woken.notified().await;
    }

    /// How the attempt stands.
    pub fn now(&self) -> Now {
        self.now.borrow().clone()
    }

    /// Waits until the attempt stands so.
    pub async fn wait_for(&self, so: impl FnMut(&Now) -> bool) -> Now {
        let mut receiver = self.now.subscribe();
        match receiver.wait_for(so).await {
            Ok(now) => now.clone(),
            // The sender is part of this log, which we hold.
            Err(_) => self.now(),
        }
    }

    /// The first kept event after a revision.
    fn after(&self, revision: i64) -> Option<Arc<Event>> {
        let events = self.read();
        let new = events.partition_point(|event| event.revision <= revision);
        events.get(new).cloned()
    }

    /// What readers are told, in the form in which it is sent: made by the first who needs it. Only the
    /// newest is kept, for readers are told the same at the same time.
    pub fn told(&self, what: Told, make: impl FnOnce() -> Bytes) -> Bytes {
        let mut told = lock(&self.told);
        match &*told {
            Some((kept, bytes)) if *kept == what => bytes.clone(),
            Some(_) | None => {
                let bytes = make();
                *told = Some((what, bytes.clone()));
                bytes
            }
        }
    }

    /// Has all readers look again, for something that is not in the log.
    pub(super) fn wake(&self) {
        self.alarm.stop();
        self.waiting.wake_all();
    }

    /// The newest revision that a reader may continue from without missing an event.
    pub fn floor(&self) -> i64 {
        self.read().front().map_or(0, |event| event.revision - 1)
    }

    /// The newest revision; 0 when there is none.
    pub(super) fn newest(&self) -> i64 {
        self.read().back().map_or(0, |event| event.revision)
    }

    /// When the newest reading of the twin was begun.
    pub fn last_read(&self) -> Option<Timestamp> {
        let at = self.last_read.load(Ordering::Relaxed);
        (at != 0).then(|| Timestamp::from_millisecond(at).unwrap_or_default())
    }

    pub(super) fn set_last_read(&self, at: Timestamp) {
        self.last_read.store(at.as_millisecond(), Ordering::Relaxed);
    }

    /// Adds what is stored by now.
    pub(super) fn add(&self, attempt: Attempt, new: Vec<Event>) {
        let happened = !new.is_empty();
        {
            let mut events = match self.events.write() {
                Ok(events) => events,
                // Whatever was added before is whole.
                Err(poisoned) => poisoned.into_inner(),
            };
            events.extend(new.into_iter().map(Arc::new));
            let excess = events.len().saturating_sub(KEPT);
            events.drain(..excess);
        }
        self.now.send_modify(|now| {
            now.attempt = Arc::new(attempt);
            if happened {
                now.since = Instant::now();
            }
        });
        // Most changes are of what the attempt knows, and thousands may wait for what happens to it.
        if happened {
            self.wake();
        }
    }

    /// The attempt is forgotten.
    pub(super) fn withdraw(&self, trouble: Trouble) {
        self.now.send_modify(|now| now.withdrawn = Some(trouble));
        self.wake();
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, VecDeque<Arc<Event>>> {
        match self.events.read() {
            Ok(events) => events,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

#[cfg(test)]
mod tests {
    use iot_hub::reboot::RequestId;
    use uuid::Uuid;

    use super::*;
    use crate::{
        attempt::{Asked, Input, Rules},
        wakes::Wakes,
    };

    fn log() -> (Arc<Log>, Attempt) {
        let id = RequestId(Uuid::from_u128(1));
        let (device, hour) = ("pump-1".parse().unwrap(), Duration::from_secs(3600));
        let (attempt, step) = Attempt::begin(id, device, Asked::default(), hour, Timestamp::now());
        (Arc::new(Log::new(attempt.clone(), step.events)), attempt)
    }

    fn cancel(log: &Log, mut attempt: Attempt) {
        let cancel = Input::Cancel { abandon: false };
        let step = attempt.handle(cancel, &Rules::default(), Timestamp::now());
        log.add(attempt, step.events);
    }

    #[test]
    fn each_reader_reads_every_event_once_whenever_it_comes() {
        let (log, attempt) = log();
        let read = |reader: &mut Reader| {
            let mut revisions = Vec::new();
            while let Some(event) = reader.read() {
                revisions.push(event.revision);
            }
            revisions
        };
        let mut early = Reader::new(log.clone(), 0);
        let mut all = read(&mut early);
        assert_eq!(all, [1]);
        cancel(&log, attempt);
        let rest = read(&mut early);
        assert!(!rest.is_empty());
        all.extend(&rest);
        assert_eq!(read(&mut Reader::new(log.clone(), 0)), all);
        assert_eq!(read(&mut Reader::new(log, 1)), rest);
    }

    #[test]
    fn readers_are_woken_by_what_happens_and_not_by_what_is_merely_known() {
        let (log, attempt) = log();
        let reader = Reader::new(log.clone(), 1);
        let (wakes, waker) = Wakes::counted();
        reader.wait(&waker);
        let since = log.now().since;
        log.add(attempt.clone(), Vec::new());
        assert_eq!((wakes.count(), log.now().since), (0, since));
        cancel(&log, attempt);
        assert_eq!(wakes.count(), 1);
        assert!(log.now().since > since);
        reader.wait(&waker);
        log.withdraw(Trouble::NoDevice);
        assert_eq!(wakes.count(), 2);
    }

    #[test]
    fn a_log_is_watched_while_it_has_a_reader() {
        let (log, _) = log();
        let long_ago = Instant::now().checked_sub(LOOK * 2).unwrap();
        *lock(&log.interest.last_look) = long_ago;
        assert!(!log.is_watched());
        let reader = Reader::new(log.clone(), 0);
        reader.wait(std::task::Waker::noop());
        assert!(log.is_watched());
        drop(reader);
        assert!(!log.is_watched());
    }

    #[test]
    fn what_many_are_told_is_made_once() {
        let (log, _) = log();
        let mut made = 0;
        let mut tell = |what| {
            log.told(what, || {
                made += 1;
                Bytes::from(vec![made])
            })
        };
        let due = Instant::now();
        let one = tell(Told::Event(1));
        assert_eq!(one.as_ptr(), tell(Told::Event(1)).as_ptr());
        assert_eq!(tell(Told::Event(2)), [2].as_slice());
        assert_eq!(tell(Told::Nothing(2, due)), [3].as_slice());
        assert_eq!(tell(Told::Nothing(2, due)), [3].as_slice());
        assert_eq!(tell(Told::Nothing(1, due)), [4].as_slice());
        let later = due + Duration::from_secs(1);
        assert_eq!(tell(Told::Nothing(1, later)), [5].as_slice());
    }
}
