//! The gateway's memory on disk: one file, synced transactions, small JSON documents by device.
//!
//! ```text
//! journal   device           → the device's reboots
//! ended     device, number   → an attempt that has ended; the newest thousand of each device
//! outbox    device           → what the device's twin may say by now
//! ```
//!
//! A write that has returned is on disk. Calls block, and are made on a thread that may.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use iot_hub::identity::DeviceId;
use redb::{Database, ReadableDatabase, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task;

use crate::{
    journal::{Ended, Journal, REMEMBERED, Record, Remembered},
    outbox::Outbox,
};

const JOURNAL: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("journal");
const ENDED: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("ended");
const OUTBOX: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("outbox");

/// The name of the file in the state folder.
const FILE: &str = "gateway.redb";

/// The gateway's memory.
#[derive(Debug, Clone)]
pub struct Storage {
    database: Arc<Database>,
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
    /// The file cannot be opened.
    #[error("open {path}: {message}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        message: String,
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
    /// The file's library gave up.
    #[error("use the journal's file: it is damaged")]
    Panicked,
}

impl Storage {
    /// Opens the file in a folder, and makes both where they are missing.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        fs::create_dir_all(folder).map_err(|source| StorageError::Folder {
            path: folder.to_owned(),
            source,
        })?;
        let path = folder.join(FILE);
        // A damaged file can make the library panic, and must not take the gateway with it.
        let opened = catch_unwind(|| {
            let database = Database::create(&path)?;
            let transaction = database.begin_write()?;
            transaction.open_table(JOURNAL)?;
            transaction.open_table(ENDED)?;
            transaction.open_table(OUTBOX)?;
            transaction.commit()?;
            Ok(database)
        });
        match opened {
            Ok(Ok(database)) => Ok(Self {
                database: Arc::new(database),
            }),
            Ok(Err(error)) => {
                let error: redb::Error = error;
                Err(StorageError::Open {
                    path,
                    message: error.to_string(),
                })
            }
            Err(_) => Err(StorageError::Open {
                path,
                message: "the file is damaged".to_owned(),
            }),
        }
    }

    /// Reads what is kept of a device.
    pub async fn load(&self, device: &DeviceId) -> Result<Kept, StorageError> {
        let device = device.clone();
        self.blocking(move |database| load(database, &device)).await
    }

    /// Writes and syncs a step of the engine.
    pub async fn write_record(
        &self,
        device: &DeviceId,
        record: Record,
    ) -> Result<(), StorageError> {
        let device = device.clone();
        self.blocking(move |database| write_record(database, &device, &record))
            .await
    }

    /// Writes and syncs an outbox.
    pub async fn write_outbox(
        &self,
        device: &DeviceId,
        outbox: Outbox,
    ) -> Result<(), StorageError> {
        let device = device.clone();
        self.blocking(move |database| {
            let document = to_bytes(&outbox)?;
            transact(database, |transaction| {
                let mut table = transaction.open_table(OUTBOX)?;
                table.insert(device.as_str(), document.as_slice())?;
                Ok(())
            })
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let database = self.database.clone();
        let work = move || catch_unwind(AssertUnwindSafe(|| work(&database)));
        match task::spawn_blocking(work).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) | Err(_) => Err(StorageError::Panicked),
        }
    }
}

fn load(database: &Database, device: &DeviceId) -> Result<Kept, StorageError> {
    let (journal, ended, outbox) = read(database, |transaction| {
        let journal = transaction.open_table(JOURNAL)?;
        let journal = journal
            .get(device.as_str())?
            .map(|value| value.value().to_vec());
        let ended = transaction
            .open_table(ENDED)?
            .range((device.as_str(), 0)..=(device.as_str(), u64::MAX))?
            .map(|entry| Ok(entry?.1.value().to_vec()))
            .collect::<Result<Vec<_>, redb::Error>>()?;
        let outbox = transaction.open_table(OUTBOX)?;
        let outbox = outbox
            .get(device.as_str())?
            .map(|value| value.value().to_vec());
        Ok((journal, ended, outbox))
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
    })
}

