//! The writing thread: all that waits goes into one transaction, and shares its flush to disk.
//!
//! Writes hardly ever fail, so none has a savepoint of its own. When one does, the group is rolled
//! back and its halves are done one after the other, down to the write that failed: it takes nothing of
//! its group with it, and costs as many flushes as the group can be halved.

use daemon::panics::caught;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::checkpoints::Checkpoints;
use crate::store::StoreError;

/// How many writes share one transaction at most: the first of them waits for the last.
const GROUP: usize = 64;

/// Something to write.
pub(super) trait Write: Send {
    /// Does it inside a transaction, and says whether it could be done.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Tells the caller how it went, given whether the transaction was committed.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// What a caller waits for.
type Told<T> = oneshot::Receiver<Result<T, StoreError>>;

struct Job<T, F> {
    job: F,
    result: Option<Result<T, StoreError>>,
    tell: oneshot::Sender<Result<T, StoreError>>,
}

/// A write that does `job`, and what tells how it went.
pub(super) fn job<T, F>(job: F) -> (Box<dyn Write>, Told<T>)
where
    T: Send + 'static,
    F: Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    let result = None;
    (Box::new(Job { job, result, tell }), told)
}

impl<T, F> Write for Job<T, F>
where
    T: Send,
    F: Fn(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        // A fault in one write must not end the thread that all wait for.
        let done = caught(|| (self.job)(connection));
        let done = done.unwrap_or_else(|panicked| Err(panicked.into()));
        self.result.insert(done).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.result, committed) {
            // Why it failed itself says more than that nothing was committed.
            (Some(Err(error)), _) | (Some(Ok(_)) | None, Err(error)) => Err(error),
            (Some(Ok(result)), Ok(())) => Ok(result),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // A caller that is gone does not wait for the answer.
        drop(self.tell.send(answer));
    }
}

/// Writes in groups until every handle is gone.
pub(super) fn run(
    connection: &mut Connection,
    writes: &mut mpsc::Receiver<Box<dyn Write>>,
    checkpoints: &Checkpoints,
) {
    let mut group = Vec::new();
    while writes.blocking_recv_many(&mut group, GROUP) > 0 {
        write(connection, &mut group, checkpoints);
    }
}

/// Does a group of writes, and answers and removes them.
fn write(connection: &mut Connection, group: &mut Vec<Box<dyn Write>>, checkpoints: &Checkpoints) {
    match commit(connection, group) {
        Ok(Committed::All) => {
            checkpoints.committed();
            group.drain(..).for_each(|write| write.answer(Ok(())));
        }
        Ok(Committed::Nothing) if group.len() > 1 => {
            let mut rest = group.split_off(group.len() / 2);
            write(connection, group, checkpoints);
            write(connection, &mut rest, checkpoints);
        }
        // It has an error of its own.
        Ok(Committed::Nothing) => group.drain(..).for_each(|write| write.answer(Ok(()))),
        Ok(Committed::Unsettled(error)) => {
            answer_all(group, || StoreError::unsettled(error.to_string()));
        }
        Err(error) => {
            let doing = "begin a transaction of the database";
            answer_all(group, || StoreError::database(doing, error.to_string()));
        }
    }
}

fn answer_all(group: &mut Vec<Box<dyn Write>>, failed: impl Fn() -> StoreError) {
    let group = group.drain(..);
    group.for_each(|write| write.answer(Err(failed())));
}

enum Committed {
    All,
    /// One of them failed.
    Nothing,
    /// The commit failed. This process sees nothing of it, but what was written of it may be on the disk,
    /// and count after a crash.
    Unsettled(rusqlite::Error),
}

/// Does all in one transaction, or nothing.
fn commit(
    connection: &mut Connection,
    group: &mut [Box<dyn Write>],
) -> rusqlite::Result<Committed> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for write in group {
        if !write.run(&transaction) {
            transaction.rollback()?;
            return Ok(Committed::Nothing);
        }
    }
    match transaction.commit() {
        Ok(()) => Ok(Committed::All),
        Err(error) => Ok(Committed::Unsettled(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_fails_leaves_open_whether_it_was_stored() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Connection::open(folder.path().join("db")).unwrap();
        let mut connection = open();
        // What refers to nothing is found out by the commit.
        let tables = "PRAGMA foreign_keys = ON; CREATE TABLE one (number INTEGER PRIMARY KEY);
            CREATE TABLE other (one INTEGER REFERENCES one (number) DEFERRABLE INITIALLY DEFERRED)";
        connection.execute_batch(tables).unwrap();
        let checkpoints = Checkpoints::start(open()).unwrap();
        let mut written = |sql: &'static str| {
            let (write, mut told) = job(move |connection| {
                let failed = |error| StoreError::database("insert", error);
                connection.execute(sql, []).map_err(failed)
            });
            let mut group: Vec<Box<dyn Write>> = vec![write];
            super::write(&mut connection, &mut group, &checkpoints);
            told.try_recv().unwrap()
        };
        let dangling = written("INSERT INTO other VALUES (1)");
        assert!(
            matches!(dangling, Err(StoreError::Unsettled(_))),
            "{dangling:?}"
        );
        let wrong = written("INSERT INTO nothing VALUES (1)");
        assert!(
            matches!(wrong, Err(StoreError::Database { .. })),
            "{wrong:?}"
        );
        assert_eq!(written("INSERT INTO one VALUES (1)").unwrap(), 1);
    }

    #[test]
    fn a_write_that_fails_costs_its_group_few_commits_and_no_order() {
        let all = u32::try_from(GROUP).unwrap();
        for bad in [0, 21, all - 1] {
            let folder = tempfile::tempdir().unwrap();
            let open = || Connection::open(folder.path().join("db")).unwrap();
            let mut connection = open();
            let table = "CREATE TABLE written (number INTEGER)";
            connection.execute(table, []).unwrap();
            let checkpoints = Checkpoints::start(open()).unwrap();
            let (mut group, told): (Vec<Box<dyn Write>>, Vec<_>) = (0..all)
                .map(|number| {
                    let (write, told) = job(move |connection| {
                        connection
                            .execute("INSERT INTO written VALUES (?1)", [number])
                            .map_err(|error| StoreError::database("insert", error))?;
                        if number == bad {
                            return Err(StoreError::Closed);
                        }
                        Ok(())
                    });
                    let write: Box<dyn Write> = write;
                    (write, told)
                })
                .unzip();
            write(&mut connection, &mut group, &checkpoints);
            for (number, mut told) in (0..all).zip(told) {
                assert_eq!(told.try_recv().unwrap().is_err(), number == bad);
            }
            let mut rows = connection
                .prepare("SELECT number FROM written ORDER BY rowid")
                .unwrap();
            let written = rows.query_map([], |row| row.get(0)).unwrap();
            let written: Vec<u32> = written.map(Result::unwrap).collect();
            let expected: Vec<_> = (0..all).filter(|number| *number != bad).collect();
            assert_eq!(written, expected);
            assert_eq!(checkpoints.commits(), GROUP.ilog2());
        }
    }
}
