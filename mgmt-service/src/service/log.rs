//! What is known of one attempt, for all who follow it.
//!
//! A reader keeps its own position and takes what is new whenever the log changes. A slow one finds
//! more at once, or misses what has made room; it holds nobody up and costs no memory.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::attempt::{Attempt, Event, Trouble};

/// How many events are kept in memory; the store may keep more.
const KEPT: usize = 1000;

/// How long one look counts: whoever asks from time to time is a watcher too.
const LOOK: Duration = Duration::from_secs(60);

/// What is known of one attempt, for all who follow it.
#[derive(Debug)]
pub struct Log {
    events: RwLock<VecDeque<Arc<Event>>>,
    now: watch::Sender<Now>,
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

/// How an attempt stands.
#[derive(Debug, Clone)]
pub struct Now {
    /// The attempt.
    pub attempt: Arc<Attempt>,
    /// It never began and was forgotten, for this reason.
    pub withdrawn: Option<Trouble>,
}

impl Log {
    pub(super) fn new(attempt: Attempt, events: Vec<Event>) -> Self {
        let now = Now {
            attempt: Arc::new(attempt),
            withdrawn: None,
        };
        Self {
            events: RwLock::new(events.into_iter().map(Arc::new).collect()),
            now: watch::Sender::new(now),
            last_read: AtomicI64::new(0),
            interest: Interest {
                last_look: Mutex::new(Instant::now()),
                woken: Notify::new(),
            },
        }
    }

    /// Somebody asks how it stands, and will want to know soon how it went on.
    pub(super) fn look(&self) {
        *self.interest.last_look() = Instant::now();
        self.interest.woken.notify_one();
    }

    /// Says whether anybody waits for what comes next.
    pub(super) fn is_watched(&self) -> bool {
        self.now.receiver_count() > 0 || self.interest.last_look().elapsed() < LOOK
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

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<Now> {
        self.now.subscribe()
    }

    /// The kept events after a revision, oldest first.
    pub fn after(&self, revision: i64) -> Vec<Arc<Event>> {
        let events = self.read();
        let new = events.partition_point(|event| event.revision <= revision);
        events.range(new..).cloned().collect()
    }

    /// The newest revision that a reader may continue from without missing an event.
    pub fn floor(&self) -> i64 {
        self.read().front().map_or(0, |event| event.revision - 1)
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
        self.now.send_modify(|now| now.attempt = Arc::new(attempt));
    }

    /// The attempt is forgotten.
    pub(super) fn withdraw(&self, trouble: Trouble) {
        self.now.send_modify(|now| now.withdrawn = Some(trouble));
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, VecDeque<Arc<Event>>> {
        match self.events.read() {
            Ok(events) => events,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

impl Interest {
    fn last_look(&self) -> MutexGuard<'_, Instant> {
        match self.last_look.lock() {
            Ok(last_look) => last_look,
            // It is set in one step.
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}
