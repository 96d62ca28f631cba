//! Bringing what is in the write-ahead log into the database.
//!
//! SQLite does that inside a commit, once the log is long: two more flushes and a thousand pages,
//! for which whoever waits for that commit waits, too. Here a thread of its own does it beside the
//! writer. Only if it falls far behind does a commit do it after all, so that the log has a limit.

use std::sync::{
    atomic::{AtomicU32, Ordering},
    mpsc::{SyncSender, sync_channel},
};

use rusqlite::Connection;

use super::spawn;
use crate::store::StoreError;

/// After how many commits: each writes ten pages for one attempt, and up to a few hundred for many.
const EVERY: u32 = 100;

/// At how many pages of the log a commit does it itself: 32 MiB.
pub(super) const LONGEST_LOG: u32 = 8192;

/// Has what is in the log brought into the database from time to time.
#[derive(Debug)]
pub(super) struct Checkpoints {
    commits: AtomicU32,
    due: SyncSender<()>,
}

impl Checkpoints {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (due, wanted) = sync_channel(1);
        spawn("store-log", move || {
            while let Ok(()) = wanted.recv() {
                if let Err(error) = checkpoint(&connection) {
                    tracing::warn!(%error, "failed to bring the log into the database");
                }
            }
        })?;
        Ok(Self {
            commits: AtomicU32::new(0),
            due,
        })
    }

    /// How often something was committed.
    #[cfg(test)]
    pub(super) fn commits(&self) -> u32 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Something was committed.
    pub(super) fn committed(&self) {
        if self.commits.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1 {
            // One that waits already will do.
            let _ = self.due.try_send(());
        }
    }
}

/// Brings over what no reader and no writer is in the way of.
fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}
