//! Writes that wait at the same moment are one transaction, for a sync is what takes the time.
//!
//! ```text
//!   write ─┐                   ┌─ answer
//!   write ─┼─► one transaction ┼─ answer, once it is on disk
//!   write ─┘    and its sync   └─ answer
//!   write ────► the next one
//! ```
//!
//! One thread writes at a time, and others come and go meanwhile; what they bring is the next
//! transaction. Writes are done in the order in which they came. A transaction is on disk whole or not
//! at all, so one that fails fails all of its writes.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use redb::{Durability, WriteTransaction};
use tokio::{sync::oneshot, task};

use super::{Storage, StorageError, transact};

/// What a write does in its transaction.
pub(super) type Work =
    Box<dyn FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send + 'static>;

/// Writes that wait. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Group(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Somebody writes, and will look again for what has come meanwhile.
    at_work: bool,
}

/// A write that waits.
struct Waiting {
    work: Work,
    /// It is to survive a loss of power.
    lasts: bool,
    since: Instant,
    done: Answer,
}

type Written = Result<(), Arc<StorageError>>;

type Answer = oneshot::Sender<Written>;

impl Storage {
    /// Writes, and syncs if it is to last.
    pub(super) async fn write(&self, lasts: bool, work: Work) -> Result<(), StorageError> {
        let (done, told) = oneshot::channel();
        let waiting = Waiting {
            work,
            lasts,
            since: Instant::now(),
            done,
        };
        if let Some(turn) = self.group.join(waiting) {
            let storage = self.clone();
            task::spawn_blocking(move || storage.write_groups(turn));
        }
        let told = told.await.unwrap_or(Err(Arc::new(StorageError::Panicked)));
        told.map_err(StorageError::Together)
    }

    fn write_groups(self, mut turn: Turn) {
        let mut group = turn.next();
        while let Some(writes) = group {
            let answers = self.write_group(writes);
            group = turn.next();
            if group.is_none() {
                // Whoever is answered may close the file, and nothing here keeps it open.
                drop(self);
                return answers.give();
            }
            answers.give();
        }
    }

    fn write_group(&self, group: Vec<Waiting>) -> Answers {
        let lasts = group.iter().any(|waiting| waiting.lasts);
        let mut told = Vec::with_capacity(group.len());
        let mut works = Vec::with_capacity(group.len());
        for waiting in group {
            told.push((waiting.done, waiting.lasts.then_some(waiting.since)));
            works.push(waiting.work);
        }
        let written = self.commit(works, lasts).map_err(Arc::new);
        let mut answers = Vec::with_capacity(told.len());
        for (done, since) in told {
            if let (Ok(()), Some(since)) = (&written, since) {
                self.writes.took(since.elapsed());
            }
            answers.push(done);
        }
        Answers { answers, written }
    }

    /// Does all of it in one transaction.
    pub(super) fn commit(&self, works: Vec<Work>, lasts: bool) -> Result<(), StorageError> {
        let durability = if lasts {
            Durability::Immediate
        } else {
            Durability::None
        };
        self.measured(|database| {
            let all = |transaction: &WriteTransaction| {
                works.into_iter().try_for_each(|work| work(transaction))
            };
            transact(database, all, durability)
        })
    }
}

/// What is said of a transaction to all who wait for it.
struct Answers {
    answers: Vec<Answer>,
    written: Written,
}

impl Answers {
    fn give(self) {
        for answer in self.answers {
            // Who does not wait any more is gone with its device.
            let _ = answer.send(self.written.clone());
        }
    }
}

impl Group {
    /// Adds a write, and says whether it is the caller's turn to see to it.
    fn join(&self, waiting: Waiting) -> Option<Turn> {
        let mut state = self.state();
        state.waiting.push(waiting);
        let mine = !mem::replace(&mut state.at_work, true);
        mine.then(|| Turn(Some(self.clone())))
    }

    /// How many writes wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn to write, until nothing waits any more.
struct Turn(Option<Group>);

impl Turn {
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut state = self.0.as_ref()?.state();
        let group = mem::take(&mut state.waiting);
        if !group.is_empty() {
            return Some(group);
        }
        state.at_work = false;
        drop(state);
        self.0 = None;
        None
    }
}

impl Drop for Turn {
    /// A turn that is cut short, as at the end of the program, leaves nobody waiting for it.
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            let mut state = group.state();
            state.at_work = false;
            let left = mem::take(&mut state.waiting);
            drop(state);
            drop(left);
        }
    }
}
