//! The database's shape, and the steps from each version of it to the next.

use std::{path::Path, time::Duration};

use rusqlite::Connection;

use super::checkpoints::LONGEST_LOG;
use crate::store::StoreError;

/// One step for each version; the version is the number of steps taken.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE attempts (
        id TEXT PRIMARY KEY,
        device TEXT NOT NULL,
        state TEXT NOT NULL,
        open INTEGER NOT NULL,
        awaits_return INTEGER NOT NULL,
        create_time INTEGER NOT NULL,
        end_time INTEGER,
        data TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX attempts_open_device ON attempts (device) WHERE open = 1;
    CREATE INDEX attempts_newest ON attempts (create_time DESC, id DESC);
    CREATE INDEX attempts_of_device ON attempts (device, create_time DESC, id DESC);

    CREATE TABLE events (
        attempt TEXT NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
        revision INTEGER NOT NULL,
        time INTEGER NOT NULL,
        state TEXT NOT NULL,
        message TEXT NOT NULL,
        view TEXT NOT NULL,
        PRIMARY KEY (attempt, revision)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        who TEXT NOT NULL,
        origin TEXT NOT NULL,
        action TEXT NOT NULL,
        attempt TEXT NOT NULL,
        device TEXT NOT NULL,
        why TEXT NOT NULL,
        verdict TEXT NOT NULL
    ) STRICT;
    CREATE INDEX audit_attempt ON audit (attempt);
",
    "
    ALTER TABLE audit ADD COLUMN allowed INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE audit ADD COLUMN evidence TEXT NOT NULL DEFAULT '';
    CREATE INDEX audit_device ON audit (device, seq);
    CREATE INDEX audit_denied ON audit (seq) WHERE allowed = 0;
",
    "
    CREATE TABLE durations (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        mean REAL NOT NULL,
        variance REAL NOT NULL,
        count REAL NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;
",
    // A commit writes whole pages. What is kept by a random id is on a page of its own for each id; by
    // age, what is stored at the same moment shares pages. The copy goes first, for where a table is
    // dropped the rows that refer to it go with it.
    "
    CREATE TABLE aged (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        device TEXT NOT NULL,
        state TEXT NOT NULL,
        open INTEGER NOT NULL,
        awaits_return INTEGER NOT NULL,
        create_time INTEGER NOT NULL,
        end_time INTEGER,
        data TEXT NOT NULL
    ) STRICT;
    INSERT INTO aged (id, device, state, open, awaits_return, create_time, end_time, data)
        SELECT id, device, state, open, awaits_return, create_time, end_time, data
        FROM attempts ORDER BY create_time, id;

    CREATE TABLE steps (
        attempt INTEGER NOT NULL REFERENCES aged (seq) ON DELETE CASCADE,
        revision INTEGER NOT NULL,
        time INTEGER NOT NULL,
        message TEXT NOT NULL,
        view TEXT NOT NULL,
        PRIMARY KEY (attempt, revision)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO steps (attempt, revision, time, message, view)
        SELECT aged.seq, revision, time, message, view
        FROM events JOIN aged ON aged.id = events.attempt ORDER BY aged.seq, revision;

    DROP TABLE events;
    DROP TABLE attempts;
    ALTER TABLE aged RENAME TO attempts;
    ALTER TABLE steps RENAME TO events;
    CREATE UNIQUE INDEX attempts_open_device ON attempts (device) WHERE open = 1;
    CREATE INDEX attempts_newest ON attempts (create_time DESC, id DESC);
    CREATE INDEX attempts_of_device ON attempts (device, create_time DESC, id DESC);

    DROP INDEX audit_attempt;
    CREATE INDEX audit_undecided ON audit (attempt) WHERE verdict = '';
",
];

/// How long to wait for another process that has the file open, a backup for example.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// Opens a connection with the settings that a commit needs to survive a power cut.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error| StoreError::database("open the database", error);
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(failed)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(failed)?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(failed)?;
    connection
        .pragma_update(None, "wal_autocheckpoint", LONGEST_LOG)
        .map_err(failed)?;
    Ok(connection)
}

/// Writes the version that is there already: a write that changes nothing.
pub(super) fn rewrite_version(connection: &Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    connection.pragma_update(None, "user_version", version)
}

/// Takes the steps that the database has not seen.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let failed = |error| StoreError::database("migrate the database", error);
    let transaction = connection.transaction().map_err(failed)?;
    let found: i64 = transaction
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let Some(steps) = usize::try_from(found)
        .ok()
        .and_then(|done| MIGRATIONS.get(done..))
    else {
        return Err(StoreError::Newer { found, known });
    };
    for step in steps {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "user_version", known)
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}
