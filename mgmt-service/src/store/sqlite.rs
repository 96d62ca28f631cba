//! The store in one SQLite file.
//!
//! One thread owns the writing connection. It takes all that waits, up to a limit, into one
//! transaction: under load many attempts share one flush to disk. A second thread reads, beside the
//! writer, what is committed.

mod audit;
mod learned;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, thread};

use futures_util::{FutureExt as _, future::BoxFuture};
use iot_hub::{identity::DeviceId, reboot::RequestId};
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Audit, AuditQuery, Audited, Change, ListQuery, Store, StoreError, Taken, Verdict};
use crate::{
    attempt::{Attempt, Event, View},
    durations::Learned,
};

/// How many writes share one transaction at most: the first of them waits for the last.
const GROUP: usize = 64;

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
    writer: mpsc::Sender<Write>,
    reader: mpsc::Sender<Read>,
    events_per_attempt: u32,
}

/// A write, run inside a transaction; what it returns answers the caller once that is committed.
type Write = Box<dyn FnOnce(&Connection) -> Answer + Send>;

/// Tells the caller how its write went, given whether the commit did.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

type Read = Box<dyn FnOnce(&Connection) + Send>;

impl Sqlite {
    /// Opens the database, making or migrating it as needed.
    pub fn open(options: &SqliteOptions) -> Result<Self, StoreError> {
        let mut write = schema::connect(&options.path)?;
        schema::migrate(&mut write)?;
        let read = schema::connect(&options.path)?;
        let (writer, mut writes) = mpsc::channel(QUEUE);
        let (reader, mut reads) = mpsc::channel::<Read>(QUEUE);
        thread::spawn(move || write_loop(&mut write, &mut writes));
        thread::spawn(move || {
            while let Some(job) = reads.blocking_recv() {
                job(&read);
            }
        });
        Ok(Self {
            writer,
            reader,
            events_per_attempt: options.events_per_attempt,
        })
    }

    fn write<T, F>(&self, doing: &'static str, job: F) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let write: Write = Box::new(move |connection| {
            // A savepoint of its own: a write that fails takes nothing of its group with it.
            let result = in_savepoint(connection, doing, job);
            Box::new(move |committed| {
                // A caller that is gone does not wait for the answer.
                drop(tell.send(committed.and(result)));
            })
        });
        async move {
            submit(&self.writer, write).await?;
            told.await.map_err(|_| StoreError::Closed)?
        }
        .boxed()
    }

    fn read<T, F>(&self, job: F) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let read: Read = Box::new(move |connection| drop(tell.send(job(connection))));
        async move {
            submit(&self.reader, read).await?;
            told.await.map_err(|_| StoreError::Closed)?
        }
        .boxed()
    }
}

/// Hands a job to its thread. A full queue holds the caller up, which is what bounds it.
async fn submit<T>(queue: &mpsc::Sender<T>, job: T) -> Result<(), StoreError> {
    queue.send(job).await.map_err(|_| StoreError::Closed)
}

fn in_savepoint<T>(
    connection: &Connection,
    doing: &'static str,
    job: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let run = |sql| {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(drop)
            .map_err(|error| StoreError::database(doing, error))
    };
    run("SAVEPOINT one")?;
    let result = job(connection);
    if result.is_err() {
        run("ROLLBACK TO one")?;
    }
    run("RELEASE one")?;
    result
}

/// Runs writes in groups until every handle is gone.
fn write_loop(connection: &mut Connection, writes: &mut mpsc::Receiver<Write>) {
    let mut group = Vec::new();
    while writes.blocking_recv_many(&mut group, GROUP) > 0 {
        let group = std::mem::take(&mut group);
        match connection.transaction() {
            Ok(transaction) => {
                let answers: Vec<_> = group.into_iter().map(|write| write(&transaction)).collect();
                match transaction.commit() {
                    Ok(()) => answers.into_iter().for_each(|answer| answer(Ok(()))),
                    Err(error) => {
                        let failed =
                            || StoreError::database("commit to the database", error.to_string());
                        answers.into_iter().for_each(|answer| answer(Err(failed())));
                    }
                }
            }
            // Dropping the group tells its callers that nothing was stored.
            Err(error) => tracing::error!(%error, "failed to begin a transaction"),
        }
    }
}

impl Store for Sqlite {
    fn create(
        &self,
        change: Change,
        audit: Audit,
    ) -> BoxFuture<'_, Result<Option<Taken>, StoreError>> {
        let keep = self.events_per_attempt;
        self.write("store the new attempt", move |connection| {
            let view = &change.attempt.view;
            let taken = rows::find(connection, view.id, &view.device)?;
            if taken.is_some() {
                return Ok(taken);
            }
            rows::insert(connection, &change.attempt)?;
            rows::add_events(connection, change.attempt.view.id, &change.events, keep)?;
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
        self.write("store the attempt", move |connection| {
            let view = &change.attempt.view;
            let was_open = rows::open_on(connection, &view.device)? == Some(view.id);
            rows::update(connection, &change.attempt)?;
            rows::add_events(connection, change.attempt.view.id, &change.events, keep)?;
            if change.attempt.view.state.is_terminal() {
                rows::set_verdict(
                    connection,
                    change.attempt.view.id,
                    &verdict(&change.attempt),
                )?;
            }
            if was_open && let Some((class, took)) = change.attempt.learned() {
                learned::add(connection, class, &change.attempt.view.device, took)?;
            }
            Ok(())
        })
    }

    fn forget(&self, id: RequestId, verdict: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write("remove the attempt", move |connection| {
            rows::set_verdict(connection, id, &Verdict::allowed(verdict))?;
            rows::remove(connection, id)
        })
    }

    fn audit(&self, audit: Audit) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write("store a line of the audit", move |connection| {
            rows::add_audit(connection, &audit)
        })
    }

    fn get(&self, id: RequestId) -> BoxFuture<'_, Result<Option<Attempt>, StoreError>> {
        self.read(move |connection| rows::get(connection, id))
    }

    fn unsettled(&self, lost_since: Timestamp) -> BoxFuture<'_, Result<Vec<Attempt>, StoreError>> {
        self.read(move |connection| rows::unsettled(connection, lost_since))
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
        // The writes are done when their futures are. What is left is the log, which is brought into
        // the database, so that the file is whole by itself.
        self.read(|connection| {
            connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .map_err(|error| StoreError::database("bring the log into the database", error))
        })
    }

    fn prune(&self, before: Timestamp) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write("remove what is past the retention", move |connection| {
            rows::prune(connection, before)
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let doing = "write to the database";
        self.write(doing, move |connection| {
            schema::rewrite_version(connection).map_err(|error| StoreError::database(doing, error))
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