fn write_record(
    database: &Database,
    device: &DeviceId,
    record: &Record,
) -> Result<(), StorageError> {
    let journal = to_bytes(&record.journal)?;
    let ended = record
        .ended
        .iter()
        .map(|ended| Ok((ended.number, to_bytes(ended)?)))
        .collect::<Result<Vec<_>, StorageError>>()?;
    transact(database, |transaction| {
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
    })
}

fn read<T>(
    database: &Database,
    work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
) -> Result<T, StorageError> {
    let done = || work(&database.begin_read()?);
    done().map_err(|error| Box::new(error).into())
}

/// Carries out a write and syncs it; a transaction that is dropped on an error leaves no trace.
fn transact(
    database: &Database,
    work: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), StorageError> {
    let done = || {
        let transaction = database.begin_write()?;
        work(&transaction)?;
        transaction.commit()?;
        Ok(())
    };
    done().map_err(|error: redb::Error| Box::new(error).into())
}

fn to_bytes<T: Serialize>(document: &T) -> Result<Vec<u8>, StorageError> {
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
mod tests {
    use iot_hub::reboot::{RequestId, State};
    use jiff::Timestamp;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn device(id: &str) -> DeviceId {
        id.parse().unwrap()
    }

    fn ended(number: u64) -> Ended {
        Ended {
            number,
            id: RequestId(Uuid::from_u128(number.into())),
            state: State::Succeeded,
            time: Timestamp::UNIX_EPOCH,
            grade: None,
            error: None,
        }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("new").join("state");
        let mut outbox = Outbox::default();
        outbox.set_target(json!({ "a": 1 }).as_object().unwrap().clone());
        let journal = Journal {
            seq: 7,
            ..Journal::default()
        };
        let storage = Storage::open(&state).unwrap();
        let record = Record {
            journal: journal.clone(),
            ended: vec![ended(1)],
        };
        storage.write_record(&device("d1"), record).await.unwrap();
        storage
            .write_outbox(&device("d1"), outbox.clone())
            .await
            .unwrap();
        drop(storage);

        let storage = Storage::open(&state).unwrap();
        let kept = storage.load(&device("d1")).await.unwrap();
        assert_eq!((kept.journal, kept.outbox), (journal, outbox));
        assert_eq!(kept.remembered.find(ended(1).id), Some(&ended(1)));
        let other = storage.load(&device("d10")).await.unwrap();
        assert_eq!(other.journal, Journal::default());
        assert_eq!(other.remembered, Remembered::default());
    }

    #[tokio::test]
    async fn only_so_many_ended_attempts_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let record = Record {
            journal: Journal::default(),
            ended: (1..=1_010).map(ended).collect(),
        };
        storage.write_record(&device("d1"), record).await.unwrap();
        let kept = storage.load(&device("d1")).await.unwrap();
        assert_eq!(kept.remembered.find(ended(10).id), None);
        assert_eq!(kept.remembered.find(ended(11).id), Some(&ended(11)));
        assert_eq!(kept.remembered.find(ended(1_010).id), Some(&ended(1_010)));
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        for garbage in [&b"no database at all"[..], &[0; 4_096], &[255; 100_000]] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILE), garbage).unwrap();
            let error = Storage::open(folder.path()).unwrap_err();
            assert!(matches!(error, StorageError::Open { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_file_with_a_torn_end_is_an_error_or_whole() {
        let folder = tempfile::tempdir().unwrap();
        drop(Storage::open(folder.path()).unwrap());
        let path = folder.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(whole.len() / 16) {
            fs::write(&path, &whole[..length]).unwrap();
            let _ = Storage::open(folder.path());
        }
    }

    #[tokio::test]
    async fn a_document_of_another_kind_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        transact(&storage.database, |transaction| {
            transaction
                .open_table(JOURNAL)?
                .insert("d1", &b"{\"seq\":\"x\"}"[..])?;
            Ok(())
        })
        .unwrap();
        let error = storage.load(&device("d1")).await.unwrap_err();
        assert_eq!(error.to_string(), "read the journal of d1");
    }

    #[test]
    fn two_gateways_cannot_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Storage::open(folder.path()).unwrap();
        assert!(Storage::open(folder.path()).is_err());
    }
}
