//! The gateway's memory on disk: one file, synced transactions, small JSON documents by device.
//!
//! ```text
//! journal   device           → the device's reboots
//! ended     device, number   → an attempt that has ended; the newest thousand of each device
//! outbox    device           → what the device's twin may say by now
//! assigned  device           → the hub that the provisioning service gave it
//! desired   device           → what the device was last told of its desired properties
//! telemetry device, number   → a message that the hub does not have yet
//! ```
//!
//! A write that has returned is on disk, and writes that wait at the same moment share a sync
//! (`group`). The file is used on threads that may block. One that cannot be opened is tried again at
//! later uses, and each use until then fails.

mod assigned;
mod folder;
mod group;
mod pace;
mod snapshot;
mod telemetry;
mod writes;

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use assigned::ASSIGNED;
pub use assigned::Assigned;
use folder::Folder;
pub use folder::is_in_use;
use group::{Group, Work};
use iot_hub::identity::DeviceId;
use pace::Pace;
use redb::{Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
pub(crate) use telemetry::Append;
use telemetry::TELEMETRY;
use tokio::task;

pub(crate) use self::writes::Writes;
use crate::{
    causes::chain,
    journal::{Ended, Journal, REMEMBERED, Record, Remembered},
    outbox::Outbox,
};

const JOURNAL: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("journal");
const ENDED: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("ended");
const OUTBOX: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("outbox");
const DESIRED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("desired");

/// The tables with a document of each device.
const OF_DEVICES: [TableDefinition<'_, &str, &[u8]>; 4] = [JOURNAL, OUTBOX, ASSIGNED, DESIRED];

/// The tables with a row of documents of each device.
const NUMBERED: [TableDefinition<'_, (&str, u64), &[u8]>; 2] = [ENDED, TELEMETRY];

/// The gateway's memory.
#[derive(Clone)]
pub struct Storage {
    opener: Arc<Opener>,
    /// The open file. After a failure it is closed, for its library trusts nothing of it any more;
    /// the next use opens it again, and finds the newest synced transaction.
    database: Arc<Mutex<Place>>,
    writes: Writes,
    /// Writes that wait for a transaction.
    group: Group,
}

type Opener = dyn Fn() -> Result<Database, StorageError> + Send + Sync;

/// The place of the open file.
#[derive(Default)]
struct Place {
    open: Option<Database>,
    pace: Pace,
}

/// What is on disk of one device.
#[derive(Debug, Default)]
pub struct Kept {
    /// Its reboots.
    pub journal: Journal,
    /// Its ended attempts.
    pub remembered: Remembered,
    /// What its twin may say.
    pub outbox: Outbox,
    /// What it was last told of its desired properties.
    pub desired: Option<String>,
    /// The numbers and sizes of its messages that the hub does not have, oldest first.
    pub telemetry: Vec<(u64, usize)>,
}

/// Why the memory failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The folder cannot be made.
    #[error("make the folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another process works with the folder.
    #[error("use the folder {0}: another gateway does")]
    InUse(PathBuf),
    /// The file could not be opened a moment ago.
    #[error(transparent)]
    Unopened(Arc<Self>),
    /// The file cannot be opened.
    #[error("open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<Self>,
    },
    /// A document in it cannot be understood.
    #[error("read the {table} of {device}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The device.
        device: DeviceId,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A document cannot be written as JSON.
    #[error("write a document")]
    Document(#[source] serde_json::Error),
    /// A transaction failed: the disk is full, or broken.
    #[error("use the journal's file")]
    Transaction(#[from] Box<redb::Error>),
    /// It failed for all the writes that shared a transaction.
    #[error(transparent)]
    Together(Arc<Self>),
    /// The file's library gave up.
    #[error("use the journal's file: it is damaged")]
    Panicked,
}

impl StorageError {
    /// It is the trouble of one device, and no other has it.
    pub(crate) fn is_of_one_device(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

impl Storage {
    /// Opens the file in a folder, and makes both where they are missing. Where that is not possible
    /// now it is done later, and is no error; a folder that another process works with is one.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        let folder = Folder::new(folder);
        let storage = Self::with_opener(move || folder.open());
        match storage.measured(|_| Ok(())) {
            Err(StorageError::Unopened(error)) if matches!(*error, StorageError::InUse(_)) => {
                Err(StorageError::Unopened(error))
            }
            Ok(()) | Err(_) => Ok(storage),
        }
    }

    /// As [`Storage::open`], by any way to open a database that has its tables.
    pub(crate) fn with_opener(
        opener: impl Fn() -> Result<Database, StorageError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            opener: Arc::new(opener),
            database: Arc::default(),
            writes: Writes::default(),
            group: Group::default(),
        }
    }

    /// Reads what is kept of a device.
    pub async fn load(&self, device: &DeviceId) -> Result<Kept, StorageError> {
        let device = device.clone();
        self.reading(move |database| load(database, &device)).await
    }

    /// Writes and syncs a step of the engine.
    pub async fn write_record(
        &self,
        device: &DeviceId,
        record: Record,
    ) -> Result<(), StorageError> {
        self.write(true, record_of(device, &record)?).await
    }

    /// Writes and syncs an outbox.
    pub async fn write_outbox(
        &self,
        device: &DeviceId,
        outbox: &Outbox,
    ) -> Result<(), StorageError> {
        self.write_document(OUTBOX, device, outbox).await
    }

    /// Writes and syncs what a device is told of its desired properties.
    pub(crate) async fn write_desired(
        &self,
        device: &DeviceId,
        told: &str,
    ) -> Result<(), StorageError> {
        self.write_document(DESIRED, device, told).await
    }

    /// Writes and syncs the one document that a table has of a device.
    async fn write_document<T: Serialize + ?Sized>(
        &self,
        table: TableDefinition<'static, &'static str, &'static [u8]>,
        device: &DeviceId,
        document: &T,
    ) -> Result<(), StorageError> {
        let device = device.clone();
        let document = to_bytes(document)?;
        let work = move |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(table)?;
            table.insert(device.as_str(), document.as_slice())?;
            Ok(())
        };
        self.write(true, Box::new(work)).await
    }

    /// What is measured of the writes.
    pub(crate) fn writes(&self) -> Writes {
        self.writes.clone()
    }

    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let storage = self.clone();
        let done = task::spawn_blocking(move || storage.measured(work));
        done.await.unwrap_or(Err(StorageError::Panicked))
    }

    /// Uses the file, and notes whether it could be.
    fn measured<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let done = self.with_database(work);
        match &done {
            Ok(_) => self.writes.succeeded(),
            Err(error) => self.writes.failed(chain(error)),
        }
        done
    }

    fn with_database<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut place = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        // A damaged file can make the library panic, and must not take the gateway with it.
        let done = catch_unwind(AssertUnwindSafe(|| {
            let database = match place.open.take() {
                Some(database) => database,
                None => self.reopen(&mut place.pace)?,
            };
            let done = work(&database)?;
            place.open = Some(database);
            Ok(done)
        }));
        done.unwrap_or(Err(StorageError::Panicked))
    }

    fn reopen(&self, pace: &mut Pace) -> Result<Database, StorageError> {
        if let Some(why) = pace.holds_back(Instant::now()) {
            return Err(StorageError::Unopened(why));
        }
        // A damaged file can make the library panic.
        let opened = catch_unwind(AssertUnwindSafe(|| (self.opener)()));
        match opened.unwrap_or(Err(StorageError::Panicked)) {
            Ok(database) => {
                pace.opened();
                Ok(database)
            }
            Err(error) => Err(StorageError::Unopened(pace.failed(error, Instant::now()))),
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}

/// The tables have to be there for a read. Where they are, nothing is written: that would be a sync of
/// every start.
fn make_tables(database: &Database) -> Result<(), StorageError> {
    let there = read(database, |transaction| {
        for table in OF_DEVICES {
            transaction.open_table(table)?;
        }
        for table in NUMBERED {
            transaction.open_table(table)?;
        }
        Ok(())
    });
    if there.is_ok() {
        return Ok(());
    }
    transact(
        database,
        |transaction| {
            for table in OF_DEVICES {
                transaction.open_table(table)?;
            }
            for table in NUMBERED {
                transaction.open_table(table)?;
            }
            Ok(())
        },
        Durability::Immediate,
    )
}

fn load(database: &Database, device: &DeviceId) -> Result<Kept, StorageError> {
    let key = device.as_str();
    let (journal, ended, outbox, desired, telemetry) = read(database, |transaction| {
        let document = |table| -> Result<Option<Vec<u8>>, redb::Error> {
            let table = transaction.open_table::<&str, &[u8]>(table)?;
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        };
        let ended = transaction
            .open_table(ENDED)?
            .range((key, 0)..=(key, u64::MAX))?
            .map(|entry| Ok(entry?.1.value().to_vec()))
            .collect::<Result<Vec<_>, redb::Error>>()?;
        Ok((
            document(JOURNAL)?,
            ended,
            document(OUTBOX)?,
            document(DESIRED)?,
            telemetry::sizes(transaction, key)?,
        ))
    })?;
    let ended: Vec<Ended> = ended
        .iter()
        .map(|bytes| from_bytes(bytes, "ended attempts", device))
        .collect::<Result<_, _>>()?;
    Ok(Kept {
        journal: journal
            .map(|bytes| from_bytes(&bytes, "journal", device))
            .transpose()?
            .unwrap_or_default(),
        remembered: ended.into_iter().collect(),
        outbox: outbox
            .map(|bytes| from_bytes(&bytes, "outbox", device))
            .transpose()?
            .unwrap_or_default(),
        desired: desired
            .map(|bytes| from_bytes(&bytes, "desired properties", device))
            .transpose()?,
        telemetry,
    })
}

/// The write of a step of the engine.
fn record_of(device: &DeviceId, record: &Record) -> Result<Work, StorageError> {
    let device = device.clone();
    let journal = to_bytes(&record.journal)?;
    let ended = record
        .ended
        .iter()
        .map(|ended| Ok((ended.number, to_bytes(ended)?)))
        .collect::<Result<Vec<_>, StorageError>>()?;
    Ok(Box::new(move |transaction| {
        let mut table = transaction.open_table(JOURNAL)?;
        table.insert(device.as_str(), journal.as_slice())?;
        let mut table = transaction.open_table(ENDED)?;
        for (number, document) in &ended {
            table.insert((device.as_str(), *number), document.as_slice())?;
            let forgotten = number.checked_sub(REMEMBERED as u64);
            if let Some(forgotten) = forgotten {
                table.remove((device.as_str(), forgotten))?;
            }
        }
        Ok(())
    }))
}

fn read<T>(
    database: &Database,
    work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
) -> Result<T, StorageError> {
    let done = || work(&database.begin_read()?);
    done().map_err(|error| Box::new(error).into())
}

/// Carries out a write, and syncs it if it is to last; a transaction that is dropped on an error leaves no trace.
fn transact(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    durability: Durability,
) -> Result<(), StorageError> {
    let done = || {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(durability)?;
        work(&transaction)?;
        transaction.commit()?;
        Ok(())
    };
    done().map_err(|error: redb::Error| Box::new(error).into())
}

fn to_bytes<T: Serialize + ?Sized>(document: &T) -> Result<Vec<u8>, StorageError> {
    serde_json::to_vec(document).map_err(StorageError::Document)
}

fn from_bytes<T: DeserializeOwned>(
    bytes: &[u8],
    table: &'static str,
    device: &DeviceId,
) -> Result<T, StorageError> {
    serde_json::from_slice(bytes).map_err(|source| StorageError::Damaged {
        table,
        device: device.clone(),
        source,
    })
}

#[cfg(test)]
pub(crate) mod tests;
