//! The store in one SQLite file.
//!
//! One thread owns the writing connection (`writing`): under load many attempts share one flush to
//! disk. A second thread reads, beside the writer, what is committed; a third brings what is in the
//! write-ahead log into the database (`checkpoints`), so that no commit waits for that.

mod audit;
mod checkpoints;
mod learned;
mod lock;
mod rows;
mod schema;
mod select;
#[cfg(test)]
mod tests;
mod writing;

use std::{path::PathBuf, thread};

use daemon::panics::caught;
use futures_util::{FutureExt as _, future::BoxFuture};
use iot_hub::{identity::DeviceId, reboot::RequestId};
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use self::{checkpoints::Checkpoints, writing::Write};
use super::{Audit, AuditQuery, Audited, Change, ListQuery, Store, StoreError, Taken, Verdict};
use crate::{
    attempt::{Attempt, Event, View},
    durations::Learned,
};

/// How many jobs may wait for a thread before callers are held up.
const QUEUE: usize = 1024;

/// Where and how to keep the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The database file; made when it is absent.
    pub path: PathBuf,
    /// How many events of one attempt are kept.
    pub events_per_attempt: u32,
}

/// The store in one SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    writer: mpsc::Sender<Box<dyn Write>>,
    reader: mpsc::Sender<Read>,
    events_per_attempt: u32,
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

impl Sqlite {
    /// Opens the database, making or migrating it as needed.
    pub fn open(options: &SqliteOptions) -> Result<Self, StoreError> {
        let lock = lock::hold(&options.path, schema::BUSY)?;
        let mut write = schema::connect(&options.path)?;
        schema::migrate(&mut write)?;
        let read = schema::connect(&options.path)?;
        let checkpoints = Checkpoints::start(schema::connect(&options.path)?)?;
        let (writer, mut writes) = mpsc::channel(QUEUE);
        let (reader, mut reads) = mpsc::channel::<Read>(QUEUE);
        spawn("store-write", move || {
            writing::run(&mut write, &mut writes, &checkpoints);
            // From the last write on another process may have the database.
            drop(lock);
        })?;
        spawn("store-read", move || {
            while let Some(job) = reads.blocking_recv() {
                job(&read);
            }
        })?;
        Ok(Self {
            writer,
            reader,
            events_per_attempt: options.events_per_attempt,
        })
    }

    /// Runs a job inside a transaction, more than once if that fails for another job's sake.
    fn write<T, F>(&self, job: F) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (write, told) = writing::job(job);
        async move {
            submit(&self.writer, write).await?;
            let died = |_| StoreError::unsettled("the thread that writes has ended");
            told.await.map_err(died)?
        }
        .boxed()
    }

    fn read<T, F>(&self, job: F) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            // A fault in one reading must not end the thread that all wait for.
            let done = caught(|| job(connection)).unwrap_or_else(|panicked| Err(panicked.into()));
            drop(tell.send(done));
        });
        async move {
            submit(&self.reader, read).await?;
            told.await.map_err(|_| StoreError::Closed)?
        }
        .boxed()
    }
}

/// Starts a thread that a profile shows by its name.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started
        .map(drop)
        .map_err(|error| StoreError::database("start a thread for the database", error))
}

/// Hands a job to its thread. A full queue holds the caller up, which is what bounds it.
async fn submit<T>(queue: &mpsc::Sender<T>, job: T) -> Result<(), StoreError> {
    queue.send(job).await.map_err(|_| StoreError::Closed)
}

impl Store for Sqlite {
    fn create(
        &self,
        change: Change,
        audit: Audit,
    ) -> BoxFuture<'_, Result<Option<Taken>, StoreError>> {
        let keep = self.events_per_attempt;
        self.write(move |connection| {
            let Some(seq) = rows::insert(connection, &change.attempt)? else {
                let view = &change.attempt.view;
                return rows::find(connection, view.id, &view.device);
            };
            rows::add_events(connection, seq, &change.events, keep)?;
            rows::add_audit(connection, &audit)?;
            Ok(None)
        })
    }

    fn find(
        &self,
        id: RequestId,
        device: DeviceId,
    ) -> BoxFuture<'_, Result<Option<Taken>, StoreError>> {
        self.read(move |connection| rows::find(connection, id, &device))
    }

    fn save(&self, change: Change) -> BoxFuture<'_, Result<(), StoreError>> {
        let keep = self.events_per_attempt;
        self.write(move |connection| {
            let view = &change.attempt.view;
            // It is learned from once: when it ends.
            if let Some((class, took)) = change.attempt.learned()
                && rows::open_on(connection, &view.device)? == Some(view.id)
            {
                learned::add(connection, class, &view.device, took)?;
            }
            let seq = rows::update(connection, &change.attempt)?;
            rows::add_events(connection, seq, &change.events, keep)?;
            if view.state.is_terminal() {
                rows::set_verdict(connection, view.id, &verdict(&change.attempt))?;
            }
            Ok(())
        })
    }

    fn forget(&self, id: RequestId, verdict: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(move |connection| {
            rows::set_verdict(connection, id, &Verdict::allowed(verdict.clone()))?;
            rows::remove(connection, id)
        })
    }

    fn audit(&self, audit: Audit) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(move |connection| rows::add_audit(connection, &audit))
    }

    fn get(&self, id: RequestId) -> BoxFuture<'_, Result<Option<Attempt>, StoreError>> {
        self.read(move |connection| rows::get(connection, id))
    }

    fn unsettled(&self, lost_since: Timestamp) -> BoxFuture<'_, Result<Vec<Attempt>, StoreError>> {
        self.read(move |connection| rows::unsettled(connection, lost_since))
    }

    fn ended(
        &self,
        device: DeviceId,
        since: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Attempt>, StoreError>> {
        self.read(move |connection| rows::ended(connection, &device, since))
    }

    fn events(&self, id: RequestId) -> BoxFuture<'_, Result<Vec<Event>, StoreError>> {
        self.read(move |connection| rows::events(connection, id))
    }

    fn durations(
        &self,
        class: String,
        device: DeviceId,
    ) -> BoxFuture<'_, Result<Vec<Learned>, StoreError>> {
        self.read(move |connection| learned::get(connection, &class, &device))
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<View>, StoreError>> {
        self.read(move |connection| rows::list(connection, &query))
    }

    fn audited(&self, query: AuditQuery) -> BoxFuture<'_, Result<Vec<Audited>, StoreError>> {
        self.read(move |connection| audit::list(connection, &query))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        // A write whose caller was dropped may be under way. What is left then is the log, which is
        // brought into the database, so that the file is whole by itself.
        let written = self.write(|_| Ok(()));
        let brought = self.read(|connection| {
            connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .map_err(|error| StoreError::database("bring the log into the database", error))
        });
        async { written.await.and(brought.await) }.boxed()
    }

    fn prune(&self, before: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(move |connection| rows::prune(connection, before))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(|connection| {
            let failed = |error| StoreError::database("write to the database", error);
            schema::rewrite_version(connection).map_err(failed)
        })
    }
}

/// How an attempt ended, and what proves it, in one line of the audit.
fn verdict(attempt: &Attempt) -> Verdict {
    let view = &attempt.view;
    let text = match &view.error {
        Some(error) => format!("{} {}", view.state, error.code),
        None => view.state.to_string(),
    };
    let evidence = view.evidence.as_ref().map(|evidence| {
        let text = format!("{} {}", evidence.grade, evidence.method);
        text.trim_end().to_owned()
    });
    Verdict {
        evidence: evidence.unwrap_or_default(),
        ..Verdict::allowed(text)
    }
}
